"""Off-policy estimates: their definitions, the truth of a simulated world, and silence where a log says nothing."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Histories
from ray_apps.evaluation import off_policy
from ray_apps.evaluation.counterfactual import DR, SNIPS, counterfactual, unknown_answers
from ray_apps.evaluation.measuring import Beside, measure
from ray_apps.evaluation.off_policy import LoggedAnswers, doubly_robust, earned, effective, ips, snips, thin_support, weights_of
from ray_apps.evaluation.rewards import expected_rewards
from ray_apps.evaluation.slices import slices_of
from ray_apps.evaluation.splits import Split, split_at
from unit.ray_apps.evaluation.test_splits import made

ITEMS, PLACES = 6, 2
Numbers = NDArray[np.float64]


@st.composite
def logs(draw: st.DrawFn) -> tuple[LoggedAnswers, Numbers]:
    """Rounds, and how likely a model shows each."""
    size = draw(st.integers(1, 40))
    chance = np.random.default_rng(draw(st.integers(0, 1000)))
    log = LoggedAnswers(
        users=chance.integers(8, size=size),
        items=chance.integers(-1, ITEMS, size=size),
        places=chance.integers(PLACES, size=size),
        propensities=chance.uniform(0.05, 1, size=size),
        rewards=chance.integers(2, size=size).astype(np.float64),
        times=chance.integers(100, size=size),
    )
    return log, chance.choice([0.0, 0.3, 1.0], size=size)


@given(logs())
def test_estimates_are_their_definitions(case: tuple[LoggedAnswers, Numbers]):
    log, policy = case
    weights = weights_of(log, policy)
    rounds = range(len(log))
    w = [policy[t] / log.propensities[t] for t in rounds]
    expected, promised = np.full(len(log), 0.3), np.full(len(log), 0.4)
    assert np.isclose(ips(log, weights).mean(), sum(w[t] * log.rewards[t] for t in rounds) / len(log))
    own = sum(w[t] * log.rewards[t] for t in rounds) / sum(w) if sum(w) else 0.0
    assert np.isclose(snips(log, weights).mean(), own)
    assert np.isclose(earned(log, weights * log.rewards, weights).value, own)
    robust = sum(0.4 + w[t] * (log.rewards[t] - 0.3) for t in rounds) / len(log)
    assert np.isclose(doubly_robust(log, weights, expected, promised).mean(), robust)
    assert effective(weights) <= len(log) + 1e-9
    assert weights_of(log, policy, 2.0).max() <= 2


@given(logs(), st.integers(0, 1000))
def test_what_a_round_is_expected_to_earn_is_told_by_other_users(case: tuple[LoggedAnswers, Numbers], seed: int):
    log, _ = case
    chance = np.random.default_rng(seed)
    instead = chance.integers(-1, ITEMS, size=len(log))
    before = expected_rewards(log, instead, ITEMS)
    one = log.users == log.users[0]
    flipped = dataclasses.replace(log, rewards=np.where(one, 1 - log.rewards, log.rewards))
    after = expected_rewards(flipped, instead, ITEMS)
    for told, again in zip(before, after, strict=True):
        assert np.array_equal(told[one], again[one])
        assert ((told >= 0) & (told <= 1)).all()
    assert (before[1][instead < 0] == 0).all()


TASTE = np.array([0.05, 0.1, 0.2, 0.3, 0.5, 0.8])
"""How likely each item is liked when it is shown, whatever the place."""


def world(seed: int, users: int = 400, answers: int = 3) -> LoggedAnswers:
    """One place an answer; a policy that prefers the worse items but leaves each a chance, and logs it."""
    chance = np.random.default_rng(seed)
    odds = np.array([0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
    size = users * answers
    items = chance.choice(ITEMS, size=size, p=odds)
    return LoggedAnswers(
        users=np.repeat(np.arange(users), answers),
        items=items,
        places=np.zeros(size, dtype=np.int64),
        propensities=odds[items],
        rewards=(chance.random(size) < TASTE[items]).astype(np.float64),
        times=np.full(size, 1000),
    )


def past(users: int = 400) -> Split:
    """All users liked item 0 long ago, and half of them something later; nobody is measured on much."""
    rows = {(user, 0): 1 for user in range(users)} | {(user, 1): 900 for user in range(0, users, 2)} | {(0, 5): 1}
    known = made(rows)
    return split_at(known, known.times >= 900, "by hand")


def prefers(item: int):
    """A model whose best item is always this one."""
    scores = -np.abs(np.arange(ITEMS, dtype=np.float32) - item)
    return lambda histories: np.tile(scores, (len(histories), 1))  # pyright: ignore[reportUnknownVariableType]


@pytest.mark.parametrize("item", [pytest.param(3, marks=pytest.mark.slow), 4])
def test_intervals_hold_what_the_model_really_earns_about_as_often_as_they_say(item: int):
    split, held = past(), {SNIPS: 0, DR: 0}
    for seed in range(40):
        log = unknown_answers(world(seed, answers=5), split, 0)
        for metric, each in counterfactual(prefers(item), split, log).earned.items():
            found = each.estimate(seed)
            held[metric] += found.low <= TASTE[item] <= found.high
        # What was earned says nothing of what would be.
        assert abs(float(log.rewards.mean()) - TASTE[item]) > 0.05
    assert min(held.values()) >= 34  # Binomial(40, 0.95) is below with probability 0.01; the draws are fixed


def test_two_models_are_compared_on_the_same_answers():
    split = past()
    log = unknown_answers(world(1), split, 0)
    good, bad = (counterfactual(prefers(item), split, log).earned[SNIPS] for item in (4, 1))
    assert good.minus(bad, 1).low > 0
    assert good.minus(good, 1).value == 0
    certain = dataclasses.replace(good, unseen=0.0)
    assert certain.minus(certain, 1).high == 0


def test_what_the_log_could_not_have_shown_widens_the_interval_by_as_much_of_the_value():
    """The model shows item 4 to all; the log knows only the answers that could not show it to every fifth user."""
    split, log = past(), world(2, answers=5)
    never = log.take(~((log.users % 5 == 0) & (log.items == 4)))
    found = counterfactual(prefers(4), split, unknown_answers(never, split, 0)).earned[SNIPS]
    assert found.unseen > 0.15
    bare, told = dataclasses.replace(found, unseen=0.0).estimate(1), found.estimate(1)
    assert told.high - told.low == pytest.approx(bare.high - bare.low + 2 * found.unseen * found.value)
    assert told.low <= TASTE[4] <= told.high


def broken(log: LoggedAnswers, **changes: Numbers) -> LoggedAnswers:
    return dataclasses.replace(log, **changes)


def test_a_log_without_chance_says_nothing():
    log = world(1)
    words = thin_support(broken(log, propensities=np.ones(len(log))), np.ones(len(log)))
    assert words
    assert "propensity of 1 everywhere" in words


def test_an_empty_log_says_nothing():
    log = world(1).take(np.zeros(1200, dtype=np.bool_))
    assert "no logged answers" in (thin_support(log, np.empty(0)) or "")


def test_few_effective_rounds_say_nothing_and_the_words_have_the_numbers():
    log = world(1, users=40)
    words = counterfactual(prefers(5), past(), unknown_answers(log, past(), 0)).abstained[SNIPS]
    assert "thin support: effective sample size" in words
    assert "of 120 places, 40 users" in words


def test_a_handful_of_users_says_nothing_however_often_they_came():
    log = world(1, users=20, answers=300)
    assert "at least 30 users" in (thin_support(log, weights_of(log, (log.items == 2).astype(np.float64))) or "")


def test_what_the_log_could_never_have_shown_cannot_be_judged():
    """Half of the users were only ever shown item 0: of these, SNIPS alone would say nothing and not tell."""
    log = world(1, users=800)
    rigid = log.users >= 300
    narrow = broken(log, propensities=np.where(rigid, 1.0, log.propensities))
    narrow = dataclasses.replace(narrow, items=np.where(rigid, 0, log.items))
    words = thin_support(narrow, weights_of(narrow, (narrow.items == 2).astype(np.float64)))
    assert words
    assert "could not have shown most" in words


def test_propensities_of_another_policy_are_noticed():
    log = world(1)
    wrong = broken(log, propensities=log.propensities / 5)
    assert "not those of the policy" in (thin_support(wrong, weights_of(wrong, (log.items == 2).astype(np.float64))) or "")


def test_answers_that_training_may_know_of_are_left_out():
    split = past()
    log = world(1)
    early = dataclasses.replace(log, times=np.where(log.users < 100, 1, 1000))
    assert split.one_moment
    assert set(unknown_answers(early, split, 0).users.tolist()) == set(range(100, 400))
    mixed = dataclasses.replace(split, one_moment=False)
    late_for_some = dataclasses.replace(log, times=np.where(log.users < 100, 1, 2))
    assert set(unknown_answers(late_for_some, mixed, 0).users.tolist()) == set(range(100, 400))


def test_a_large_log_is_drawn_from_by_the_seed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ray_apps.evaluation.counterfactual.MOST_USERS", 50)
    one, same, other = (np.unique(unknown_answers(world(1), past(), seed).users).tolist() for seed in (1, 1, 2))
    assert one == same != other
    assert len(one) == 50


def test_users_of_whom_nothing_is_known_are_asked_about_without_a_history():
    lengths: list[int] = []

    def score_many(histories: Histories) -> NDArray[np.float32]:
        lengths.extend(np.diff(histories.indptr).tolist())
        return np.zeros((len(histories), ITEMS), dtype=np.float32)

    log = world(1)
    strangers = dataclasses.replace(log, users=np.where(log.users < 10, log.users, log.users + 1000))
    counterfactual(score_many, past(), strangers)
    assert lengths == [2] + [1] * 9 + [0] * 390


def test_a_measured_model_says_what_it_would_earn_or_why_not():
    split = past()
    model = prefers(4)
    beside = Beside(slices=slices_of(split), log=unknown_answers(world(1), split, 0))
    found = measure(lambda _items, _weights: np.zeros(ITEMS, dtype=np.float32), model, split, beside)
    assert found.estimates(1)[SNIPS].low < 0.5 < found.estimates(1)[SNIPS].high
    assert found.minus(found, 1)[DR].value == 0
    without = measure(lambda _items, _weights: np.zeros(ITEMS, dtype=np.float32), model, split, Beside(slices=slices_of(split)))
    assert "no logged answers" in without.abstained[SNIPS]
    assert SNIPS not in without.estimates(1)
    assert off_policy.MOST_WEIGHT == 100
