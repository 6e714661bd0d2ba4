"""Metrics of lists beside accuracy, held against loops over their definitions."""

import math
from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from properties.test_metrics import rows
from ray_apps.algorithms.interactions import Content, Histories, Interactions
from ray_apps.evaluation.beyond_accuracy import SMOOTHING, calibration, diversity, novelty, popularity_bias
from ray_apps.evaluation.ranking import NOTHING

ITEMS = 9
FEATURES = ("genre:a", "genre:b", "genre:c", "text:x", "text:y")
Vectors = list[dict[int, float]]


@st.composite
def lists_of(draw: st.DrawFn, users: int) -> NDArray[np.int32]:
    """Lists of different items, k up to more than there are, cut short by NOTHING."""
    k = draw(st.integers(1, ITEMS + 3))
    lists = np.full((users, k), NOTHING, dtype=np.int32)
    for user in range(users):
        chosen = draw(st.permutations(range(ITEMS)))[: draw(st.integers(0, min(k, ITEMS)))]
        lists[user, : len(chosen)] = chosen
    return lists


USERS = st.shared(st.integers(1, 5), key="users")
LISTS = USERS.flatmap(lists_of)
LIKED = USERS.flatmap(lambda users: st.lists(st.sets(st.integers(0, ITEMS - 1)), min_size=users, max_size=users))
VECTORS = st.lists(st.dictionaries(st.integers(0, len(FEATURES) - 1), st.floats(0.1, 1), max_size=4), min_size=ITEMS, max_size=ITEMS).map(
    lambda each: [unit(vector) for vector in each]
)


def unit(vector: dict[int, float]) -> dict[int, float]:
    length = math.sqrt(sum(weight**2 for weight in vector.values()))
    return {place: vector[place] / length for place in sorted(vector)}


def content_of(vectors: Vectors) -> Content:
    return Content(
        indptr=np.concatenate(([0], np.cumsum([len(vector) for vector in vectors]))).astype(np.int64),
        indices=np.array([place for vector in vectors for place in vector], dtype=np.int32),
        weights=np.array([weight for vector in vectors for weight in vector.values()], dtype=np.float32),
        features=FEATURES,
    )


def trained(liked: list[set[int]]) -> Interactions:
    known = rows(liked)
    users = np.repeat(np.arange(len(liked)), np.diff(known.indptr)).astype(np.int32)
    return Interactions(
        users=users,
        items=known.indices,
        weights=known.weights,
        times=np.zeros(users.size, dtype=np.int64),
        n_users=len(liked),
        n_items=ITEMS,
    )


def shown(lists: NDArray[np.int32], user: int) -> list[int]:
    return [item for item in lists[user].tolist() if item != NOTHING]


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


@given(LISTS, LIKED)
def test_novelty_and_popularity_are_means_over_the_list(lists: NDArray[np.int32], liked: list[set[int]]):
    users = sum(1 for each in liked if each) or 1
    count = [sum(item in each for each in liked) for item in range(ITEMS)]
    bits, shares = novelty(lists, trained(liked)), popularity_bias(lists, trained(liked))
    for user in range(len(liked)):
        items = shown(lists, user)
        assert math.isclose(bits.per_user[user], mean([-math.log2(max(count[item], 1) / users) for item in items]), abs_tol=1e-12)
        assert math.isclose(shares.per_user[user], mean([count[item] / users for item in items]), abs_tol=1e-12)
    assert ((bits.per_user >= bits.lowest) & (bits.per_user <= bits.highest + 1e-12)).all()


@given(LISTS, VECTORS)
def test_diversity_is_the_mean_distance_of_all_pairs(lists: NDArray[np.int32], vectors: Vectors):
    found = diversity(lists, content_of(vectors)).per_user
    for user in range(len(lists)):
        known = [vectors[item] for item in shown(lists, user) if vectors[item]]
        distances = [1 - sum(weight * other.get(place, 0) for place, weight in one.items()) for one, other in combinations(known, 2)]
        assert math.isclose(found[user], mean(distances), abs_tol=1e-6)


def shares(items: list[tuple[int, float]], vectors: Vectors) -> list[float]:
    """Steck's p(g|u): an item's genres share it equally."""
    mass = [0.0, 0.0, 0.0]
    for item, weight in items:
        genres = [place for place in vectors[item] if place < 3]
        for genre in genres:
            mass[genre] += weight / len(genres)
    return [each / sum(mass) if sum(mass) else 0.0 for each in mass]


@given(LISTS, LIKED, VECTORS, st.integers(0, 10))
@settings(max_examples=200)
def test_calibration_is_stecks_divergence(lists: NDArray[np.int32], liked: list[set[int]], vectors: Vectors, seed: int):
    plain = rows(liked)
    weights = np.random.default_rng(seed).uniform(0.1, 1, plain.indices.size).astype(np.float32)
    histories = Histories(indptr=plain.indptr, indices=plain.indices, weights=weights)
    found = calibration(lists, histories, content_of(vectors))
    wanted: list[float] = []
    for user in range(len(liked)):
        items, strengths = histories.of(user)
        p = shares(list(zip(items.tolist(), strengths.tolist(), strict=True)), vectors)
        q = shares([(item, 1.0) for item in shown(lists, user)], vectors)
        if any(p):
            mixed = [(1 - SMOOTHING) * b + SMOOTHING * a for a, b in zip(p, q, strict=True)]
            wanted.append(sum(a * math.log(a / b) for a, b in zip(p, mixed, strict=True) if a))
    assert np.allclose(found.per_user, wanted, atol=1e-9)
    assert (found.per_user <= found.highest + 1e-9).all()


def test_a_list_with_the_shares_of_the_history_is_calibrated():
    vectors = [unit({item % 2: 1.0}) for item in range(ITEMS)]
    lists = np.array([[4, 5], [4, 6]], dtype=np.int32)
    found = calibration(lists, rows([{0, 1}, {0, 1}]), content_of(vectors)).per_user
    assert abs(found[0]) < 1e-12
    assert found[1] > 1
