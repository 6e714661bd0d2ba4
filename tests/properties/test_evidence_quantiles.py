"""Latencies and splits looked at in every moment: no false alarm beyond the level, and harm is seen."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_operator.plan.evidence import UNTIMED, Latencies, Levels, Slower, Verdict, slower, split
from recsys_schemas.serving_evidence import FOLDS, GROUPS, LATENCY_BINS, latency_bin, latency_edge

LEVELS = Levels(worse=0.01, not_worse=0.05)
LIMITS = Slower(harm=0.1, limit=0.5, milliseconds=5.0)


def times(chance: np.random.Generator, count: int, median: float) -> Latencies:
    """Drawn from a lognormal distribution with a p99 of 3.2 times the median."""
    bins: dict[int, list[int]] = {}
    for milliseconds, fold in zip(chance.lognormal(log(median), 0.5, count), chance.integers(0, FOLDS, count), strict=True):
        bins.setdefault(latency_bin(milliseconds), [0] * FOLDS)[fold] += 1
    return Latencies(bins=bins)


def together(*parts: Latencies) -> Latencies:
    return Latencies.added(part.bins for part in parts)


@given(st.floats(1e-3, 1e6))
def test_a_latency_lies_in_its_bin(milliseconds: float):
    place = latency_bin(milliseconds)
    assert place == LATENCY_BINS or milliseconds <= latency_edge(place) * (1 + 1e-9)
    assert place == 0 or milliseconds > latency_edge(place - 1) * (1 - 1e-9)


@pytest.mark.parametrize("q", [0.5, 0.99])
def test_equal_arms_are_never_shown_to_be_slower_by_looking_often(q: float):
    chance, alarms = np.random.default_rng(2), 0
    for _ in range(60):
        stable = candidate = UNTIMED
        for _ in range(25):
            stable, candidate = together(stable, times(chance, 180, 40)), together(candidate, times(chance, 20, 40))
            if slower(stable, candidate, q=q, limits=Slower(harm=0, limit=0.5, milliseconds=0), levels=LEVELS).verdict is Verdict.WORSE:
                alarms += 1
                break
    assert alarms <= 60 * 0.05


@pytest.mark.parametrize(
    ("q", "median", "verdict"),
    [
        (0.5, 40, Verdict.NOT_WORSE),
        (0.5, 60, Verdict.WORSE),
        (0.99, 40, Verdict.NOT_WORSE),
        (0.99, 80, Verdict.WORSE),
        (0.99, 46, Verdict.NOT_WORSE),
    ],
)
def test_latency_in_one_word(q: float, median: float, verdict: Verdict):
    chance = np.random.default_rng(5)
    found = slower(times(chance, 40_000, 40), times(chance, 4_000, median), q=q, limits=LIMITS, levels=LEVELS)
    assert found.verdict is verdict
    assert found.candidate == pytest.approx(median * (3.2 if q == 0.99 else 1), rel=0.1)


def test_milliseconds_that_nobody_minds_are_no_harm():
    chance = np.random.default_rng(5)
    stable, candidate = times(chance, 40_000, 1.0), times(chance, 4_000, 2.0)
    found = {ms: slower(stable, candidate, q=0.5, limits=Slower(harm=0.1, limit=0.5, milliseconds=ms), levels=LEVELS) for ms in (0.0, 5.0)}
    assert (found[0.0].verdict, found[5.0].verdict) == (Verdict.WORSE, Verdict.NOT_WORSE)


def test_a_few_slow_answers_at_the_start_are_no_p99():
    cold = Latencies(bins={latency_bin(900): [3] + [0] * (FOLDS - 1)})
    chance = np.random.default_rng(5)
    found = slower(times(chance, 4_000, 40), together(times(chance, 100, 40), cold), q=0.99, limits=LIMITS, levels=LEVELS)
    assert found.verdict is Verdict.INSUFFICIENT_DATA
    assert slower(UNTIMED, UNTIMED, q=0.5, limits=LIMITS, levels=LEVELS).verdict is Verdict.INSUFFICIENT_DATA


def spread(chance: np.random.Generator, count: int) -> list[int]:
    return chance.multinomial(count, [1 / GROUPS] * GROUPS).tolist()


def test_a_fair_split_is_never_called_invalid_by_looking_often():
    chance, alarms = np.random.default_rng(8), 0
    for _ in range(200):
        total = np.zeros((2, GROUPS), dtype=np.int64)
        for _ in range(50):
            ours = int(chance.binomial(200, 0.1))
            total += [spread(chance, 200 - ours), spread(chance, ours)]
            if split(*total.tolist(), share=0.1, level=0.01).verdict is Verdict.INVALID:
                alarms += 1
                break
    assert alarms <= 200 * 0.02


def test_users_who_come_often_are_no_mismatch_and_lost_requests_are():
    """Of 300 users 33 are the candidate's, some of whom come fifty times as often: by requests its share is far off ten percent."""
    chance = np.random.default_rng(1)
    arms = np.zeros((2, GROUPS), dtype=np.int64)
    for user in range(300):
        arms[int(user < 33), user % GROUPS] += int(chance.choice([2, 100], p=[0.8, 0.2]))
    assert split(*arms.tolist(), share=0.1, level=0.001).verdict is Verdict.UNDECIDED
    lost = split(spread(chance, 90_000), spread(chance, 9_000), share=0.1, level=0.001)
    assert lost.verdict is Verdict.INVALID
    assert lost.seen == pytest.approx(9 / 99, rel=0.01)
    assert split([], [], share=0.1, level=0.001).verdict is Verdict.INSUFFICIENT_DATA
