"""Rows become a Parquet file that is never visible half-written."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ray_apps.ingest.batches import Batch
from ray_apps.ingest.commits import DataFile, Written
from ray_apps.stores.objects import Store, flush_folder

# Ids that are new in each row gain nothing from a dictionary; the others repeat.
_UNIQUE = ("event_id", "request_id", "_offset", "_payload_crc32")


def write_batch(store: Store, batch: Batch, written_at: float) -> Written:
    """Write a batch's rows, one file for each event type; none of them is part of a table yet."""
    return Written(
        files={event_type: write_rows(store, event_type, rows, written_at) for event_type, rows in sorted(batch.rows.items()) if rows},
        letters=batch.letters,
        newest_ms=batch.newest_ms,
        starts=batch.starts,
        offsets=batch.offsets,
    )


def write_rows(store: Store, event_type: str, rows: Sequence[pa.RecordBatch], written_at: float) -> DataFile:
    """Write rows to `{event_type}/{date}/{timestamp}_{count}_events.parquet`, durably, under a name that was free.

    Args:
        store: where the table is kept.
        event_type: the table's folder.
        rows: at least one batch, in the table's columns.
        written_at: seconds since the epoch; names the file.
    """
    table = pa.Table.from_batches(list(rows))
    day = datetime.fromtimestamp(written_at, tz=UTC).date().isoformat()
    stamp = int(written_at * 1_000_000)
    data = _parquet(table)
    while True:
        path = f"{day}/{stamp}_{table.num_rows}_events.parquet"
        try:
            (_write_local if store.local else _write_remote)(store, f"{event_type}/{path}", data)
        except FileExistsError:
            stamp += 1
            continue
        return DataFile(path=path, size=data.size, rows=table.num_rows, written_ms=int(written_at * 1000))


def _write_local(store: Store, name: str, data: pa.Buffer) -> None:
    final = Path(store.path(name))
    if not final.parent.exists():
        final.parent.mkdir(parents=True, exist_ok=True)
        flush_folder(final.parent.parent)
    store.create(name, data)


def _write_remote(store: Store, name: str, data: pa.Buffer) -> None:
    if store.exists(name):
        raise FileExistsError(name)
    with store.files.open_output_stream(store.path(name), compression=None) as stream:
        stream.write(data)


def _parquet(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **encoding(table.column_names))
    return sink.getvalue()


def encoding(columns: Sequence[str]) -> dict[str, Any]:
    """How Parquet is written: Zstandard, dictionaries for what repeats, and a checksum for each page, by which damage is told."""
    repeated = [name for name in columns if name not in _UNIQUE]
    return {"compression": "zstd", "compression_level": 3, "use_dictionary": repeated, "write_page_checksum": True}
