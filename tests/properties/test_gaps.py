"""The gap between groups: its interval tells truth as often as it says, and sees none where there is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_apps.evaluation.confidence import LEAST_USERS
from ray_apps.evaluation.gaps import gap, gap_difference, large
from ray_apps.evaluation.ranking import Value

Groups = dict[str, Value]


def drawn(means: list[float], users: int, seed: int) -> Groups:
    """NDCG-like numbers: most users have none, the others something between."""
    chance = np.random.default_rng(seed)
    return {f"g{place}": Value(per_user=chance.beta(0.5, 0.5 / mean - 0.5, size=users)) for place, mean in enumerate(means)}


@given(st.lists(st.floats(0.05, 0.9), min_size=2, max_size=6), st.integers(0, 9))
def test_the_gap_is_the_largest_difference_of_two_means(means: list[float], seed: int):
    groups = drawn(means, 40, seed)
    found = gap(groups)
    apart = [abs(one.mean - other.mean) for one in groups.values() for other in groups.values()]
    assert found.value == max(apart)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.samples == 40 * len(means)


@pytest.mark.parametrize("means", [[0.2, 0.2], [0.2, 0.25], [0.2] * 8, [0.2, 0.2, 0.2, 0.35]])
def test_the_interval_holds_the_true_gap_at_least_as_often_as_it_says(means: list[float]):
    true = max(means) - min(means)
    held = 0
    for seed in range(200):
        found = gap(drawn(means, 60, seed))
        held += found.low <= true <= found.high
    assert held >= 186  # Binomial(200, 0.95) is below in 1 of 100; the draws are fixed


def test_a_bootstrap_of_the_maximum_would_see_a_gap_between_equal_groups():
    """The broken twin: percentiles of the resampled gap, which is never as small as nothing."""
    held = 0
    for seed in range(100):
        groups = drawn([0.2] * 8, 60, seed)
        chance = np.random.default_rng(seed)
        means = [value.per_user[chance.integers(60, size=(500, 60))].mean(axis=1) for value in groups.values()]
        held += float(np.percentile(np.ptp(np.stack(means), axis=0), 2.5)) <= 0
    assert held == 0


def test_groups_without_any_hit_prove_nothing_of_their_equality():
    nothing = {name: Value(per_user=np.zeros(30)) for name in ("f", "m")}
    found = gap(nothing)
    assert (found.value, found.low) == (0, 0)
    assert found.high > 0.05


def test_a_handful_is_no_group():
    groups = {"few": Value(per_user=np.zeros(LEAST_USERS - 1)), "many": Value(per_user=np.zeros(LEAST_USERS))}
    assert list(large(groups)) == ["many"]


def test_gaps_of_two_models_are_compared_on_the_same_users():
    one = drawn([0.2, 0.4], 200, 1)
    narrower = {"g0": one["g0"], "g1": Value(per_user=one["g1"].per_user / 2)}
    found = gap_difference(one, narrower, 3)
    assert found.low > 0
    same = gap_difference(one, one, 3)
    assert (same.low, same.value, same.high) == (0, 0, 0)
    with pytest.raises(ValueError, match="cannot be paired"):
        gap_difference(one, {"g0": one["g0"]}, 3)
