import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_apps.algorithms.interactions import Interactions
from ray_apps.evaluation import splits
from ray_apps.evaluation.splits import by_time, since


def made(rows: dict[tuple[int, int], int]) -> Interactions:
    """(user, item) → time."""
    pairs = sorted(rows)
    users, items = (np.array([pair[side] for pair in pairs], dtype=np.int32) for side in (0, 1))
    return Interactions(
        users=users,
        items=items,
        weights=np.ones(len(pairs), dtype=np.float32),
        times=np.array([rows[pair] for pair in pairs], dtype=np.int64),
        n_users=int(users.max(initial=-1)) + 1,
        n_items=int(items.max(initial=-1)) + 1,
    )


ROWS = st.dictionaries(st.tuples(st.integers(0, 12), st.integers(0, 12)), st.integers(0, 50), max_size=80)


@given(ROWS, st.integers(0, 3))
def test_users_are_measured_only_on_new_items_and_only_with_a_past(rows: dict[tuple[int, int], int], seed: int):
    known = made(rows)
    split = by_time(known, seed)
    trained = set(zip(split.train.users.tolist(), split.train.items.tolist(), strict=True))
    for row, user in enumerate(split.users.tolist()):
        items, _ = split.relevant.of(row)
        assert items.size
        assert any(pair[0] == user for pair in trained)
        assert not trained & {(user, int(item)) for item in items}
    assert trained <= set(rows)
    assert (split.train.n_users, split.train.n_items) == (known.n_users, known.n_items)


@given(ROWS)
def test_nothing_held_out_of_a_user_is_older_than_what_that_user_trains_on(rows: dict[tuple[int, int], int]):
    split = by_time(made(rows), 0)
    for row, user in enumerate(split.users.tolist()):
        held = min(rows[user, int(item)] for item in split.relevant.of(row)[0])
        assert max(split.train.times[split.train.users == user]) <= held


def test_with_enough_users_one_moment_divides_past_and_future():
    chance = np.random.default_rng(0)
    rows = {(user, int(item)): int(chance.integers(1_000_000)) for user in range(400) for item in chance.permutation(100)[:30]}
    split = by_time(made(rows), 0)
    assert "one moment for all users" in split.words
    assert split.users.size >= splits.LEAST_USERS_OF_A_CUT
    held = [rows[user, int(item)] for row, user in enumerate(split.users.tolist()) for item in split.relevant.of(row)[0]]
    assert split.train.times.max() < min(held)
    assert len(rows) - len(split.train) == len(rows) // 10


def test_when_users_come_and_go_each_ones_own_newest_are_held_out():
    rows = {(user, item): 1000 * user + item for user in range(50) for item in range(20)}
    split = by_time(made(rows), 0)
    assert "of each user's interactions" in split.words
    assert split.users.tolist() == list(range(50))
    assert all(split.relevant.of(row)[0].tolist() == [18, 19] for row in range(50))


def test_a_large_audience_is_sampled_by_the_seed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(splits, "MOST_USERS", 20)
    known = made({(user, item): 1000 * user + item for user in range(50) for item in range(20)})
    one, same, other = (by_time(known, seed).users.tolist() for seed in (1, 1, 2))
    assert one == same != other
    assert len(one) == 20
    assert "20 of 50 users drawn by seed 1" in by_time(known, 1).words


def test_no_interactions_leave_nobody_to_measure():
    assert by_time(made({}), 0).users.size == 0


@given(ROWS, st.data())
def test_what_another_model_has_not_seen_is_divided_into_lesson_and_test(rows: dict[tuple[int, int], int], data: st.DataObject):
    known = made(rows)
    seen = np.array(data.draw(st.lists(st.booleans(), min_size=len(known), max_size=len(known))), dtype=np.bool_)
    split = since(known, seen, 0)
    assert not split.held[seen].any()
    if split.held.any():
        assert known.times[~split.held & ~seen].max(initial=-1) < known.times[split.held].min()
    assert len(split.train) + int(split.held.sum()) == len(known)


def test_at_most_a_half_of_the_news_is_held_out():
    known = made({(user, item): 1000 * item + user for user in range(50) for item in range(20)})
    seen = known.items < 18
    split = since(known, seen, 0)
    assert sorted({int(item) for item in known.items[split.held]}) == [19]
    assert split.users.tolist() == list(range(50))


def test_with_no_news_nobody_is_measured():
    known = made({(0, 0): 1, (1, 1): 2})
    assert since(known, np.ones(2, dtype=np.bool_), 0).users.size == 0


@given(ROWS, st.data())
def test_what_followed_an_answer_is_never_measured_on(rows: dict[tuple[int, int], int], data: st.DataObject):
    known = made(rows)
    organic = np.array(data.draw(st.lists(st.booleans(), min_size=len(known), max_size=len(known))), dtype=np.bool_)
    prompted = set(zip(known.users[~organic].tolist(), known.items[~organic].tolist(), strict=True))
    nothing_seen = np.zeros(len(known), dtype=np.bool_)
    for split in (by_time(known, 0, organic), since(known, nothing_seen, 0, organic)):
        for row, user in enumerate(split.users.tolist()):
            assert not prompted & {(user, int(item)) for item in split.relevant.of(row)[0]}
