"""The short form of `make chaos-rollout`: bad versions are sent back in time, good ones promoted, a blind plan is caught."""

import numpy as np
import pytest

from recsys_operator.plan import weighing
from recsys_operator.plan.evidence import Count, Margin, Verdict, more_often
from recsys_operator.plan.weighing import level_of
from recsys_schemas.v1alpha1.analysis import Analysis
from worlds.detection import Events, errors_within
from worlds.many_rollouts import AT_THE_MARGIN, BAD, GOOD, Part, at_most, margin_kept, walk

BLIND = {"failing": False, "objection": ""}


def test_bad_versions_are_sent_back_within_their_bounds():
    walked = walk(Part(count=len(BAD), seed=5, kinds=BAD))
    assert [(one.kind.name, one.words) for one in walked if one.wrong] == []
    assert {one.kind for one in walked} == set(BAD)


def test_good_versions_are_promoted():
    walked = walk(Part(count=len(GOOD), seed=6, kinds=GOOD))
    assert [(one.kind.name, one.words) for one in walked if one.wrong] == []


def test_a_plan_that_sees_no_harm_is_caught(monkeypatch: pytest.MonkeyPatch):
    for name, answer in BLIND.items():
        monkeypatch.setattr(weighing.Weighing, name, property(lambda _, answer=answer: answer))
    walked = walk(Part(count=3, seed=5, kinds=BAD))
    assert all(one.wrong for one in walked)


def test_a_plan_that_certifies_too_soon_is_caught(monkeypatch: pytest.MonkeyPatch):
    for name, answer in BLIND.items():
        monkeypatch.setattr(weighing.Weighing, name, property(lambda _, answer=answer: answer))
    assert not margin_kept(walk(Part(count=8, seed=3, kinds=AT_THE_MARGIN, demand="NotWorse", least=1)))


def seconds_until_shown(times: float, logs: int) -> list[int]:
    """When so many times the errors are shown at half of the users, by the test itself, second by second."""
    chance, level, margin = np.random.default_rng(11), level_of(Analysis(), 1)["errors"], Margin(acceptable=0.005)

    def shown() -> int:
        stable, candidate = (chance.poisson(rate, 400).cumsum().tolist() for rate in (1.0, times))
        for second in range(1, 400):
            counts = (Count(hits=hits[second - 1], trials=100 * second) for hits in (stable, candidate))
            if more_often(*counts, harm=margin, limit=Margin(ratio=2.0), levels=level).verdict is Verdict.WORSE:
                return second
        return 400

    return [shown() for _ in range(logs)]


def bound(times: float) -> float:
    return errors_within(Analysis(), Events(stable=1.0, candidate=times, odds=1.0), 1)


@pytest.mark.parametrize("times", [2.0, 5.0])
def test_harm_is_shown_within_the_time_that_is_derived_for_it(times: float):
    seconds = seconds_until_shown(times, 200)
    assert sum(second > bound(times) for second in seconds) <= at_most(200, 0.001)
    assert bound(times) < 4 * np.median(seconds)


def test_a_time_that_is_derived_from_other_harm_is_caught():
    late = sum(second > bound(3.0) for second in seconds_until_shown(2.0, 100))
    assert late > at_most(100, 0.001)
