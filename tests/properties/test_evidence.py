"""The evidence is always valid: whatever the rate, and however often one looks, the interval holds it."""

import random
from math import comb, exp

from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_operator.plan.evidence import Comparison, Count, Grouped, Levels, Margin, Verdict, interval, less_often, more_often
from recsys_operator.plan.evidence.counts import log_likelihood, log_mixture

counts = st.integers(0, 2000).flatmap(lambda n: st.integers(0, n).map(lambda s: Count(hits=s, trials=n)))


@given(counts, st.floats(0.001, 0.4))
def test_an_interval_holds_its_own_mean_and_stays_within_0_and_1(count: Count, alpha: float):
    low, high = interval(count, alpha)
    assert 0 <= low <= high <= 1
    if count.trials:
        assert low <= count.hits / count.trials <= high


@given(counts, st.floats(0.001, 0.2))
def test_less_doubt_makes_wider_intervals(count: Count, alpha: float):
    wide, narrow = interval(count, alpha / 2), interval(count, alpha)
    assert wide[0] <= narrow[0] + 1e-9
    assert narrow[1] <= wide[1] + 1e-9


def test_the_martingale_has_mean_one_whatever_the_sample_size():
    """Exact: the sum over all outcomes of probability × M_n is 1 (Robbins 1970), so Ville's inequality applies."""

    for rate in (0.01, 0.3, 0.5, 0.9):
        for trials in (1, 7, 40):
            chances = [comb(trials, hits) * rate**hits * (1 - rate) ** (trials - hits) for hits in range(trials + 1)]
            wealth = [exp(log_mixture(hits, trials - hits) - log_likelihood(hits, trials - hits, rate)) for hits in range(trials + 1)]
            mean = sum(chance * each for chance, each in zip(chances, wealth, strict=True))
            assert abs(mean - 1) < 1e-9


LEVELS = Levels(worse=0.05, not_worse=0.05)
ANY = Margin()


def _errs(stable: Count, candidate: Count) -> Comparison:
    return more_often(stable, candidate, harm=ANY, limit=Margin(ratio=2.0), levels=LEVELS)


def _earns(stable: Count, candidate: Count) -> Comparison:
    return less_often(stable, candidate, harm=0.0, limit=0.1, levels=LEVELS)


def test_a_naive_test_at_every_look_would_cry_wolf():
    """The broken twin: a fixed-size 95 % test looked at again and again is wrong far more often than 5 %."""
    chance = random.Random(11)

    def cries() -> bool:
        s = c = 0
        for look in range(1, 101):
            s += sum(chance.random() < 0.1 for _ in range(40))
            c += sum(chance.random() < 0.1 for _ in range(10))
            p = (s + c) / (50 * look)
            error = (p * (1 - p) * (1 / (40 * look) + 1 / (10 * look))) ** 0.5
            if error and c / (10 * look) - s / (40 * look) > 1.645 * error:
                return True
        return False

    assert sum(cries() for _ in range(200)) > 200 * 0.10


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16))
def test_an_arm_without_trials_proves_nothing(seed: int):
    trials = random.Random(seed).randint(0, 10_000)
    count = Count(hits=trials // 3, trials=trials)
    nothing = Count(hits=0, trials=0)
    for stable, candidate in ((count, nothing), (nothing, count), (nothing, nothing)):
        if not stable.trials or not candidate.trials:
            assert _errs(stable, candidate).verdict is Verdict.INSUFFICIENT_DATA
            assert _earns(stable, candidate).verdict is Verdict.INSUFFICIENT_DATA


def _alarm_of_alike_users(chance: random.Random, *, by_user: bool) -> bool:
    """Two equal arms of 30 and 270 users who come again and again, each with a rate of their own; looked at after each round."""
    rates = [[chance.betavariate(0.8, 1.2) for _ in range(users)] for users in (270, 30)]
    hits, trials = [[0] * 64, [0] * 64], [[0] * 64, [0] * 64]
    for _ in range(25):
        for arm, users in enumerate(rates):
            for user, rate in enumerate(users):
                trials[arm][user % 64] += 10
                hits[arm][user % 64] += sum(chance.random() < rate for _ in range(10))
        arms = [Grouped(hits=h, trials=t) for h, t in zip(hits, trials, strict=True)]
        stable, candidate = (arm.effective if by_user else arm.count for arm in arms)
        if _earns(stable, candidate).verdict is Verdict.WORSE:
            return True
    return False


def test_users_who_come_again_prove_no_more_than_they_are():
    chance = random.Random(3)
    assert sum(_alarm_of_alike_users(chance, by_user=True) for _ in range(60)) <= 60 * 0.05


def test_answers_taken_as_independent_cry_wolf():
    """The broken twin: users are assigned, not answers."""
    chance = random.Random(3)
    assert sum(_alarm_of_alike_users(chance, by_user=False) for _ in range(60)) > 60 * 0.2


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=64))
def test_no_clustering_makes_answers_prove_more_than_they_are(pairs: list[tuple[int, int]]):
    grouped = Grouped(hits=[min(pair) for pair in pairs], trials=[max(pair) for pair in pairs])
    assert grouped.effective.trials <= grouped.count.trials
    if grouped.count.trials:
        rate, seen = grouped.effective.hits / grouped.effective.trials, grouped.count.hits / grouped.count.trials
        assert abs(rate - seen) < 1e-9


def test_harm_to_many_users_is_still_seen():
    chance = random.Random(9)
    stable = Grouped(hits=[sum(chance.random() < 0.4 for _ in range(40)) for _ in range(64)], trials=[40] * 64)
    candidate = Grouped(hits=[sum(chance.random() < 0.2 for _ in range(10)) for _ in range(64)], trials=[10] * 64)
    assert _earns(stable.effective, candidate.effective).verdict is Verdict.WORSE
