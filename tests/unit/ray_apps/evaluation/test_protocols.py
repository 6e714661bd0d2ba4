import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_apps.algorithms.interactions import Histories
from ray_apps.algorithms.recommender import Scores
from ray_apps.evaluation.measuring import measure
from ray_apps.evaluation.protocols import LEAST_HISTORY, leave_one_out, strong_generalisation
from ray_apps.evaluation.sampled import sampled_metrics
from ray_apps.evaluation.splits import Split
from unit.ray_apps.evaluation.test_splits import ROWS, made

Rows = dict[tuple[int, int], int]
MANY = {(user, item): (user * 7 + item * 13) % 101 for user in range(80) for item in range(user % 3, 40, 2 + user % 4)}


def asked(split: Split) -> dict[int, list[int]]:
    return {user: split.relevant.of(row)[0].tolist() for row, user in enumerate(split.users.tolist())}


@given(ROWS)
def test_the_last_of_each_user_with_two_is_left_out(rows: Rows):
    split = leave_one_out(made(rows), 0)
    wanted: dict[int, list[int]] = {}
    for user in sorted({user for user, _ in rows}):
        own = [(time, item) for (who, item), time in rows.items() if who == user]
        if len(own) > 1:
            wanted[user] = [max(own)[1]]
    assert asked(split) == wanted
    assert len(split.train) == len(rows) - len(wanted)
    assert split.newcomers.size == 0


@given(ROWS, st.integers(0, 5))
def test_one_of_each_user_is_drawn_by_the_seed(rows: Rows, seed: int):
    split = leave_one_out(made(rows), seed, "random")
    assert asked(split) == asked(leave_one_out(made(rows), seed, "random"))
    for user, items in asked(split).items():
        assert len(items) == 1
        assert (user, items[0]) in rows
    assert len(split.train) == len(rows) - split.users.size


def test_each_interaction_is_left_out_as_often_as_the_others():
    known = made({(0, item): 0 for item in range(4)} | {(1, item): 0 for item in range(3)})
    drawn = [asked(leave_one_out(known, seed, "random"))[0][0] for seed in range(400)]
    assert min(np.bincount(drawn, minlength=4)) > 60  # expected are 100 each; the draws are fixed


@given(ROWS, st.integers(0, 3), st.integers(1, 12))
def test_whole_users_are_held_out_and_told_most_of_their_history(rows: Rows, seed: int, users: int):
    known = made(rows)
    split = strong_generalisation(known, seed, users)
    assert split.shown is not None
    trained_items = set(split.train.items.tolist())
    assert split.users.size <= users
    for row, user in enumerate(split.users.tolist()):
        assert user not in split.train.users
        told, relevant = set(split.shown.of(row)[0].tolist()), set(split.relevant.of(row)[0].tolist())
        own = {item for who, item in rows if who == user and item in trained_items}
        assert told | relevant == own
        assert not told & relevant
        assert len(relevant) == int(0.2 * len(own) + 1e-9) > 0
        assert sum(1 for who, _ in rows if who == user) >= LEAST_HISTORY


def test_strong_generalisation_measures_by_what_is_told():
    split = strong_generalisation(made(MANY), 3, 20)
    assert split.users.size == 20
    seen: list[int] = []

    def score_many(histories: Histories) -> Scores:
        seen.extend(np.diff(histories.indptr).tolist())
        return np.zeros((len(histories), split.train.n_items), dtype=np.float32)

    measure(lambda _items, _weights: np.zeros(split.train.n_items, dtype=np.float32), score_many, split)
    assert seen == [
        round(0.8 * (told + sought) + 0.499) for told, sought in zip(seen, np.diff(split.relevant.indptr).tolist(), strict=True)
    ]


def test_sampled_metrics_are_those_of_the_drawn_items_and_are_named_so():
    split = leave_one_out(made(MANY), 0)
    table = np.random.default_rng(1).random((len(split.users), split.train.n_items)).astype(np.float32)
    rows = iter(table)
    found = sampled_metrics(lambda block: np.stack([next(rows) for _ in range(len(block))]), split, 5, k=3, negatives=1000)
    assert set(found) == {"sampled_hr@3", "sampled_ndcg@3"}
    for row, user in enumerate(split.users.tolist()):
        wanted = asked(split)[user][0]
        others = [item for item in range(split.train.n_items) if (user, item) not in MANY]
        place = sum(table[row, item] >= table[row, wanted] for item in others)
        assert found["sampled_hr@3"].per_user[row] == float(place < 3)
        assert np.isclose(found["sampled_ndcg@3"].per_user[row], 1 / np.log2(place + 2) if place < 3 else 0)


def test_a_model_that_scores_all_alike_finds_nothing_among_drawn_items():
    split = leave_one_out(made(MANY), 0)
    found = sampled_metrics(lambda block: np.zeros((len(block), split.train.n_items), dtype=np.float32), split, 5, negatives=20)
    assert found["sampled_hr@10"].mean == 0


def test_sampled_metrics_of_several_relevant_items_are_refused():
    split = strong_generalisation(made(MANY), 3, 20)
    with pytest.raises(ValueError, match="sampled metrics need leave_one_out, with one each"):
        sampled_metrics(lambda block: np.zeros((len(block), 40), dtype=np.float32), split, 5)
