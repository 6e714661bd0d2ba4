"""Limits of the benchmark of cold users: they know what others like, and one knows the asked user's own likes too."""

import numpy as np

from bench.cold_limits import ALL, OTHERS, limits
from ray_apps.algorithms.interactions import Histories
from ray_apps.evaluation.onboarded import Onboarded


def rows(*items: list[int]) -> Histories:
    indptr = np.cumsum([0, *map(len, items)]).astype(np.int64)
    indices = np.array([item for each in items for item in each], dtype=np.int32)
    return Histories(indptr=indptr, indices=indices, weights=np.ones(indices.size, dtype=np.float32))


PEOPLE = Onboarded(users=np.array([4, 7, 9], dtype=np.int32), told=rows([0], [0], [3]), sought=rows([1, 2], [2], [2]))
POPULARITY = np.array([0, 9, 0, 1, 4])


def test_others_likes_leave_out_ones_own():
    likes = np.floor(limits(PEOPLE, POPULARITY)[OTHERS])
    np.testing.assert_array_equal(likes, [[1, 0, 2, 1, 0], [1, 1, 2, 1, 0], [2, 1, 2, 0, 0]])


def test_the_list_that_has_seen_the_answers_is_the_same_for_all():
    likes = np.floor(limits(PEOPLE, POPULARITY)[ALL])
    np.testing.assert_array_equal(likes, [[2, 1, 3, 1, 0]] * 3)


def test_what_was_popular_before_decides_between_equals_and_never_more():
    one = limits(PEOPLE, POPULARITY)[OTHERS][0]
    assert one.argsort()[::-1].tolist() == [2, 3, 0, 1, 4]
    assert ((one - np.floor(one)) < 1).all()
