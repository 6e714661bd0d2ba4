"""Metrics, held against what a reader would write from their definitions, and against their laws."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from ray_apps.algorithms.interactions import Histories
from ray_apps.evaluation.confidence import LEAST_USERS, bootstrap, difference, wilson
from ray_apps.evaluation.ranking import (
    NOTHING,
    Value,
    best,
    covered,
    hit_rate,
    hits,
    mean_average_precision,
    ndcg,
    precision,
    recall,
    reciprocal_rank,
)

SCORES = hnp.arrays(
    np.float32,
    st.integers(1, 30),
    elements=st.one_of(st.integers(-3, 3).map(float), st.sampled_from([math.nan, math.inf, -math.inf])),
)


def rows(sets: list[set[int]]) -> Histories:
    """Sets of items as sparse rows."""
    sorted_sets = [sorted(each) for each in sets]
    flat = np.array([item for each in sorted_sets for item in each], dtype=np.int32)
    indptr = np.concatenate(([0], np.cumsum([len(each) for each in sorted_sets]))).astype(np.int64)
    return Histories(indptr=indptr, indices=flat, weights=np.ones(flat.size, dtype=np.float32))


@st.composite
def measured(draw: st.DrawFn) -> tuple[NDArray[np.int32], list[set[int]]]:
    """Lists of different items, some cut short by NOTHING, and what each user likes (at least one item)."""
    users, items, k = draw(st.integers(1, 6)), draw(st.integers(1, 15)), draw(st.integers(1, 20))
    lists = np.full((users, k), NOTHING, dtype=np.int32)
    for user in range(users):
        order = draw(st.permutations(range(items)))[: draw(st.integers(0, min(k, items)))]
        lists[user, : len(order)] = order
    return lists, [draw(st.sets(st.integers(0, items - 1), min_size=1)) for _ in range(users)]


@given(scores=SCORES, k=st.integers(1, 40), data=st.data())
def test_the_best_items_are_those_of_a_full_sort(scores: NDArray[np.float32], k: int, data: st.DataObject):
    banned = data.draw(st.sets(st.integers(0, scores.size - 1)))
    able = [item for item in range(scores.size) if item not in banned and math.isfinite(scores[item])]
    wanted = sorted(able, key=lambda item: (-scores[item], item))[:k]
    found = best(scores, k, np.array(sorted(banned), dtype=np.int32)).tolist()
    assert found == wanted + [NOTHING] * (k - len(wanted))


Metric = Callable[[NDArray[np.bool_], Histories], Value]


def loops(listed: list[int], items: set[int], k: int) -> dict[str, float]:
    """Every metric of one list of at most k items, as a reader would write it."""
    places = [place for place, item in enumerate(listed, start=1) if item in items]
    return {
        "hit_rate": float(bool(places)),
        "recall": len(places) / len(items),
        "precision": len(places) / k,
        "ndcg": sum(1 / math.log2(place + 1) for place in places) / sum(1 / math.log2(r + 1) for r in range(1, min(len(items), k) + 1)),
        "map": sum((number + 1) / place for number, place in enumerate(places)) / min(len(items), k),
        "mrr": 1 / places[0] if places else 0.0,
    }


OURS: dict[str, Metric] = {
    "hit_rate": lambda found, _: hit_rate(found),
    "recall": recall,
    "precision": lambda found, _: precision(found),
    "ndcg": ndcg,
    "map": mean_average_precision,
    "mrr": lambda found, _: reciprocal_rank(found),
}


CAUGHT = settings(phases=[Phase.generate], database=None)
"""For broken twins: that there is an example is enough, it need not be the smallest."""


def agrees(name: str, metric: Metric) -> Callable[[], None]:
    """A test that a metric is its definition."""

    @given(measured())
    def holds(case: tuple[NDArray[np.int32], list[set[int]]]) -> None:
        lists, liked = case
        relevant = rows(liked)
        values = metric(hits(lists, relevant), relevant).per_user
        for user, items in enumerate(liked):
            listed = [item for item in lists[user].tolist() if item != NOTHING]
            assert math.isclose(values[user], loops(listed, items, lists.shape[1])[name], abs_tol=1e-12)

    return holds


@pytest.mark.parametrize("name", list(OURS))
def test_metrics_are_their_definitions(name: str):
    agrees(name, OURS[name])()


@given(measured())
def test_coverage_is_how_many_different_items_are_shown(case: tuple[NDArray[np.int32], list[set[int]]]):
    assert covered(case[0]) == len({int(item) for item in case[0].ravel() if item != NOTHING})


def ideal_of_all(found: NDArray[np.bool_], relevant: Histories) -> Value:
    """NDCG whose ideal list is as long as all that is relevant, however short the list."""
    gains = 1 / np.log2(np.arange(2, found.shape[1] + 2))
    wanted = np.diff(relevant.indptr)
    ideal = np.array([(1 / np.log2(np.arange(2, count + 2))).sum() for count in wanted])
    return Value(per_user=found @ gains / ideal)


def ideal_of_k(found: NDArray[np.bool_], relevant: Histories) -> Value:
    """NDCG whose ideal list has k hits, however few are relevant."""
    del relevant
    gains = 1 / np.log2(np.arange(2, found.shape[1] + 2))
    return Value(per_user=found @ gains / gains.sum())


def of_all_relevant(found: NDArray[np.bool_], relevant: Histories) -> Value:
    """MAP divided by all that is relevant, more than k places can hold."""
    k, wanted = found.shape[1], np.diff(relevant.indptr)
    value = mean_average_precision(found, relevant).per_user
    return Value(per_user=value * np.minimum(wanted, k) / wanted)


@pytest.mark.parametrize(("name", "twin"), [("ndcg", ideal_of_all), ("ndcg", ideal_of_k), ("map", of_all_relevant)])
def test_a_broken_twin_of_a_metric_is_caught(name: str, twin: Metric):
    with pytest.raises(AssertionError):
        CAUGHT(agrees(name, twin))()


Best = Callable[[NDArray[np.float32], int, NDArray[np.int32]], NDArray[np.int32]]


def blind_to_order(ranked: Best) -> Callable[[], None]:
    """A test that how items are numbered decides nothing but ties: with other numbers, the same scores are shown at each place."""

    @given(scores=SCORES, k=st.integers(1, 40), seed=st.integers(0, 99))
    def holds(scores: NDArray[np.float32], k: int, seed: int) -> None:
        first = ranked(scores, k, np.empty(0, dtype=np.int32))
        able = [item for item in range(scores.size) if math.isfinite(scores[item])]
        assert first.tolist() == (sorted(able, key=lambda item: (-scores[item], item)) + [NOTHING] * k)[:k]
        order = np.random.default_rng(seed).permutation(scores.size)
        again = ranked(scores[order], k, np.empty(0, dtype=np.int32))
        assert [scores[item] for item in first if item != NOTHING] == [scores[order][item] for item in again if item != NOTHING]

    return holds


def test_equal_scores_go_to_the_lower_number_whatever_the_order():
    blind_to_order(best)()


def by_sorting_backwards(scores: NDArray[np.float32], k: int, banned: NDArray[np.int32]) -> NDArray[np.int32]:
    """The usual slip: an ascending sort, read from its end, gives equal scores to the higher number."""
    kept = np.where(np.isfinite(scores), scores, -np.inf)
    kept[banned] = -np.inf
    order = np.argsort(kept, kind="stable")[::-1]
    shown = [int(item) for item in order if kept[item] > -np.inf][:k]
    return np.array(shown + [NOTHING] * (k - len(shown)), dtype=np.int32)


def test_a_twin_that_breaks_ties_by_the_order_of_its_sort_is_caught():
    with pytest.raises(AssertionError):
        CAUGHT(blind_to_order(by_sorting_backwards))()


@given(measured())
def test_metrics_lie_between_nothing_and_all(case: tuple[NDArray[np.int32], list[set[int]]]):
    lists, liked = case
    found = hits(lists, rows(liked))
    for value in (metric(found, rows(liked)) for metric in OURS.values()):
        assert (value.per_user >= 0).all()
        assert (value.per_user <= 1 + 1e-12).all()


@given(measured(), st.data())
def test_moving_a_hit_up_never_lowers_ndcg(case: tuple[NDArray[np.int32], list[set[int]]], data: st.DataObject):
    lists, liked = case
    found = hits(lists, rows(liked))
    place = data.draw(st.integers(0, lists.shape[1] - 1))
    above = data.draw(st.integers(0, place))
    better = lists.copy()
    if found[0, place] and not found[0, above]:
        better[0, [above, place]] = lists[0, [place, above]]
    assert ndcg(hits(better, rows(liked)), rows(liked)).mean >= ndcg(found, rows(liked)).mean - 1e-12


@given(measured())
def test_a_longer_list_never_hits_less(case: tuple[NDArray[np.int32], list[set[int]]]):
    lists, liked = case
    found, relevant = hits(lists, rows(liked)), rows(liked)
    for k in range(1, lists.shape[1]):
        assert (hit_rate(found[:, : k + 1]).per_user >= hit_rate(found[:, :k]).per_user).all()
        assert (recall(found[:, : k + 1], relevant).per_user >= recall(found[:, :k], relevant).per_user).all()


@given(liked=st.lists(st.sets(st.integers(0, 20), min_size=1), min_size=1, max_size=5), k=st.integers(1, 25))
def test_the_perfect_list_has_ndcg_one(liked: list[set[int]], k: int):
    lists = np.stack([best(np.isin(np.arange(21), list(items)).astype(np.float32), k, np.array([], dtype=np.int32)) for items in liked])
    assert np.allclose(ndcg(hits(lists, rows(liked)), rows(liked)).per_user, 1)


def test_ndcg_is_that_of_implicit():
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415 - takes a second to import
    from implicit.evaluation import ranking_metrics_at_k  # noqa: PLC0415

    chance = np.random.default_rng(4)
    train = csr_matrix(chance.random((80, 50)) < 0.15, dtype=np.float32)
    test = csr_matrix(np.logical_and(chance.random((80, 50)) < 0.1, train.toarray() == 0), dtype=np.float32)
    model = AlternatingLeastSquares(factors=8, iterations=5, random_state=1, num_threads=1)
    model.fit(train, show_progress=False)
    users = np.flatnonzero(np.diff(test.indptr))
    theirs = ranking_metrics_at_k(model, train, test, K=10, show_progress=False, num_threads=1)
    relevant = rows([set(test[user].indices.tolist()) for user in users])
    lists = np.stack([best(model.item_factors @ model.user_factors[user], 10, train[user].indices) for user in users])
    assert math.isclose(ndcg(hits(lists, relevant), relevant).mean, theirs["ndcg"], rel_tol=1e-6)


@given(trials=st.integers(0, 10_000), data=st.data())
def test_wilsons_interval_holds_the_share_and_stays_a_share(trials: int, data: st.DataObject):
    found = wilson(data.draw(st.integers(0, trials)), trials)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high > found.low


def test_wilsons_interval_is_that_of_the_paper():
    # 10 of 100: Wilson's 95 % interval is (0.0552, 0.1744), as in Agresti & Coull, The American Statistician 52(2), 1998, formula 3.
    found = wilson(10, 100)
    assert (round(found.low, 4), round(found.high, 4)) == (0.0552, 0.1744)


@given(hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(-1, 1)), st.integers(0, 5))
def test_a_bootstrap_interval_holds_the_mean_and_is_the_same_for_the_same_seed(per_user: NDArray[np.float64], seed: int):
    value = Value(per_user=per_user, lowest=-1.0)
    found = bootstrap(value, seed)
    assert found.low <= found.value <= found.high
    assert per_user.size >= LEAST_USERS or (found.low, found.high) == (-1.0, 1.0)
    assert found == bootstrap(value, seed)
    assert found.samples == per_user.size


def test_bootstrap_intervals_cover_the_truth_about_as_often_as_they_say():
    chance = np.random.default_rng(11)
    held = 0
    for trial in range(300):
        found = bootstrap(Value(per_user=chance.beta(0.5, 3, size=150)), trial)
        held += found.low <= 0.5 / 3.5 <= found.high
    # Binomial(300, 0.95) lies within 270..297 with probability 0.9995; the draws are fixed.
    assert 270 <= held <= 297


def test_what_two_models_have_in_common_cancels_in_their_difference():
    chance = np.random.default_rng(5)
    hard = chance.random(200)
    one, other = Value(per_user=hard + 0.01), Value(per_user=hard)
    found = difference(one, other, 1)
    assert found.low > 0
    assert found.high - found.low < 1e-9
    assert bootstrap(one, 1).low < bootstrap(other, 1).high
