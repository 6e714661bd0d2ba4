"""An event sent again is put aside; the verdict is the same however its records were cut, and after a restart."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from properties.stored import Stored
from ray_apps.ingest import duplicates as duplicates_of_rows
from ray_apps.ingest.columns import table_schema
from ray_apps.ingest.duplicates import MOST_IDS, Duplicates, recall
from ray_apps.ingest.files import write_rows
from ray_apps.ingest.grounds import Grounds
from ray_apps.ingest.judging import Judging
from ray_apps.ingest.seen import fingerprints
from ray_apps.ingest.tables import Covered, EventTable
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import OFFSET, PARTITION, TOPIC
from recsys_schemas.events import DeadLetterReason

TYPES = {"w": "watch", "w2": "watch", "r": "rate"}
Place = tuple[str, int, int]


@st.composite
def logs(draw: st.DrawFn) -> list[Stored]:
    """Records of several partitions whose few event ids come again and again, with gaps and bad ones between."""
    ends: dict[tuple[str, int], int] = {}
    records: list[Stored] = []
    for topic, partition, gap, number, bad in draw(
        st.lists(
            st.tuples(st.sampled_from(sorted(TYPES)), st.integers(0, 1), st.integers(0, 3), st.integers(0, 6), st.integers(0, 7)),
            max_size=80,
        )
    ):
        offset = ends.get((topic, partition), -1) + 1 + gap
        ends[topic, partition] = offset
        event = {"event_id": f"e{number}", "user_id": "u", "item_id": "i", "timestamp": 1, "rating": 3}
        records.append(Stored((topic, partition, offset), b"{" if bad == 0 else json.dumps(event).encode()))
    return records


def judged(records: list[Stored], pieces: list[int], duplicates: Duplicates) -> tuple[list[tuple[Place, str]], dict[Place, str]]:
    """Return the rows with their ids, and the dead letters with their reasons."""
    judging, rows, letters, turn, left = (
        Judging(TYPES, Grounds(duplicates=duplicates)),
        list[tuple[Place, str]](),
        dict[Place, str](),
        0,
        records,
    )
    while left:
        count = pieces[turn % len(pieces)]
        chunk = judging.chunk(left[:count], {})
        for row in (row for batch in chunk.rows.values() for row in batch.to_pylist()):
            rows.append(((row[TOPIC], row[PARTITION], row[OFFSET]), row["event_id"]))
        letters |= {(each.topic, each.partition, each.offset): each.reason for each in chunk.letters}
        left, turn = left[count:], turn + 1
    return rows, letters


def by_definition(records: list[Stored], length: int) -> dict[Place, str]:
    """The definition, told as slowly as it reads: a row of the same id stands before it in its partition, near enough."""
    rows: list[tuple[Place, str]] = []
    letters: dict[Place, str] = {}
    for record in records:
        if record.data == b"{":
            letters[record.place] = DeadLetterReason.UNPARSEABLE
            continue
        event_id = json.loads(record.data or b"")["event_id"]
        near = [seen for place, seen in rows if place[:2] == record.place[:2] and record.place[2] - place[2] <= length]
        if length and event_id in near:
            letters[record.place] = DeadLetterReason.DUPLICATE
        else:
            rows.append((record.place, event_id))
    return letters


pieces_of_polls = st.lists(st.integers(1, 30), min_size=1, max_size=5)
lengths = st.integers(0, 12)


@settings(deadline=None)
@given(logs(), pieces_of_polls, lengths)
def test_an_event_is_a_duplicate_when_a_row_of_its_id_stands_near_before_it_in_its_partition(
    records: list[Stored], pieces: list[int], length: int
) -> None:
    assert judged(records, pieces, Duplicates(length))[1] == by_definition(records, length)


@settings(deadline=None)
@given(logs(), pieces_of_polls, pieces_of_polls, lengths, st.data())
def test_a_consumer_killed_anywhere_and_started_from_its_rows_comes_to_the_same_verdicts(
    records: list[Stored], pieces: list[int], others: list[int], length: int, data: st.DataObject
) -> None:
    kill = data.draw(st.integers(0, len(records)))
    rows, before = judged(records[:kill], pieces, Duplicates(length))
    again = Duplicates(length)
    again.remember([(place[:2], event_id, place[2]) for place, event_id in reversed(rows)])
    _, after = judged(records[kill:], others, again)
    assert before | after == by_definition(records, length)


def test_a_consumer_that_forgets_at_a_restart_lets_a_duplicate_in() -> None:
    event = json.dumps({"event_id": "e", "user_id": "u", "item_id": "i", "timestamp": 1}).encode()
    records = [Stored(("w", 0, 0), event), Stored(("w", 0, 1), event)]
    _, before = judged(records[:1], [1], Duplicates(9))
    _, after = judged(records[1:], [1], Duplicates(9))
    assert before | after != by_definition(records, 9)


def test_what_is_remembered_is_bounded_over_all_partitions() -> None:
    duplicates = Duplicates(1_000_000)
    for partition in range(24):
        duplicates.repeats(("w", partition), pa.array(["e"]), np.array([0]))
    assert duplicates.length == MOST_IDS // 24
    small = Duplicates(10)
    for offset in range(1000):
        small.repeats(("w", 0), pa.array([f"e{offset}"]), np.array([offset]))
        small.forget({("w", 0): offset + 1})
    assert len(small._seen["w", 0].newer) + len(small._seen["w", 0].older) <= 24


def rows_that_repeat(duplicates: Duplicates, ids: list[str], pieces: list[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    begin = turn = 0
    while begin < len(ids):
        end = begin + pieces[turn % len(pieces)]
        some = ids[begin:end]
        again = duplicates.repeats(("w", 0), pa.array(some), np.arange(begin, begin + len(some)))
        duplicates.forget({("w", 0): begin + len(some)})
        found |= {begin + place: before for place, before in again.items()}
        begin, turn = end, turn + 1
    return found


def rows_that_repeat_by_definition(ids: list[str], length: int) -> dict[int, int]:
    rows: dict[str, int] = {}
    found: dict[int, int] = {}
    for offset, event_id in enumerate(ids):
        if event_id in rows and offset - rows[event_id] <= length:
            found[offset] = rows[event_id]
        else:
            rows[event_id] = offset
    return found


some_ids = st.lists(st.integers(0, 300).map(lambda number: "é" * (number % 40) + str(number)), min_size=50, max_size=600)


@settings(deadline=None, max_examples=60)
@given(some_ids, st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(1, 300))
def test_ids_of_any_length_are_known_again_however_many_blocks_they_lie_in(ids: list[str], pieces: list[int], length: int) -> None:
    assert rows_that_repeat(Duplicates(length), ids, pieces) == rows_that_repeat_by_definition(ids, length)


def test_nothing_rests_on_a_fingerprint_being_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"e{number * 7 % 90}" for number in range(300)]
    expected = rows_that_repeat_by_definition(ids, 50)
    for bits in (0, 3):
        monkeypatch.setattr(duplicates_of_rows, "fingerprints", lambda column, bits=bits: fingerprints(column) & np.uint64(bits))
        assert rows_that_repeat(Duplicates(50), ids, [7, 30]) == expected


def test_a_memory_that_trusts_equal_fingerprints_less_than_it_must_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = ["e1", "e2", "e1"]
    monkeypatch.setattr(duplicates_of_rows, "fingerprints", lambda column: np.arange(len(column), dtype=np.uint64) + np.uint64(len(ids)))
    assert rows_that_repeat(Duplicates(50), ids, [3]) != rows_that_repeat_by_definition(ids, 50)


@pytest.mark.parametrize(("length", "known"), [(100, [0, 3, 4]), (3, [3, 4]), (0, [])])
def test_the_memory_is_read_from_the_newest_rows_of_the_table(tmp_path: Path, length: int, known: list[int]) -> None:
    store = open_store(f"file://{tmp_path}")
    table = EventTable.claim(store, "watch", consumer="c", topics=["w"], dead_letter_topic="dead", cluster_id="k")
    for offsets in ([0], [3, 4]):
        made = [
            {"event_id": f"e{o}", "user_id": "u", "item_id": "i", "timestamp": 1, "fraction": 1.0, TOPIC: "w", PARTITION: 0, OFFSET: o}
            | {"_timestamp": 1, "_payload_crc32": 1}
            for o in offsets
        ]
        file = write_rows(store, "watch", [pa.RecordBatch.from_pylist(made, schema=table_schema("watch"))], 1.7e9 + offsets[0])
        table.publish(file, Covered(offsets={("w", 0): offsets[-1] + 1}, dead_letters=0, newest_ms=1))
    found = recall(store, "watch", table.state.offsets, length)
    assert sorted(found) == [(("w", 0), f"e{offset}", offset) for offset in known]
