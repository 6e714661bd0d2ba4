"""Logged answers as rows: lists as lists of structs, known by the request that they answer, and no part of what is counted as events."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ray_apps.ingest.columns import id_column, table_schema
from ray_apps.ingest.commits import DataFile
from ray_apps.ingest.duplicates import Duplicates, recall
from ray_apps.ingest.files import write_rows
from ray_apps.ingest.grounds import Grounds
from ray_apps.ingest.judging import Chunk, Judging
from ray_apps.ingest.runs import Record
from ray_apps.ingest.tables import Covered, EventTable
from ray_apps.stores.objects import Store, open_store
from ray_apps.stores.snapshots import TopicPartition, manifest_of, open_snapshot, write_manifest
from ray_apps.upkeep.compaction import compact
from recsys_schemas.event_fields import RESPONSES
from recsys_schemas.events import ResponseEvent

NOW = 1_700_000_000_000


def answer(number: int, places: int = 3, **changes: Any) -> dict[str, Any]:
    listed = [{"item_id": f"i{place}", "score": 1.0 / (place + 1), "propensity": 0.5} for place in range(places)]
    return {
        "request_id": f"r{number}",
        "user_id": f"u{number % 5}",
        "timestamp": NOW + number,
        "model_version": "movies-000001",
        "variant": "stable",
        "reason": "personal",
        "items": listed,
        "epoch": 3,
        "latency_ms": 1.5,
    } | changes


class Sent:
    """A record as the client shows it."""

    def __init__(self, offset: int, value: dict[str, Any]) -> None:
        self._offset, self._value = offset, value

    def topic(self) -> str:
        return "answered"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, NOW + 1000

    def key(self) -> bytes:
        return str(self._value["user_id"]).encode()

    def value(self) -> bytes:
        return json.dumps(self._value).encode()


def judged(values: list[dict[str, Any]], grounds: Grounds | None = None, first: int = 0) -> Chunk:
    records: list[Record] = [Sent(first + number, value) for number, value in enumerate(values)]
    return Judging({"answered": RESPONSES}, grounds or Grounds(duplicates=Duplicates(1000))).chunk(records, {("answered", 0): first})


def test_rows_are_what_the_schema_reads_from_the_records():
    values = [answer(number, places) for number, places in enumerate((3, 0, 1, 10))]
    rows = judged(values).rows[RESPONSES].select(list(ResponseEvent.model_fields))
    assert rows.to_pylist() == [ResponseEvent.model_validate(value).model_dump() for value in values]


@pytest.mark.parametrize(
    "changes",
    [
        {"items": [{"item_id": "a", "score": 1.0, "propensity": 0.0}]},
        {"items": [{"item_id": "a", "score": 1.0, "propensity": 1.5}]},
        {"items": [{"score": 1.0}]},
        {"items": "a"},
        {"request_id": ""},
        {"latency_ms": -1},
        {"timestamp": NOW + 10**9},
    ],
    ids=str,
)
def test_an_answer_that_does_not_fit_is_put_aside_and_its_neighbours_stay(changes: dict[str, Any]):
    found = judged([answer(0), answer(1, **changes), answer(2)])
    assert found.rows[RESPONSES]["request_id"].to_pylist() == ["r0", "r2"]
    assert [letter.offset for letter in found.letters] == [1]


def test_an_answer_that_was_written_twice_is_there_once_also_after_a_restart(tmp_path: Path):
    assert id_column(ResponseEvent) == "request_id"
    found = judged([answer(0), answer(1), answer(0)])
    assert found.rows[RESPONSES].num_rows == 2
    assert "request_id: seen 'r0' before, at offset 0" in found.letters[0].detail
    store = open_store(f"file://{tmp_path}/store")
    publish(store, claim(store), [found.rows[RESPONSES]], next_offset=3)
    grounds = Grounds(duplicates=Duplicates(1000))
    grounds.duplicates.remember(recall(store, RESPONSES, {("answered", 0): 3}, 1000))
    again = judged([answer(1), answer(2)], grounds, first=3)
    assert again.rows[RESPONSES]["request_id"].to_pylist() == ["r2"]


def claim(store: Store) -> EventTable:
    return EventTable.claim(store, RESPONSES, consumer="w", topics=["answered"], dead_letter_topic="dead", cluster_id="k")


def publish(store: Store, table: EventTable, rows: list[pa.RecordBatch], next_offset: int) -> DataFile:
    file = write_rows(store, RESPONSES, rows, 1.7e9 + next_offset)
    place: TopicPartition = ("answered", 0)
    table.publish(file, Covered(offsets={place: next_offset}, dead_letters=0, newest_ms=NOW))
    write_manifest(store, manifest_of("k", [table.state]))
    return file


def test_a_table_of_answers_is_opened_again_compacted_and_read_as_it_was_written(tmp_path: Path):
    store = open_store(f"file://{tmp_path}/store")
    table = claim(store)
    for first in range(0, 40, 10):
        publish(store, table, [judged([answer(number) for number in range(first, first + 10)], first=first).rows[RESPONSES]], first + 10)
    before = open_snapshot(store).rows(RESPONSES)
    compacted = compact(store, RESPONSES)
    assert (compacted.files_before, compacted.files_after) == (4, 1)
    again = claim(store)
    assert again.state.rows == 40
    publish(store, again, [judged([answer(40)], first=40).rows[RESPONSES]], 41)
    after = open_snapshot(store).rows(RESPONSES)
    assert after.slice(0, 40).equals(before)
    assert after.schema.equals(table_schema(RESPONSES))
    assert np.array_equal(after["_offset"].to_numpy(), np.arange(41))


def test_answers_are_covered_and_not_counted_as_events(tmp_path: Path):
    store = open_store(f"file://{tmp_path}/store")
    table = claim(store)
    publish(store, table, [judged([answer(number) for number in range(7)]).rows[RESPONSES]], 7)
    manifest = open_snapshot(store).manifest
    assert (manifest.rows, manifest.all_rows, manifest.recent_records) == (0, 7, None)
    assert [(each.topic, each.next_offset) for each in manifest.offsets] == [("answered", 7)]
