"""Metrics, held against what a reader would write from their definitions, and against their laws."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from ray_apps.algorithms.interactions import Histories
from ray_apps.evaluation.confidence import LEAST_USERS, bootstrap, difference, wilson
from ray_apps.evaluation.ranking import NOTHING, Value, best, covered, hit_rate, hits, ndcg, recall

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


@given(measured())
def test_metrics_are_their_definitions(case: tuple[NDArray[np.int32], list[set[int]]]):
    lists, liked = case
    relevant = rows(liked)
    found = hits(lists, relevant)
    for user, items in enumerate(liked):
        listed = [item for item in lists[user].tolist() if item != NOTHING]
        gain = sum(1 / math.log2(place + 2) for place, item in enumerate(listed) if item in items)
        ideal = sum(1 / math.log2(place + 2) for place in range(min(len(items), lists.shape[1])))
        assert hit_rate(found).per_user[user] == float(any(item in items for item in listed))
        assert math.isclose(recall(found, relevant).per_user[user], len(items & set(listed)) / len(items))
        assert math.isclose(ndcg(found, relevant).per_user[user], gain / ideal)
    assert covered(lists) == len({int(item) for item in lists.ravel() if item != NOTHING})


@given(measured())
def test_metrics_lie_between_nothing_and_all(case: tuple[NDArray[np.int32], list[set[int]]]):
    lists, liked = case
    found = hits(lists, rows(liked))
    for value in (hit_rate(found), recall(found, rows(liked)), ndcg(found, rows(liked))):
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
