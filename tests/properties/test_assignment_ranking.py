"""The best k items, against sorting everything."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ray_apps.serving.ranking import ArmFailure, top_k

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no finding
# Few distinct values, so that ties are common.
scores = hnp.arrays(np.float32, st.integers(1, 60), elements=st.sampled_from([-2.0, -0.5, 0.0, 0.25, 1.0, 3.5]))


@calm
@given(scores, st.integers(1, 80), st.data())
def test_the_best_k_are_those_of_a_full_sort(values: NDArray[np.float32], k: int, data: st.DataObject):
    banned = data.draw(st.lists(st.integers(0, values.size - 1), max_size=2 * values.size))
    chosen, best = top_k(values, k, np.array(banned, dtype=np.int64))
    expected = sorted((i for i in range(values.size) if i not in set(banned)), key=lambda i: (-values[i], i))[:k]
    assert chosen.tolist() == expected
    assert best.tolist() == values[expected].tolist()


@calm
@given(st.integers(0, 2**32), st.integers(1, 3000), st.integers(1, 100), st.integers(1, 40), st.floats(0, 1))
def test_of_long_arrays_too_the_best_k_are_those_of_a_full_sort(seed: int, size: int, k: int, levels: int, shut: float):
    drawn = np.random.default_rng(seed)
    values = drawn.integers(0, levels, size).astype(np.float32)
    banned = np.flatnonzero(drawn.random(size) < shut)
    chosen, _ = top_k(values, k, banned)
    order = np.lexsort((np.arange(size), -values))
    assert chosen.tolist() == order[~np.isin(order, banned)][:k].tolist()


@calm
@given(scores, st.sampled_from([np.nan, np.inf, -np.inf]), st.data())
def test_a_score_that_is_not_finite_is_a_failure_of_the_arm(values: NDArray[np.float32], wrong: float, data: st.DataObject):
    values[data.draw(st.integers(0, values.size - 1))] = wrong
    with pytest.raises(ArmFailure, match="finite"):
        top_k(values, 5, np.empty(0, dtype=np.int64))


def test_the_scores_handed_in_are_left_as_they_are():
    values = np.array([1.0, 2.0, 3.0])
    top_k(values, 2, np.array([2]))
    assert values.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("large", [3e38, -3e38])
def test_scores_whose_squares_are_beyond_all_numbers_are_ranked_all_the_same(large: float):
    chosen, best = top_k(np.array([1.0, large, 2.0], dtype=np.float32), 1, np.empty(0, dtype=np.int64))
    assert (chosen.tolist(), best.tolist()) == (([1], [np.float32(large)]) if large > 0 else ([2], [2.0]))
