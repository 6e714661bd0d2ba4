import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ray_apps.algorithms.interactions import Histories, Indices, Weights
from ray_apps.algorithms.recommender import Scores
from ray_apps.evaluation import slices
from ray_apps.evaluation.measuring import Beside, measure
from ray_apps.evaluation.onboarded import welcome_of
from ray_apps.evaluation.slices import Slices, slices_of
from ray_apps.evaluation.splits import Split, by_time, split_at
from unit.ray_apps.algorithms.grouped import halves
from unit.ray_apps.evaluation.test_splits import ROWS, made

DAY = 24 * 3600 * 1000
HISTORY = {(user, item): 100 * DAY + user for user in range(6) for item in range(4)}
"""Six users with items 0 to 3, all about day 100."""


def pairs(relevant: Histories, users: list[int]) -> set[tuple[int, int]]:
    return {(users[row], int(item)) for row in range(len(relevant)) for item in relevant.of(row)[0]}


def members(split: Split, found: Slices, name: str) -> set[tuple[int, int]]:
    part = found.named[name]
    return pairs(part.relevant, split.users[part.rows].tolist())


def cut(later: dict[tuple[int, int], int], earlier: dict[tuple[int, int], int] | None = None) -> Split:
    """A split by hand: `later` is held out."""
    known = made(HISTORY | (earlier or {}) | later)
    held = np.array([(int(user), int(item)) in later for user, item in zip(known.users, known.items, strict=True)])
    return split_at(known, held, "by hand")


def test_users_without_a_past_are_measured_apart_and_change_nothing_for_the_others():
    split = cut({(0, 4): 200 * DAY, (7, 1): 200 * DAY, (7, 5): 200 * DAY})
    assert split.users.tolist() == [0]
    assert split.newcomers.tolist() == [7]
    assert pairs(split.sought, [7]) == {(7, 1), (7, 5)}


def test_items_that_nobody_liked_before_are_cold_and_the_rest_is_not_asked_for():
    split = cut({(0, 4): 200 * DAY, (0, 5): 200 * DAY, (1, 4): 200 * DAY, (2, 6): 200 * DAY}, earlier={(3, 6): 100 * DAY})
    found = slices_of(split)
    assert members(split, found, slices.COLD_ITEMS) == {(0, 4), (0, 5), (1, 4)}
    assert found.cold.tolist() == [4, 5]


def test_old_is_what_happened_mostly_more_than_thirty_days_before_the_newest_event_of_training():
    earlier = {(0, 7): 140 * DAY, (1, 8): 60 * DAY, (2, 9): 140 * DAY, (3, 9): 60 * DAY, (4, 9): 139 * DAY}
    split = cut({(0, 8): 200 * DAY, (1, 7): 200 * DAY, (1, 9): 200 * DAY, (5, 0): 200 * DAY, (5, 7): 200 * DAY}, earlier)
    found = slices_of(split)
    # Old is before day 110: 0 and 8 were liked then only, 7 later; of 9's three likes one is old. User 5 did nothing since day 100.
    assert members(split, found, slices.OLD_ITEMS) == {(0, 8), (5, 0)}
    assert split.users[found.named[slices.OLD_USERS].rows].tolist() == [1, 5]


def test_groups_are_users_of_one_value_and_the_unknown_are_in_none():
    split = cut({(user, 4): 200 * DAY for user in range(6)})
    found = slices_of(split, {"gender": ["f", "m", None, "f", "x", None]})
    grouped = {name: split.users[part.rows].tolist() for name, part in found.named.items() if name.startswith("group:gender")}
    assert grouped == {"group:gender=f": [0, 3], "group:gender=m": [1], "group:gender=x": [4]}
    assert found.fields == ("activity", "gender")


def test_users_with_more_than_the_median_are_the_heavy_ones():
    split = cut({(user, 4): 200 * DAY for user in range(6)}, earlier={(5, item): 100 * DAY for item in range(5, 9)})
    found = slices_of(split)
    assert split.users[found.named["group:activity=heavy"].rows].tolist() == [5]
    assert found.named["group:activity=light"].rows.tolist() == [0, 1, 2, 3, 4]


def test_a_field_with_too_many_values_or_none_makes_no_groups_and_says_why():
    later = {(user, 3): 200 * DAY for user in range(17)}
    split = cut(later, earlier={(user, 9): 100 * DAY for user in range(17)})
    found = slices_of(split, {"age": [str(user) for user in range(17)], "city": [None] * 17})
    assert not [name for name in found.named if name.startswith(("group:age", "group:city"))]
    assert "'age' has 17 values among the users measured, at most 16" in found.refused["age"]
    assert "no event of a user measured has a value of 'city'" in found.refused["city"]


def test_what_nobody_belongs_to_is_absent():
    split = cut({(0, 4): 200 * DAY}, earlier={(1, 4): 100 * DAY})
    assert set(slices_of(split).named) == {slices.WARM_USERS, "group:activity=light"}


