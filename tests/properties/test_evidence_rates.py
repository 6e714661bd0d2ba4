"""Two rates compared at every moment: the levels hold by Ville's inequality, harm is seen, and tests that cheat are caught."""

import random
from collections.abc import Callable
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from recsys_operator.plan.evidence import Count, Grouped, Levels, Margin, Verdict, less_often, levels, more_often, preferred
from recsys_operator.plan.evidence.counts import log_likelihood
from recsys_operator.plan.evidence.rates import FINE_DOWN, FINE_UP, RARE_DOWN, RARE_UP, Shifts, log_e_rate, log_e_ratio

LOOKS, HISTORIES = 60, 400
Counts = NDArray[np.int64]


def histories(stable: float, candidate: float, share: float, *, looks: int = LOOKS, each: int = 100) -> tuple[Counts, ...]:
    """Hits and trials of both arms after each look; shape (histories, looks). Requests are split by chance."""
    chance = np.random.default_rng(7)
    trials = chance.binomial(each, share, size=(HISTORIES, looks))
    others = each - trials
    hits, other_hits = chance.binomial(trials, candidate), chance.binomial(others, stable)
    return tuple(np.cumsum(numbers, axis=1) for numbers in (other_hits, others, hits, trials))


def alarms(found: tuple[Counts, ...], log_e: Callable[[Count, Count], float], level: float) -> float:
    """The share of histories in which the e-value passes 1/level at any look."""
    stable_hits, stable_trials, hits, trials = found
    crossed = 0
    for history in range(HISTORIES):
        for look in range(hits.shape[1]):
            stable = Count(hits=int(stable_hits[history, look]), trials=int(stable_trials[history, look]))
            candidate = Count(hits=int(hits[history, look]), trials=int(trials[history, look]))
            if log_e(stable, candidate) >= log(1 / level):
                crossed += 1
                break
    return crossed / HISTORIES


@pytest.mark.parametrize(("rate", "share"), [(0.02, 0.1), (0.02, 0.5), (0.3, 0.1), (0.3, 0.5), (0.9, 0.25)])
@pytest.mark.parametrize(("shifts", "ratio"), [(RARE_UP, 1.0), (RARE_DOWN, 1.0), (FINE_UP, 1.0), (FINE_DOWN, 1.0)])
def test_equal_arms_pass_for_unequal_no_more_often_than_the_level(rate: float, share: float, shifts: Shifts, ratio: float):
    level = 0.05
    seen = alarms(histories(rate, rate, share), lambda stable, candidate: log_e_ratio(stable, candidate, ratio, shifts), level)
    assert seen <= level + 3 * (level / HISTORIES) ** 0.5 * 0.5, f"{seen:.3f}"


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_one_that_errs_twice_as_often_passes_for_no_worse_no_more_often_than_the_level(share: float):
    seen = alarms(histories(0.02, 0.04, share), lambda stable, candidate: log_e_ratio(stable, candidate, 2.0, RARE_DOWN), 0.05)
    assert seen <= 0.07, f"{seen:.3f}"


def greatest(stable: Count, candidate: Count) -> float:
    """A broken twin: the best alternative, chosen after the data were seen, instead of a mean with weights fixed before."""
    if not stable.trials or not candidate.trials:
        return 0.0
    best = log_likelihood(candidate.hits, candidate.trials - candidate.hits, candidate.rate)
    best += log_likelihood(stable.hits, stable.trials - stable.hits, stable.rate)
    both = Count(hits=stable.hits + candidate.hits, trials=stable.trials + candidate.trials)
    return best - log_likelihood(both.hits, both.trials - both.hits, both.rate) if candidate.rate > stable.rate else 0.0


def z_test(stable: Count, candidate: Count) -> float:
    """Another: a test for one look at a fixed sample size, looked at again and again. Told as an e-value of 1/p."""
    trials = stable.trials + candidate.trials
    rate = (stable.hits + candidate.hits) / trials
    error = (rate * (1 - rate) * (1 / max(1, stable.trials) + 1 / max(1, candidate.trials))) ** 0.5
    return log(1 / 0.1) if error and candidate.rate - stable.rate > 1.645 * error else 0.0


@pytest.mark.parametrize("cheat", [greatest, z_test])
def test_a_test_that_cheats_is_caught_by_the_same_count_of_alarms(cheat: Callable[[Count, Count], float]):
    found = histories(0.1, 0.1, 0.5, looks=150, each=40)
    assert alarms(found, cheat, 0.1) > 0.1 * 1.5
    assert alarms(found, lambda stable, candidate: log_e_ratio(stable, candidate, 1.0, RARE_UP), 0.1) <= 0.1


