"""Older likes count less when a model is asked: where it is measured, in what a version carries, and in what was done since."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Interactions
from ray_apps.algorithms.recency import LEAST
from ray_apps.evaluation.measuring import measure
from ray_apps.evaluation.splits import by_time
from ray_apps.serving.online.blending import blended
from ray_apps.serving.online.recent import Deed
from ray_apps.stores.objects import open_store
from ray_apps.training.job import run
from ray_apps.training.rebuilding import rebuild
from unit.ray_apps.algorithms.grouped import interactions, made
from unit.ray_apps.training import planted

HALF_LIFE = 4.0
ITEMS = 30
PLACES = {f"i{place}": place for place in range(ITEMS)}
Blend = Callable[..., tuple[NDArray[np.int32], NDArray[np.float32], set[int]]]


def one_user(likes: int, seed: int) -> Interactions:
    chance = np.random.default_rng(seed)
    items = np.sort(chance.permutation(ITEMS)[:likes])
    known = made(np.zeros(likes, int), items, chance.uniform(0.1, 1, likes), chance.permutation(likes), n_users=1, n_items=ITEMS)
    return replace(known, half_life=HALF_LIFE)


def as_trained_again(known: Interactions, since: int, blend: Blend) -> bool:
    """Whether a version that knew the likes before some time, and heard of the others, asks as one that was trained on all."""
    old, new = known.take(known.times < since), known.take(known.times >= since)
    order = np.argsort(new.times)
    deeds = [Deed(f"i{new.items[at]}", float(new.weights[at]), int(new.times[at])) for at in order.tolist()]
    items, weights, _ = blend(*old.told().of(0), deeds, PLACES, HALF_LIFE)
    history, wanted = known.told().of(0)
    return np.array_equal(items, history) and np.allclose(weights, wanted, rtol=1e-5)


def without_fading(history: NDArray[np.int32], weights: NDArray[np.float32], deeds: Sequence[Deed], places: Mapping[str, int], _: float):
    """The broken twin: what was done since is told, and what was known does not fade."""
    return blended(history, weights, deeds, places)


@pytest.mark.parametrize("since", [0, 1, 7, 19, 20])
def test_what_was_done_since_fades_the_rest_as_training_again_would(since: int):
    for seed in range(20):
        assert as_trained_again(one_user(20, seed), since, blended)
    assert not as_trained_again(one_user(20, 1), 7, without_fading)


def test_each_like_counts_half_after_so_many_others_and_never_nothing():
    known = replace(one_user(20, 3), weights=np.ones(20, dtype=np.float32))
    _, weights = known.told().of(0)
    newest_first = weights[np.argsort(-known.times)]
    assert np.allclose(newest_first[[0, 4, 8]], [1, 0.5, 0.25])
    assert (replace(known, half_life=0.5).told().weights >= np.float32(LEAST)).all()
    plain = replace(known, half_life=None)
    assert plain.told().weights.tobytes() == plain.histories().weights.tobytes()


def test_models_are_measured_with_the_newest_first_and_learn_from_all_alike():
    known = interactions()
    split, faded = by_time(known, 7), by_time(replace(known, half_life=HALF_LIFE), 7)
    assert faded.train.histories().weights.tobytes() == split.train.histories().weights.tobytes()
    told: list[float] = []

    def scores(histories: object) -> NDArray[np.float32]:
        weights = histories.weights  # pyright: ignore[reportAttributeAccessIssue]
        told.append(float(weights.sum()))
        return np.zeros((len(histories), known.n_items), dtype=np.float32)  # pyright: ignore[reportArgumentType]

    for each in (split, faded):
        measure(lambda *_: np.zeros(known.n_items, dtype=np.float32), scores, each)
    assert told[1] < 0.8 * told[0]


def test_a_version_carries_faded_histories_says_so_and_can_be_made_again(tmp_path: Path):
    uri = planted.snapshot(tmp_path, {"watch": planted.tastes(users=80, items=40, events=10)})
    plain = run(planted.job(uri, hyperparameters={"factors": 8, "iterations": 2}))
    card = run(planted.job(uri, "movies-000002", hyperparameters={"factors": 8, "iterations": 2}, history_half_life=HALF_LIFE))
    assert (plain.history_half_life, card.history_half_life) == (None, HALF_LIFE)
    other = {name for name in card.files if card.files[name] != plain.files[name]}
    assert other == {"history_weights.npy"}, "nothing is learned by it"
    assert card.evaluations[0].metrics != plain.evaluations[0].metrics
    assert rebuild(card, open_store(uri), open_store(f"file://{tmp_path}/again")).same
