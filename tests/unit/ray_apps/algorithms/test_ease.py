import re

import numpy as np
import pytest
from numpy.typing import NDArray

from ray_apps.algorithms.ease import EASE, MOST_ITEMS
from ray_apps.algorithms.hyperparameters import Unsuitable
from unit.ray_apps.algorithms.grouped import dense, interactions, made


def closed_form(gram: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    precision = np.linalg.inv(gram + ridge * np.eye(len(gram)))
    return np.eye(len(gram)) - precision / np.diag(precision)


def test_without_reach_scores_are_those_of_the_closed_form():
    known = interactions()
    matrix = dense(known)
    model = EASE.fit(known, {"ridge": 3.0, "reach": 0}, 7)
    assert np.allclose(model.scores_many(known.histories()), matrix @ closed_form(matrix.T @ matrix, 3.0), atol=1e-5)


def test_with_reach_pairs_count_by_how_near_they_stand_in_the_order_of_the_user():
    known = interactions()
    matrix = dense(known)
    gram = np.zeros((known.n_items, known.n_items))
    for user in range(known.n_users):
        mine = np.flatnonzero(known.users == user)
        place = np.empty(mine.size)
        place[np.argsort(known.times[mine])] = np.arange(mine.size)
        near = np.maximum(0, 1 - np.abs(place[:, None] - place) / 4)
        weights = known.weights[mine].astype(np.float64)
        gram[np.ix_(known.items[mine], known.items[mine])] += np.outer(weights, weights) * (1 + near) / 2
    model = EASE.fit(known, {"ridge": 3.0, "reach": 4}, 7)
    assert np.allclose(model.scores_many(known.histories()), matrix @ closed_form(gram, 3.0), atol=1e-5)


def test_with_reach_an_item_follows_those_that_are_liked_just_before_it():
    # Everybody likes all six items: alike for EASE. In time, 0 and 1, 2 and 3, 4 and 5 always come together.
    chance = np.random.default_rng(5)
    users, items = np.repeat(np.arange(200), 6), np.tile(np.arange(6), 200)
    times = np.concatenate([np.repeat(chance.permutation(3), 2) * 10 + np.tile(chance.permutation(2), 3) for _ in range(200)])
    model = EASE.fit(made(users, items, np.ones(1200), times), {"ridge": 1.0, "reach": 3}, 7)
    for item in range(6):
        scores = model.scores(np.array([item], dtype=np.int32), np.ones(1, dtype=np.float32))
        assert int(np.argmax(scores)) == item ^ 1


def test_an_item_that_nobody_liked_scores_nothing_and_says_nothing():
    known = interactions(items=60)
    wider = made(known.users, known.items + 1, known.weights, known.times, n_items=63)
    model, alike = EASE.fit(wider, {}, 7), EASE.fit(known, {}, 7)
    history, weights = known.histories().of(5)
    scores = model.scores(np.append(history + 1, 62).astype(np.int32), np.append(weights, np.float32(1)))
    assert scores[[0, 61, 62]].tolist() == [0, 0, 0]
    assert np.array_equal(scores[1:61], alike.scores(history, weights))


def test_a_history_of_the_whole_catalogue_is_scored_in_pieces_of_bounded_memory():
    known = interactions(users=300, items=1100)
    model = EASE.fit(known, {}, 7)
    history, weights = np.arange(1100, dtype=np.int32), np.linspace(0.1, 1, 1100).astype(np.float32)
    pieces = [model.scores(history[part], weights[part]) for part in (slice(0, 400), slice(400, 800), slice(800, None))]
    assert np.allclose(model.scores(history, weights), np.sum(pieces, axis=0), atol=1e-4)


def test_more_items_than_memory_allows_are_refused_with_the_megabytes():
    count = MOST_ITEMS + 1
    known = made(np.zeros(count, dtype=int), np.arange(count), np.ones(count), np.arange(count))
    words = "1,600 MB for the 20,001 items liked; it takes at most 20,000 items (1,600 MB); use ALS"
    with pytest.raises(Unsuitable, match=re.escape(words)):
        EASE.fit(known, {}, 7)


@pytest.mark.parametrize("rows", [[2, 1, 0], [0, 1, 1], [0, 1, 3], [-2, 0, 1]])
def test_rows_that_are_not_those_of_the_matrix_are_refused(rows: list[int]):
    arrays = {"rows": np.array(rows, dtype=np.int32), "matrix": np.zeros((3, 3), dtype=np.float32)}
    with pytest.raises(ValueError, match="model array 'rows' does not number"):
        EASE.from_arrays(arrays, 3)


def test_a_matrix_of_another_size_than_its_rows_is_refused():
    arrays = {"rows": np.array([0, -1, 1], dtype=np.int32), "matrix": np.zeros((3, 3), dtype=np.float32)}
    with pytest.raises(ValueError, match="model array 'matrix'"):
        EASE.from_arrays(arrays, 3)
