"""Cutting batches: whatever comes in whatever pieces, each record is in one batch, in order, and no batch is too large."""

import json
import zlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from properties.stored import Stored
from ray_apps.ingest.batches import Batch, Filling, Roll
from ray_apps.ingest.judging import Judging
from ray_apps.ingest.runs import OutOfOrderError
from ray_apps.stores.snapshots import OFFSET, PARTITION, PAYLOAD_CRC32, TOPIC

TYPES = {"w": "watch", "w2": "watch", "r": "rate"}


def event(topic: str, number: int) -> bytes:
    good = {"event_id": f"e{number}", "user_id": "u", "item_id": "i", "timestamp": 1}
    return json.dumps(good | ({"rating": 3} if topic == "r" else {})).encode()


@st.composite
def histories(draw: st.DrawFn) -> list[Stored]:
    """Records of several partitions with gaps between offsets, some of them bad."""
    ends: Counter[tuple[str, int]] = Counter()
    records: list[Stored] = []
    for number in range(draw(st.integers(0, 60))):
        partition = (draw(st.sampled_from(sorted(TYPES))), draw(st.integers(0, 1)))
        ends[partition] += draw(st.integers(1, 3))
        data = draw(st.sampled_from([event(partition[0], number)] * 4 + [None, b"{", b"x" * 300]))
        records.append(Stored((*partition, ends[partition]), data))
    return records


def filled(records: list[Stored], pieces: list[int], roll: Roll) -> tuple[list[Batch], Filling]:
    """Feed records as a session does, each poll as long as the next piece or the room left; a second passes at each."""
    filling, judging, batches, now = Filling(roll, {}), Judging(TYPES), list[Batch](), 0.0
    left, turn = records, 0
    while left:
        count = max(1, min(pieces[turn % len(pieces)], filling.room))
        filling.add(judging.chunk(left[:count], filling.positions), now)
        left, turn, now = left[count:], turn + 1, now + 1.0
        if batch := filling.cut(now):
            batches.append(batch)
    if batch := filling.cut(now, anyway=True):
        batches.append(batch)
    return batches, filling


def places(batch: Batch) -> list[tuple[str, int, int]]:
    rows = [row for chunks in batch.rows.values() for chunk in chunks for row in chunk.to_pylist()]
    return [(row[TOPIC], row[PARTITION], row[OFFSET]) for row in rows] + [
        (each.topic, each.partition, each.offset) for each in batch.letters
    ]


rolls = st.builds(Roll, max_records=st.integers(1, 20), max_seconds=st.floats(0.5, 5), max_bytes=st.integers(1, 2000))
pieces_of_polls = st.lists(st.integers(1, 30), min_size=1, max_size=5)


@settings(deadline=None)
@given(histories(), pieces_of_polls, rolls)
def test_each_record_is_in_exactly_one_batch(records: list[Stored], pieces: list[int], roll: Roll) -> None:
    batches, _ = filled(records, pieces, roll)
    assert Counter(place for batch in batches for place in places(batch)) == Counter(record.place for record in records)


@settings(deadline=None)
@given(histories(), pieces_of_polls, rolls)
def test_a_batch_covers_what_is_in_it_and_in_those_before_it_and_nothing_else(records: list[Stored], pieces: list[int], roll: Roll) -> None:
    batches, _ = filled(records, pieces, roll)
    seen: set[tuple[str, int, int]] = set()
    for batch in batches:
        seen |= set(places(batch))
        below = {record.place for record in records if record.place[2] < batch.offsets.get(record.place[:2], 0)}
        assert below == seen


@settings(deadline=None)
@given(histories(), pieces_of_polls, rolls)
def test_no_batch_holds_more_records_than_asked(records: list[Stored], pieces: list[int], roll: Roll) -> None:
    batches, _ = filled(records, pieces, roll)
    assert all(batch.records <= roll.max_records for batch in batches)
    assert all(batch.records == len(places(batch)) for batch in batches)


