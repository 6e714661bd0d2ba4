"""The same rows in one file: read and written in pieces, so that memory does not grow with the file."""

import os
import uuid
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ray_apps.ingest.commits import DataFile
from ray_apps.ingest.files import encoding
from ray_apps.stores.objects import StorageError, Store, flush_folder
from ray_apps.stores.snapshots import TableFile

_PIECE_ROWS = 100_000


def rewrite(store: Store, event_type: str, inputs: Sequence[TableFile], columns: pa.Schema, written_at: float) -> DataFile:
    """Write the rows of some files of a table into one, in their order; a column that an older file lacks becomes null.

    Args:
        store: where the table is kept.
        event_type: the table's folder.
        inputs: files by their path below that folder.
        columns: the table's columns.
        written_at: seconds since the epoch; names the file.

    Raises:
        StorageError: the files hold other counts of rows than the table says.
    """
    count = sum(file.rows for file in inputs)
    path = _free_name(store, event_type, count, written_at)
    found = 0
    with _new_file(store, f"{event_type}/{path}") as sink, pq.ParquetWriter(sink, columns, **encoding(columns.names)) as writer:
        for piece in _pieces(store, event_type, inputs, columns):
            writer.write_table(piece)
            found += piece.num_rows
        if found != count:
            words = f"{found} rows in the files to compact, and {count} by the log"
            raise StorageError(f"{store.uri}/{event_type}: {words}; look with `recsys snapshots verify`")
    size = store.files.get_file_info(store.path(f"{event_type}/{path}")).size
    return DataFile(path=path, size=int(size or 0), rows=count, written_ms=int(written_at * 1000))


def _pieces(store: Store, event_type: str, inputs: Sequence[TableFile], columns: pa.Schema) -> Iterator[pa.Table]:
    """The rows in pieces of some size: each becomes a row group, and a thousand groups of a row each would be larger than their files."""
    paths = [store.path(f"{event_type}/{file.path}") for file in inputs]
    source = ds.dataset(paths, schema=columns, filesystem=store.files, format="parquet")
    gathered, count = list[pa.RecordBatch](), 0
    for batch in source.to_batches(batch_size=_PIECE_ROWS, batch_readahead=1, fragment_readahead=1):
        gathered.append(batch)
        count += batch.num_rows
        if count >= _PIECE_ROWS:
            yield pa.Table.from_batches(gathered, columns)
            gathered, count = [], 0
    if gathered:
        yield pa.Table.from_batches(gathered, columns)


def _free_name(store: Store, event_type: str, count: int, written_at: float) -> str:
    day = datetime.fromtimestamp(written_at, tz=UTC).date().isoformat()
    stamp = int(written_at * 1_000_000)
    while store.exists(f"{event_type}/{day}/{stamp}_{count}_events.parquet"):
        stamp += 1
    return f"{day}/{stamp}_{count}_events.parquet"


@contextmanager
def _new_file(store: Store, name: str) -> Generator[pa.NativeFile]:
    """A file that is in place, whole and durable, once this ends well; one of that name is not replaced on a local disk."""
    if not store.local:
        with store.files.open_output_stream(store.path(name), compression=None) as stream:
            yield stream
        return
    final = Path(store.path(name))
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with pa.OSFile(str(partial), "wb") as stream:
            yield stream
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        final.hardlink_to(partial)
    finally:
        partial.unlink(missing_ok=True)
    flush_folder(final.parent)
    flush_folder(final.parent.parent)
