"""Since when an offset can be read, from looks at the ends alone."""

from bisect import bisect_right
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from recsys_operator.world.offsets_seen import MOST_MARKS, OffsetsSeen

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def since(seen: OffsetsSeen, offset: int) -> datetime:
    return seen.marks[bisect_right(seen.marks, offset, key=lambda mark: mark.offset)].at


def watched(steps: list[int]) -> tuple[OffsetsSeen, list[int]]:
    """One look a second; returns the ends that were seen."""
    seen, end, ends = OffsetsSeen(), 0, list[int]()
    for second, step in enumerate(steps):
        end += step
        ends.append(end)
        seen.see(at(second), stable=end, high=end)
    return seen, ends


@given(st.lists(st.integers(0, 3), min_size=1, max_size=600), st.data())
def test_an_age_is_never_told_less_than_it_is_and_a_quarter_more_at_the_most(steps: list[int], data: st.DataObject) -> None:
    seen, ends = watched(steps)
    if ends[-1] == 0:
        return
    offset = data.draw(st.integers(0, ends[-1] - 1))
    first = next(second for second, end in enumerate(ends) if end > offset)
    told = since(seen, offset)
    assert told <= at(first)
    age = len(steps) - 1 - first
    assert (at(first) - told).total_seconds() <= age / 4


def test_what_is_remembered_of_a_day_is_bounded_and_still_tells_an_hour_from_two() -> None:
    day = 86_400
    seen, _ = watched([1] * day)
    assert len(seen.marks) <= MOST_MARKS
    for age in (0, 10, 60, 3600, 7200, 80_000):
        told = (at(day - 1) - since(seen, day - 1 - age)).total_seconds()
        assert age <= told <= 1.25 * age


def test_a_quiet_partition_has_one_mark() -> None:
    seen, _ = watched([5] + [0] * 100)
    assert [(mark.at, mark.offset) for mark in seen.marks] == [(at(0), 5)]


def test_an_end_that_moves_back_takes_its_marks_with_it() -> None:
    seen = OffsetsSeen()
    for second, end in enumerate((5, 9, 6, 9)):
        seen.see(at(second), stable=end, high=end)
    assert [(mark.at, mark.offset) for mark in seen.marks] == [(at(0), 5), (at(2), 6), (at(3), 9)]


def test_records_are_held_from_the_look_at_which_they_were_first_seen_behind_the_end() -> None:
    seen = OffsetsSeen()
    seen.see(at(0), stable=5, high=5)
    assert seen.held is None
    for second in (100, 101):
        seen.see(at(second), stable=5, high=7)
        assert seen.held is not None
        assert seen.held.at == at(100)
    seen.see(at(102), stable=6, high=9)
    assert seen.held is not None
    assert seen.held.at == at(102), "that transaction has ended, another stands there"
    seen.see(at(103), stable=9, high=9)
    assert seen.held is None
