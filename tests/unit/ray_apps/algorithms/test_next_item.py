"""What follows what is learned from the order of likes, and asked with the newest of them first of all."""

from dataclasses import replace

import numpy as np
import pytest

from ray_apps.algorithms.ensemble import Ensemble
from ray_apps.algorithms.holding_out import held_out
from ray_apps.algorithms.interactions import Interactions
from ray_apps.algorithms.next_item import NextItem
from unit.ray_apps.algorithms.grouped import made

ITEMS, LIKES, HALF_LIFE = 60, 12, 4.0


def circles(users: int = 300, *, ordered: bool = True, seed: int = 3) -> Interactions:
    """Users who begin anywhere and go round in steps of one or two; or who like the same things in any order."""
    chance = np.random.default_rng(seed)
    steps = chance.integers(1, 3, size=(users, LIKES)).cumsum(axis=1)
    items = (chance.integers(ITEMS, size=(users, 1)) + steps) % ITEMS
    times = np.tile(np.arange(LIKES), (users, 1)) if ordered else np.stack([chance.permutation(LIKES) for _ in range(users)])
    user = np.repeat(np.arange(users), LIKES)
    order = np.lexsort((items.ravel(), user))
    weights = np.ones(user.size)
    known = made(user, items.ravel()[order], weights, 60_000 * times.ravel()[order], n_users=users, n_items=ITEMS)
    return replace(known, half_life=HALF_LIFE)


def found(known: Interactions) -> float:
    """Part of the users for whom one of the two items that stand after their newest one is the best of all that they have not."""
    model, told = NextItem.fit(known, {}, 1), known.told()
    right = 0
    for user in range(known.n_users):
        history, weights = told.of(user)
        scores = model.scores(history, weights).copy()
        scores[history] = -np.inf
        newest = int(history[weights.argmax()])
        right += (int(scores.argmax()) - newest) % ITEMS in {1, 2}
    return right / known.n_users


def test_what_follows_the_newest_like_is_found_and_lost_with_the_order_of_time():
    assert found(circles()) > 0.9
    assert found(circles(ordered=False)) < 0.7


def test_at_most_so_many_are_kept_and_they_are_those_that_follow_most_often():
    few, all_of_them = (NextItem.fit(circles(), {"neighbours": most}, 1).arrays() for most in (2, 10_000))
    assert np.diff(few["indptr"].astype(np.int64)).tolist() == [2] * ITEMS
    for item in range(ITEMS):
        low, high = all_of_them["indptr"][item : item + 2].astype(np.int64)
        greatest = np.sort(all_of_them["similarities"][low:high].astype(np.float32))[::-1][:2]
        assert np.array_equal(np.sort(few["similarities"][2 * item : 2 * item + 2].astype(np.float32))[::-1], greatest)


def test_where_older_likes_count_less_the_newest_are_held_out_to_learn_weights_by():
    known = circles()
    tried = held_out(known, 7)
    for user in range(known.n_users):
        own = np.flatnonzero(known.users == user)
        newest = known.items[own[known.times[own].argmax()]]
        assert tried.relevant.of(user)[0].tolist() == [newest]
    drawn = held_out(replace(known, half_life=None), 7)
    assert not np.array_equal(drawn.relevant.indices, tried.relevant.indices)


@pytest.mark.parametrize(("ordered", "most"), [(True, True), (False, False)])
def test_an_ensemble_goes_by_what_follows_where_order_says_something(ordered: bool, most: bool):
    weights = Ensemble.fit(circles(ordered=ordered), {}, 1).arrays()
    names = bytes(weights["parts"].astype(np.uint8)).decode().split(",")
    share = dict(zip(names, weights["weights"].tolist(), strict=True)).get(NextItem.name, 0.0)
    assert (share > 0.5) is most
