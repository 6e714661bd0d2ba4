"""Newcomers: what speaks for them is never asked for afterwards."""

import numpy as np

from ray_apps.algorithms.interactions import Interactions
from ray_apps.algorithms.onboarding import HALF_LIFE_DAYS, onboarding_of
from ray_apps.algorithms.recent_popularity import recent_popularity
from ray_apps.evaluation.onboarded import answers, onboarded
from ray_apps.evaluation.splits import Split, split_at
from unit.ray_apps.algorithms.grouped import halves, interactions, made


def a_window() -> tuple[Interactions, Split]:
    """User 0 is known; 1, 2 and 3 come in the window, 3 with too little to say and to seek."""
    users = np.array([0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3])
    items = np.array([0, 5, 1, 2, 3, 4, 2, 3, 4, 0, 1])
    times = np.array([1, 9, 30, 20, 10, 40, 10, 10, 20, 10, 20])
    known = made(users, items, np.ones(11), times)
    return known, split_at(known, times >= 9, "a window")


def test_the_first_in_time_speak_and_the_rest_is_sought():
    known, split = a_window()
    asked = onboarded(split, known, first=2)
    assert asked.users.tolist() == [1, 2]
    assert [asked.told.of(user)[0].tolist() for user in range(2)] == [[2, 3], [2, 3]]
    assert [asked.sought.of(user)[0].tolist() for user in range(2)] == [[1, 4], [4]]


def test_what_is_not_measured_on_neither_speaks_nor_is_sought():
    known, _ = a_window()
    split = split_at(known, known.times >= 9, "a window", fit=known.times < 40)
    asked = onboarded(split, known, first=2)
    assert [asked.sought.of(user)[0].tolist() for user in range(2)] == [[1], [4]]


def test_what_speaks_for_somebody_is_not_recommended_to_them():
    known, split = a_window()
    asked = onboarded(split, known, first=2)
    assert asked.lists(np.array([1, 2, 9, 8, 3, 0], dtype=np.float32), 0, 3).tolist() == [4, 1, 0]


def test_nobody_new_gives_nobody_to_ask():
    known = interactions()
    asked = onboarded(split_at(known, known.times > known.times.max(), "nothing"), known)
    assert asked.users.size == len(asked.told) == len(asked.sought) == 0


def test_answers_follow_what_was_said():
    known = interactions()
    content = halves(known.n_items)
    newcomers = known.users < 20
    split = split_at(known, newcomers, "the first users")
    asked = onboarded(split, known)
    onboarding = onboarding_of(content, recent_popularity(split.train, HALF_LIFE_DAYS))
    for items in (False, True):
        scores = answers(onboarding, content, asked, items=items)
        assert scores.shape == (asked.users.size, known.n_items)
        for row, user in enumerate(asked.users):
            told = asked.told.of(row)[0] % 2
            if told.min() == told.max():
                assert scores[row, user % 2 :: 2].mean() > 1.5 * scores[row, 1 - user % 2 :: 2].mean()
