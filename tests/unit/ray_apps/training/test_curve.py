"""The training curve: what it shows is what the fit was, and to be looked at changes nothing."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ray_apps.algorithms import ALGORITHMS
from ray_apps.algorithms.recommender import ALONE, Recommender
from ray_apps.evaluation.quiz import held_out_score, learnt_score
from ray_apps.evaluation.splits import Split, by_time
from ray_apps.training.curve import MOST_POINTS, Curve, curve_of
from ray_apps.training.job import run
from unit.ray_apps.algorithms.grouped import interactions
from unit.ray_apps.training import planted

STEPWISE = {"ALS": 3, "BPR": 30, "IALS": 3, "TwoTower": 3}
Steps = list[tuple[int, int, Callable[[], Recommender]]]


@pytest.fixture(scope="module")
def split() -> Split:
    return by_time(interactions(), 7)


def followed(curve: Curve, steps: Steps) -> bool:
    """Whether a curve ends at the last step with what the model is worth then."""
    done, of, last = steps[-1]
    scores = last().scores_many
    ended = curve.points[-1]
    return done == of == ended.step and (ended.learnt, ended.held_out) == (
        learnt_score(scores, curve.quiz).mean,
        held_out_score(scores, curve.quiz).mean,
    )


@pytest.mark.parametrize("name", sorted(STEPWISE))
def test_a_fit_that_is_looked_at_gives_the_same_bytes_and_ends_where_its_curve_does(name: str, split: Split):
    curve, last = curve_of(split, 7), []

    def look(done: int, of: int, model: Callable[[], Recommender]) -> None:
        curve.look(done, of, model)
        last[:] = [(done, of, model)]

    algorithm, values = ALGORITHMS[name], {"iterations": STEPWISE[name]}
    looked = algorithm.fit(split.train, values, 7, replace(ALONE, show=look))
    alone = algorithm.fit(split.train, values, 7).arrays()
    assert {key: array.tobytes() for key, array in looked.arrays().items()} == {key: array.tobytes() for key, array in alone.items()}
    assert followed(curve, [(STEPWISE[name], STEPWISE[name], lambda: looked)])
    assert followed(curve, last)
    assert 2 <= len(curve.points) <= MOST_POINTS


def test_a_curve_that_shows_the_beginning_at_every_step_is_seen(split: Split):
    curve, seen = curve_of(split, 7), list[Recommender]()

    def stale(done: int, of: int, model: Callable[[], Recommender]) -> None:
        seen.append(model())
        curve.look(done, of, lambda: seen[0])

    model = ALGORITHMS["BPR"].fit(split.train, {"iterations": 60}, 7, replace(ALONE, show=stale))
    assert not followed(curve, [(60, 60, lambda: model)])


def test_steps_are_looked_at_evenly_and_never_more_often_than_is_shown(split: Split):
    model = ALGORITHMS["Popularity"].fit(split.train, {}, 7)
    for of in (1, 2, 5, 12, 13, 100, 500):
        curve = curve_of(split, 7)
        for done in range(1, of + 1):
            curve.look(done, of, lambda: model)
        steps = [point.step for point in curve.points]
        assert len(steps) == min(of, MOST_POINTS)
        assert (steps[0], steps[-1]) == (1, of)
        gaps = np.diff(steps[1:])
        assert gaps.size == 0 or gaps.max() - gaps.min() <= 1


def test_a_version_has_its_curve_if_its_algorithm_has_steps(tmp_path_factory: pytest.TempPathFactory):
    uri = planted.snapshot(tmp_path_factory.mktemp("store"), {"watch": planted.tastes(users=80, items=40, events=10)})
    card = run(planted.job(uri, algorithm="IALS", hyperparameters={"factors": 8, "iterations": 4}))
    assert [point.step for point in card.curve] == [1, 2, 3, 4]
    assert run(planted.job(uri, "movies-000002", algorithm="EASE")).curve == []
