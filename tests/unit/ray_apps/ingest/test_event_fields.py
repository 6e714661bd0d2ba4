"""Fields that a user adds to the events: new files have them, old ones read as null, and nothing that was there goes."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pydantic import BaseModel

from properties.stored import Stored
from ray_apps.ingest.columns import table_schema
from ray_apps.ingest.files import write_rows
from ray_apps.ingest.grounds import Grounds
from ray_apps.ingest.judging import Chunk, Judging
from ray_apps.ingest.tables import Covered, EventTable, RefusedError
from ray_apps.stores.objects import Store, open_store
from ray_apps.stores.snapshots import manifest_of, open_snapshot, open_table_version, write_manifest
from recsys_schemas.event_fields import AddedField, with_fields
from recsys_schemas.events import DeadLetterReason, WatchEvent

DEVICE = AddedField(name="device", type="string", max_length=8)
PRICE = AddedField(name="price", type="number", minimum=0)
AGAIN = AddedField(name="again", type="boolean")
PLACE = AddedField(name="place", type="integer", minimum=1, maximum=10)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/store")


def judged(event: type[BaseModel], *events: dict[str, object], first: int = 0) -> Chunk:
    built_in = {"user_id": "u", "item_id": "i", "timestamp": 1}
    values = [json.dumps({"event_id": f"e{first + at}", **built_in, **each}).encode() for at, each in enumerate(events)]
    records = [Stored(("w", 0, first + at), value) for at, value in enumerate(values)]
    return Judging({"w": "watch"}, Grounds(events={"watch": event})).chunk(records, {})


def write(store: Store, fields: Sequence[AddedField], *events: dict[str, object]) -> EventTable:
    """What one life of ingest does whose events have some fields more."""
    event = with_fields(WatchEvent, fields)
    table = EventTable.claim(store, "watch", consumer="c", topics=["w"], dead_letter_topic="dead", cluster_id="k", event=event)
    begin = table.state.offsets.get(("w", 0), 0)
    chunk = judged(event, *events, first=begin)
    assert not chunk.letters
    file = write_rows(store, "watch", [chunk.rows["watch"]], 1.7e9 + begin)
    table.publish(file, Covered(offsets=chunk.next_offsets, dead_letters=0, newest_ms=1))
    write_manifest(store, manifest_of("k", [table.state]))
    return table


def test_a_field_that_is_added_is_in_new_files_and_reads_as_null_in_old_ones(store: Store) -> None:
    old = write(store, [], {}, {"device": "tv"})
    write(store, [DEVICE, PRICE], {"device": "phone"}, {"price": 2}, {"device": None})
    new = write(store, [DEVICE, PRICE, AGAIN, PLACE], {"again": True, "place": 3})
    columns = ["device", "price", "again", "place"]
    expected = [
        *[(None, None, None, None)] * 2,
        *[("phone", None, None, None), (None, 2.0, None, None), (None, None, None, None)],
        (None, None, True, 3),
    ]
    by_snapshot = open_snapshot(store).rows("watch", columns)
    assert list(zip(*(by_snapshot[name].to_pylist() for name in columns), strict=True)) == expected
    by_delta = DeltaTable(f"{store.uri}/watch").to_pyarrow_table().sort_by("_offset")
    assert list(zip(*(by_delta[name].to_pylist() for name in columns), strict=True)) == expected
    assert open_table_version(store, "watch", old.state.version).to_table().num_rows == 2
    assert "device" not in open_table_version(store, "watch", old.state.version).schema.names
    assert new.state.rows == 6


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([], r"watch\.device: the table has this column and the schema has not"),
        ([AddedField(name="screen", type="string"), PRICE], r"watch\.device: the table has this column"),
        ([AddedField(name="device", type="integer"), PRICE], r"watch\.device: string in the table, int64 in the schema"),
        ([AddedField(name="device", type="string", max_length=7), PRICE], r"watch\.device: maxLength fell from 8 to 7"),
        ([DEVICE, AddedField(name="price", type="number", minimum=1)], r"watch\.price: minimum rose from 0(\.0)? to 1"),
        ([DEVICE, AddedField(name="price", type="number", minimum=0, maximum=5)], r"watch\.price: maximum fell from none to 5"),
    ],
)
def test_a_field_removed_renamed_or_narrowed_is_refused_by_the_writer_with_its_name(
    store: Store, fields: list[AddedField], words: str
) -> None:
    write(store, [DEVICE, PRICE], {})
    before = DeltaTable(f"{store.uri}/watch").version()
    with pytest.raises(RefusedError, match=words):
        write(store, fields, {})
    assert DeltaTable(f"{store.uri}/watch").version() == before


def test_bounds_may_be_widened(store: Store) -> None:
    write(store, [DEVICE, PRICE], {"price": 1})
    write(store, [AddedField(name="device", type="string"), AddedField(name="price", type="number")], {"price": -1, "device": "x" * 1024})
    assert open_snapshot(store).rows("watch", ["price"])["price"].to_pylist() == [1.0, -1.0]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"device": "x" * 9}, DeadLetterReason.SCHEMA_MISMATCH),
        ({"price": -0.01}, DeadLetterReason.SCHEMA_MISMATCH),
        ({"price": float("nan")}, DeadLetterReason.NOT_A_NUMBER),
        ({"place": 2**63}, DeadLetterReason.SCHEMA_MISMATCH),
        ({"place": 2.5}, DeadLetterReason.SCHEMA_MISMATCH),
        ({"again": "perhaps"}, DeadLetterReason.SCHEMA_MISMATCH),
    ],
)
def test_a_value_that_does_not_fit_an_added_field_is_put_aside_with_its_name(value: dict[str, object], reason: DeadLetterReason) -> None:
    letters = judged(with_fields(WatchEvent, [DEVICE, PRICE, AGAIN, PLACE]), value).letters
    assert [letter.reason for letter in letters] == [reason]
    assert letters[0].detail.startswith(next(iter(value)))


def test_integers_without_bounds_are_those_that_a_column_holds() -> None:
    free = with_fields(WatchEvent, [AddedField(name="place", type="integer")])
    chunk = judged(free, {"place": 2**63 - 1}, {"place": -(2**63)}, {"place": 2**63}, {"place": -(2**63) - 1}, {"place": 10**40})
    assert chunk.rows["watch"]["place"].to_pylist() == [2**63 - 1, -(2**63)]
    assert len(chunk.letters) == 3


def test_added_columns_stand_between_the_events_own_and_the_records() -> None:
    assert table_schema(with_fields(WatchEvent, [DEVICE])).names[5:8] == ["request_id", "device", "_topic"]
    assert table_schema(with_fields(WatchEvent, [PLACE, AGAIN])).field("again").type == pa.bool_()


@pytest.mark.parametrize(
    "fields", [[AddedField(name="rating", type="number"), AddedField(name="user_id", type="string")], [DEVICE, DEVICE]]
)
def test_a_name_that_is_taken_is_refused(fields: list[AddedField]) -> None:
    with pytest.raises(ValueError, match="is a field already; give the new one another name"):
        with_fields(WatchEvent, fields)
