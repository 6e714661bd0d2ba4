"""Schemas of events only grow: whatever is added reads as null in older rows, and whatever is taken away is refused with its name."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ray_apps.ingest.columns import table_schema
from ray_apps.ingest.files import write_rows
from ray_apps.ingest.tables import Covered, EventTable, RefusedError
from ray_apps.stores.objects import Store, open_store
from ray_apps.stores.snapshots import open_table_version
from recsys_schemas.event_fields import BUILT_IN, AddedField, FieldType, with_fields
from recsys_schemas.events import WatchEvent
from recsys_schemas.evolution import compatible

pytestmark = pytest.mark.slow

VALUES: dict[FieldType, object] = {"string": "tv", "integer": 3, "number": 2.5, "boolean": True}
KINDS: list[FieldType] = sorted(VALUES)
names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda name: name not in BUILT_IN)


@st.composite
def added(draw: st.DrawFn) -> AddedField:
    name, kind = draw(names), draw(st.sampled_from(KINDS))
    if kind == "string":
        return AddedField(name=name, type=kind, max_length=draw(st.none() | st.integers(2, 1000)))
    if kind == "boolean":
        return AddedField(name=name, type=kind)
    low, high = draw(st.none() | st.integers(-100, 0)), draw(st.none() | st.integers(10, 100))
    return AddedField(name=name, type=kind, minimum=low, maximum=high)


several = st.lists(added(), min_size=1, max_size=5, unique_by=lambda field: field.name)


@st.composite
def taken_away(draw: st.DrawFn, fields: Sequence[AddedField]) -> tuple[list[AddedField], str]:
    """The fields with one of them removed, renamed, of another type or narrowed; and its name."""
    place = draw(st.integers(0, len(fields) - 1))
    field = fields[place]
    others = [each.name for each in fields]
    changes: list[list[AddedField]] = [
        [],
        [field.model_copy(update={"name": draw(names.filter(lambda name: name not in others))})],
        [AddedField(name=field.name, type="boolean" if field.type == "string" else "string")],
    ]
    if field.type == "string":
        changes.append([field.model_copy(update={"max_length": (field.max_length or 1024) - 1})])
    if field.type in ("integer", "number"):
        changes.append([field.model_copy(update={"minimum": (-100.0 if field.minimum is None else field.minimum) + 1})])
        changes.append([field.model_copy(update={"maximum": (100.0 if field.maximum is None else field.maximum) - 1})])
    return [*fields[:place], *draw(st.sampled_from(changes)), *fields[place + 1 :]], field.name


def schema_of(fields: Sequence[AddedField]) -> dict[str, Any]:
    return with_fields(WatchEvent, fields).model_json_schema()


@settings(max_examples=30)
@given(several, st.data())
def test_what_only_adds_is_compatible_in_whatever_order(fields: list[AddedField], data: st.DataObject):
    before = fields[: data.draw(st.integers(0, len(fields)))]
    assert compatible(schema_of(before), schema_of(data.draw(st.permutations(fields)))) == []


@settings(max_examples=30)
@given(several, st.data())
def test_whatever_is_taken_away_is_named(fields: list[AddedField], data: st.DataObject):
    less, name = data.draw(taken_away(fields))
    broken = compatible(schema_of(fields), schema_of(less))
    assert [each for each in broken if each.path == f".{name}"], (broken, name)


def claim(store: Store, fields: Sequence[AddedField]) -> EventTable:
    event = with_fields(WatchEvent, fields)
    return EventTable.claim(store, "watch", consumer="demo", topics=["watch"], dead_letter_topic="dead", cluster_id="kafka", event=event)


def publish(store: Store, table: EventTable, fields: Sequence[AddedField], offset: int) -> None:
    row: dict[str, object] = {"event_id": f"e{offset}", "user_id": "u", "item_id": "i", "timestamp": 1, "fraction": 1.0, "request_id": None}
    row |= {field.name: VALUES[field.type] for field in fields}
    row |= {"_topic": "watch", "_partition": 0, "_offset": offset, "_timestamp": 1000 + offset, "_payload_crc32": offset}
    rows = pa.RecordBatch.from_pylist([row], schema=table_schema(with_fields(WatchEvent, fields)))
    file = write_rows(store, "watch", [rows], 1_700_000_000.0)
    table.publish(file, Covered(offsets={("watch", 0): offset + 1}, dead_letters=0, newest_ms=1000 + offset))


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(several, st.data())
def test_old_and_new_files_are_read_together_and_a_table_never_loses_a_column(fields: list[AddedField], data: st.DataObject):
    before = fields[: data.draw(st.integers(0, len(fields) - 1))]
    less, name = data.draw(taken_away(fields))
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder).as_uri())
        old = claim(store, before)
        publish(store, old, before, 0)
        new = claim(store, fields)
        publish(store, new, fields, 1)
        with pytest.raises(RefusedError, match=rf"watch\.{name}: "):
            claim(store, less)
        rows = open_table_version(store, "watch", new.state.version).to_table().sort_by("_offset").to_pylist()
        now = [VALUES[field.type] for field in fields]
        first = [VALUES[field.type] if field in before else None for field in fields]
        assert [[row[field.name] for field in fields] for row in rows] == [first, now]
        narrow = open_table_version(store, "watch", old.state.version).to_table()
        assert set(narrow.column_names) == set(table_schema(with_fields(WatchEvent, before)).names)