@given(ROWS, st.integers(0, 3))
def test_no_slice_asks_for_anything_that_the_whole_does_not(rows: dict[tuple[int, int], int], seed: int):
    split = by_time(made(rows), seed)
    whole = pairs(split.relevant, split.users.tolist())
    found = slices_of(split, {"parity": [str(user % 2) for user in range(split.train.n_users)]})
    for name, part in found.named.items():
        asked = members(split, found, name)
        assert asked <= whole
        assert all(part.relevant.of(row)[0].size for row in range(part.rows.size))
    both = [members(split, found, name) for name in found.named if name.startswith("group:parity")]
    assert set().union(*both) == whole
    assert not set(split.newcomers.tolist()) & (set(split.users.tolist()) | set(split.train.users.tolist()))


class ByNumber:
    """Likes items of high number, for everybody."""

    def scores(self, history: Indices, weights: Weights) -> Scores:
        del history, weights
        return np.arange(10, dtype=np.float32)

    def scores_many(self, histories: Histories) -> Scores:
        return np.tile(np.arange(10, dtype=np.float32), (len(histories), 1))


def test_a_slice_is_judged_by_the_same_lists_as_the_whole():
    later = {(0, 8): 200 * DAY, (0, 9): 200 * DAY, (1, 4): 200 * DAY, (7, 9): 200 * DAY, (7, 2): 200 * DAY}
    split = cut(later, earlier={(2, 8): 100 * DAY})
    model = ByNumber()
    found = measure(model.scores, model.scores_many, split, Beside(slices=slices_of(split)))
    # User 0 is shown 9, 8, 7 …; of these 9 is new. User 1 wants the new item 4, which stands at place 6, and third among the new ones.
    assert found.slices[slices.COLD_ITEMS]["mrr@10"].per_user.tolist() == [1, 1 / 6]
    assert found.slices[slices.AMONG_COLD_ITEMS]["mrr@10"].per_user.tolist() == [1, 1 / 5]
    assert found.slices[slices.COLD_USERS]["map@10"].per_user.tolist() == [(1 + 2 / 8) / 2]
    alone = measure(model.scores, model.scores_many, split)
    assert {name: value.per_user.tolist() for name, value in alone.per_user.items()} == {
        name: value.per_user.tolist() for name, value in found.per_user.items()
    }
    assert alone.slices == {}


def test_newcomers_who_said_what_they_like_are_answered_by_it_and_apart_from_those_who_did_not():
    later = {(7, item): (200 + number) * DAY for number, item in enumerate((0, 2, 6, 8, 1, 4))} | {(8, 9): 200 * DAY, (0, 9): 200 * DAY}
    known = made({**HISTORY, **later})
    content = halves(10)  # even items are of one genre, odd ones of the other
    known = dataclasses.replace(known, content=content)
    split = split_at(known, known.times >= 200 * DAY, "by hand")
    welcome = welcome_of(split, known)
    assert welcome is not None
    assert welcome.asked.users.tolist() == [7]
    assert welcome.asked.sought.of(0)[0].tolist() == [4]
    model, beside = ByNumber(), Beside(slices=slices_of(split), welcome=welcome)
    asked, unasked = (measure(model.scores, model.scores_many, split, beside, welcomes=each) for each in (True, False))
    assert asked.slices[slices.ONBOARDED_USERS]["mrr@10"].per_user.tolist() == [1 / 2], "the even item left, behind popular 3"
    assert unasked.slices[slices.ONBOARDED_USERS]["mrr@10"].per_user.tolist() == [1 / 4], "behind 9, 7 and 5"
    assert asked.slices[slices.COLD_USERS]["mrr@10"].per_user.tolist() == unasked.slices[slices.COLD_USERS]["mrr@10"].per_user.tolist()


def test_newcomers_who_say_nothing_are_judged_by_the_list_that_serving_shows_them():
    split = cut({(7, 9): 200 * DAY, (8, 2): 200 * DAY, (0, 9): 200 * DAY})
    model, liked = ByNumber(), np.array([0, 0, 3.5, 2, 0, 0, 0, 0, 0, 1])
    beside = Beside(slices=slices_of(split), strangers=liked)
    served, itself = (measure(model.scores, model.scores_many, split, beside, welcomes=each) for each in (True, False))
    assert served.slices[slices.COLD_USERS]["mrr@10"].per_user.tolist() == [1 / 3, 1]
    assert itself.slices[slices.COLD_USERS]["mrr@10"].per_user.tolist() == [1, 1 / 8], "a yardstick stands for itself"


def test_without_a_catalogue_nobody_can_say_what_they_like():
    split = cut({(7, item): (200 + item) * DAY for item in range(8)})
    assert welcome_of(split, made({**HISTORY})) is None