@settings(deadline=None)
@given(histories(), pieces_of_polls, rolls)
def test_every_row_carries_the_checksum_of_its_record(records: list[Stored], pieces: list[int], roll: Roll) -> None:
    batches, _ = filled(records, pieces, roll)
    sums = {record.place: zlib.crc32(record.data or b"") for record in records}
    for row in (row for batch in batches for chunks in batch.rows.values() for chunk in chunks for row in chunk.to_pylist()):
        assert row[PAYLOAD_CRC32] == sums[row[TOPIC], row[PARTITION], row[OFFSET]]


def test_a_batch_is_due_when_its_time_is_up_and_not_before() -> None:
    filling, judging = Filling(Roll(max_records=10, max_seconds=2.0), {}), Judging(TYPES)
    filling.add(judging.chunk([Stored(("w", 0, 0), event("w", 0))], {}), 100.0)
    assert filling.due_at() == 102.0
    assert filling.cut(101.9) is None
    assert filling.cut(102.0) is not None
    assert filling.due_at() is None


QUIET = Roll(max_records=1, max_seconds=0.1, quiet_seconds=5.0)


def test_nothing_is_cut_while_nothing_came() -> None:
    filling = Filling(QUIET, {("w", 0): 7})
    filling.follow({("w", 1): 0})
    filling.pass_over(("w", 0), 7)
    assert [filling.cut(now, anyway=anyway) for now in (0.0, 1e9) for anyway in (False, True)] == [None] * 4


def test_what_is_passed_over_on_a_quiet_topic_is_covered_by_a_batch_without_records() -> None:
    filling = Filling(QUIET, {("w", 0): 4})
    filling.pass_over(("w", 0), 7)
    assert filling.cut(10.0) is None  # from now on it is quiet
    assert filling.cut(14.9) is None
    batch = filling.cut(15.0)
    assert batch is not None
    assert (batch.records, batch.rows, batch.letters) == (0, {}, [])
    assert (batch.starts, batch.offsets) == ({("w", 0): 4}, {("w", 0): 7})
    assert filling.cut(1e9) is None


def test_a_beginning_that_retention_removed_is_covered_too() -> None:
    filling = Filling(QUIET, {})
    filling.follow({("w", 0): 1000, ("w", 1): 0})
    assert filling.cut(0.0) is None
    batch = filling.cut(5.0)
    assert batch is not None
    assert batch.offsets == {("w", 0): 1000, ("w", 1): 0}


def test_a_record_that_comes_meanwhile_covers_what_was_passed_over() -> None:
    filling, judging = Filling(QUIET, {("w", 0): 4}), Judging(TYPES)
    filling.pass_over(("w", 0), 7)
    assert filling.cut(0.0) is None
    filling.add(judging.chunk([Stored(("w", 0, 7), event("w", 0))], filling.positions), 4.0)
    batch = filling.cut(4.0)
    assert batch is not None
    assert (batch.records, batch.offsets) == (1, {("w", 0): 8})
    assert filling.cut(6.0) is None


def test_what_was_passed_over_is_covered_by_the_next_batch() -> None:
    filling, judging = Filling(Roll(max_records=1, max_seconds=9), {}), Judging(TYPES)
    filling.add(judging.chunk([Stored(("w", 0, 4), event("w", 0))], {}), 0.0)
    filling.pass_over(("w", 0), 9)
    batch = filling.cut(0.0)
    assert batch is not None
    assert batch.offsets == {("w", 0): 9}


def test_a_record_read_before_is_refused() -> None:
    judging = Judging(TYPES)
    with pytest.raises(OutOfOrderError, match=r"w-0: offset 3 was read before"):
        judging.chunk([Stored(("w", 0, 3), event("w", 3))], {("w", 0): 4})
    with pytest.raises(OutOfOrderError):
        judging.chunk([Stored(("w", 0, 5), event("w", 5)), Stored(("w", 0, 5), event("w", 5))], {("w", 0): 4})
