"""Broken twins of the consumer: each makes one mistake that teams have made. Only tests run them, each in a process of its own."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable

from ray_apps.ingest import files, lanes, tables, work
from ray_apps.ingest.commits import DataFile, Written
from ray_apps.ingest.publishing import Committed, Publisher
from ray_apps.stores.objects import Store
from ray_apps.stores.snapshots import TopicPartition

OFFSETS = "offsets.json"


class _OffsetsApart(Publisher):
    """Offsets are stored by themselves, before the data are visible: a kill in between loses a batch."""

    @property
    def positions(self) -> dict[TopicPartition, int]:
        if not self._store.exists(OFFSETS):
            return {}
        return {(topic, partition): offset for topic, partition, offset in json.loads(self._store.read(OFFSETS))}

    def publish(self, written: Written, event_types: Mapping[str, str], on_commit: Callable[[Committed], None]) -> None:
        offsets = [[topic, partition, offset] for (topic, partition), offset in written.offsets.items()]
        self._store.write(OFFSETS, json.dumps(offsets).encode())
        super().publish(written, event_types, on_commit)

    def _check_starts(self, written: Written) -> None:
        """Its positions are those of this very batch by now: it has nothing left to compare with."""


def offsets_apart() -> None:
    work.Publisher = _OffsetsApart


def never_synced() -> None:
    """Nothing is flushed: a power failure after the commit takes the data away."""
    os.fsync = lambda _handle: None


def no_fencing() -> None:
    """A commit says nothing of who writes, and nobody looks: a writer that wakes up late writes on."""

    def commit(table: DeltaTable, added: Sequence[Any], marks: Mapping[str, int], schema: pa.Schema, note: dict[str, str]) -> None:
        told = note | {"marks": json.dumps(dict(marks))}
        table.update_incremental()
        table.create_write_transaction(list(added), "append", schema, commit_properties=CommitProperties(custom_metadata=told))

    original = tables.commit

    def claims_only(table: DeltaTable, added: Sequence[Any], marks: Mapping[str, int], schema: pa.Schema, note: dict[str, str]) -> None:
        """Claims and offsets are kept; a commit on a table that moved is simply tried again on the newer one."""
        if not added:
            original(table, added, marks, schema, note)
            return
        commit(table, added, marks, schema, note)
        original(table, [], marks, schema, note)

    tables.commit = claims_only
    tables.EventTable.check_claim = lambda self: self._table.update_incremental()


def named_by_offset() -> None:
    """A file is named by its first offset alone and put in place of an older one: a late writer changes rows that are published."""

    def write_rows(store: Store, event_type: str, rows: Sequence[pa.RecordBatch], written_at: float) -> DataFile:
        table = pa.Table.from_batches(list(rows))
        day = datetime.fromtimestamp(written_at, tz=UTC).date().isoformat()
        first = "-".join(f"{table['_partition'][0]}".split()) + f"-{min(table['_offset'].to_pylist())}"
        path = f"{day}/{first}_events.parquet"
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        Path(store.path(f"{event_type}/{day}")).mkdir(parents=True, exist_ok=True)
        store.write(f"{event_type}/{path}", sink.getvalue().to_pybytes())
        return DataFile(path=path, size=sink.getvalue().size, rows=table.num_rows, written_ms=int(written_at * 1000))

    files.write_rows = write_rows


def late_offers() -> None:
    """Whatever a lane hands over is published: one that was given up, and wakes, publishes what another lane has read meanwhile."""

    def offer(desk: lanes.Desk, _generation: str, written: Written) -> None:
        current_offer(desk, desk._generation, written)

    current_offer = lanes.Desk.offer
    lanes.Desk.offer = offer
    Publisher._check_starts = lambda *_: None


TWINS: dict[str, Callable[[], None]] = {
    "offsets outside the commit": offsets_apart,
    "published before it is synced": never_synced,
    "no fencing": no_fencing,
    "named by start offset alone": named_by_offset,
    "late offers are taken": late_offers,
}