def test_the_likelihood_ratio_of_one_event_has_mean_one_under_the_hypothesis_and_less_beyond_it():
    """Exact: an event is the candidate's with odds r w : 1 - w."""
    for share in (0.05, 0.5):
        stable, candidate = (1 - share) * 1e6, share * 1e6
        for ratio, shifts in ((1.0, RARE_UP), (2.0, RARE_DOWN), (0.98, FINE_DOWN), (0.9, FINE_UP)):
            away = 0.9 if shifts[0][0] > 1 else 1.1
            means: list[float] = []
            for true in (ratio, ratio * away):
                ours = true * share / (true * share + 1 - share)
                e = [log_e_ratio(Count(hits=1 - hit, trials=stable), Count(hits=hit, trials=candidate), ratio, shifts) for hit in (0, 1)]
                means.append((1 - ours) * np.exp(e[0]) + ours * np.exp(e[1]))
            assert means[0] == pytest.approx(1)
            assert means[1] < 1


@given(st.integers(100, 5000), st.integers(0, 100), st.integers(100, 5000), st.integers(0, 99))
def test_one_error_more_never_makes_harm_less_shown(trials: int, hits: int, stable_trials: int, stable_hits: int):
    stable = Count(hits=stable_hits, trials=stable_trials)

    def harm(errors: int) -> float:
        found = more_often(
            stable,
            Count(hits=min(errors, trials), trials=trials),
            harm=Margin(acceptable=0.005),
            limit=Margin(ratio=2.0, acceptable=0.005),
            levels=Levels(worse=0.01, not_worse=0.05),
        )
        return found.worse.log_e

    # Below the stable rate all is well: there what is mixed need not rise with each error.
    if hits / trials >= stable_hits / stable_trials:
        assert harm(hits + 1) >= harm(hits) - 1e-9


@given(st.integers(0, 2**16))
def test_the_order_of_the_groups_and_of_the_answers_does_not_matter(seed: int):
    chance = random.Random(seed)
    trials = [chance.randrange(50) for _ in range(64)]
    hits = [chance.randint(0, count) for count in trials]
    order = chance.sample(range(64), 64)
    mixed = Grouped(hits=[hits[place] for place in order], trials=[trials[place] for place in order])
    assert mixed.effective.trials == pytest.approx(Grouped(hits=hits, trials=trials).effective.trials)


def test_independent_answers_prove_in_groups_nearly_what_they_prove_alone():
    chance = np.random.default_rng(4)
    effects: list[float] = []
    for _ in range(200):
        trials = chance.multinomial(5000, [1 / 64] * 64)
        effects.append(Grouped(hits=chance.binomial(trials, 0.05).tolist(), trials=trials.tolist()).design_effect)
    assert np.mean(effects) < 1.12


LIMITS = {"harm": Margin(acceptable=0.005), "limit": Margin(ratio=2.0, acceptable=0.005)}


@pytest.mark.parametrize(
    ("stable", "candidate", "verdict"),
    [
        ((45, 4500), (25, 500), Verdict.WORSE),
        ((450, 45_000), (50, 5000), Verdict.NOT_WORSE),
        ((450, 4500), (5, 500), Verdict.BETTER),
        ((0, 4500), (0, 5000), Verdict.NOT_WORSE),
        ((0, 4500), (4, 100), Verdict.UNDECIDED),
        ((0, 450_000), (150, 50_000), Verdict.NOT_WORSE),
        ((9, 900), (1, 100), Verdict.UNDECIDED),
        ((0, 0), (1, 100), Verdict.INSUFFICIENT_DATA),
    ],
    ids=["five times", "equal", "fewer", "none at all", "a hiccup", "more than none, yet few", "little", "nothing to compare"],
)
def test_errors_in_one_word(stable: tuple[int, int], candidate: tuple[int, int], verdict: Verdict):
    level = levels(0.001, 0.05, place=0, watched=["errors", "reward"])["errors"]
    arms = [Count(hits=hits, trials=trials) for hits, trials in (stable, candidate)]
    assert more_often(*arms, **LIMITS, levels=level).verdict is verdict


def test_rewards_in_one_word():
    level = Levels(worse=0.001, not_worse=0.05)

    def word(candidate: int) -> Verdict:
        stable = Count(hits=18_000, trials=90_000)
        return less_often(stable, Count(hits=candidate, trials=10_000), harm=0.02, limit=0.1, levels=level).verdict

    assert [word(rewards) for rewards in (1500, 1900, 2020, 2400)] == [
        Verdict.WORSE,
        Verdict.UNDECIDED,
        Verdict.NOT_WORSE,
        Verdict.BETTER,
    ]


def test_preferences_in_one_word():
    level = Levels(worse=0.001, not_worse=0.05)
    seen = [preferred(Count(hits=wins, trials=1000), levels=level).verdict for wins in (350, 460, 520, 650)]
    assert seen == [Verdict.WORSE, Verdict.UNDECIDED, Verdict.NOT_WORSE, Verdict.BETTER]
    assert preferred(Count(hits=0, trials=0), levels=level).verdict is Verdict.INSUFFICIENT_DATA
    assert log_e_rate(Count(hits=1, trials=1), 1.0, RARE_UP) == -np.inf
