"""Events that say what users liked, a batch at a time: what reads a snapshot never holds all of its events."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from ray_apps.algorithms.tastes import BOUNDS
from ray_apps.stores.snapshots import Snapshot

BATCH_ROWS = 1 << 19
"""Events held at a time."""

LEAST_FILES = 4
"""For each reader; where there are fewer, row groups are dealt out, so that all have about as much to read."""

_STRENGTH = {"watch": "fraction", "rate": "rating"}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All ids of users and items, each sorted by UTF-8 bytes: an id's position is its index."""

    users: pa.Array
    items: pa.Array


def known(snapshot: Snapshot) -> list[tuple[str, ds.Dataset]]:
    """Event types that say what users liked, in order, with their rows."""
    return [(name, snapshot.datasets[name]) for name in sorted(snapshot.datasets) if name in _STRENGTH]


def columns_of(event_type: str, dataset: ds.Dataset) -> list[str]:
    """The columns that `liked` takes, of those that are there."""
    wanted = ["user_id", "item_id", "timestamp", _STRENGTH[event_type], "request_id"]
    return [name for name in wanted if name in dataset.schema.names]


def liked(event_type: str, rows: pa.Table) -> pa.Table:
    """Columns user_id, item_id, timestamp (milliseconds), weight and organic, of the events that say that an item was liked."""
    least, most = BOUNDS[event_type]
    strength = pc.cast(rows[_STRENGTH[event_type]], pa.float64())
    asked = rows["request_id"] if "request_id" in rows.column_names else pa.nulls(rows.num_rows)
    columns = {
        "user_id": pc.cast(rows["user_id"], pa.large_string()),
        "item_id": pc.cast(rows["item_id"], pa.large_string()),
        "timestamp": pc.cast(rows["timestamp"], pa.int64()),
        "weight": pc.divide(strength, most),
        "organic": pc.is_null(asked),
    }
    return pa.table(columns).filter(pc.greater_equal(strength, least))


@dataclass(frozen=True, slots=True)
class Reader:
    """One of several that read a snapshot together: each reads files, or row groups of them, that no other reads."""

    rank: int = 0
    of: int = 1

    def pieces(self, dataset: ds.Dataset) -> list[ds.Fragment]:
        """What is this reader's: every so many files, row groups where files are few."""
        files = list(dataset.get_fragments())
        if len(files) < LEAST_FILES * self.of:
            files = [part for file in files if isinstance(file, ds.ParquetFileFragment) for part in file.split_by_row_group()]
        return files[self.rank :: self.of]


ALONE = Reader()


def batches(snapshot: Snapshot, reader: Reader = ALONE) -> Iterator[pa.Table]:
    """Liked events (see `dataset.liked`) of all event types, a batch at a time: all of them, or those that are a reader's own."""
    for event_type, dataset in known(snapshot):
        held: list[pa.RecordBatch] = []
        for batch in _scanned(dataset, event_type, reader):
            held.append(batch)
            if sum(len(each) for each in held) >= BATCH_ROWS:
                yield liked(event_type, pa.Table.from_batches(held))
                held = []
        if held:
            yield liked(event_type, pa.Table.from_batches(held))


def _scanned(dataset: ds.Dataset, event_type: str, reader: Reader) -> Iterator[pa.RecordBatch]:
    # One fragment and two batches ahead: by default pyarrow reads sixteen and four, which is no bound on small machines.
    bounds = {"batch_readahead": 2, "fragment_readahead": 1, "use_threads": False}
    columns = columns_of(event_type, dataset)
    if reader.of == 1:
        yield from dataset.scanner(columns=columns, **bounds).to_batches()
        return
    for piece in reader.pieces(dataset):
        yield from piece.scanner(schema=dataset.schema, columns=columns, **bounds).to_batches()


def catalogue_of(snapshot: Snapshot, reader: Reader = ALONE) -> Catalogue:
    """All ids of the snapshot's liked events, or of a reader's own, in memory bounded by the ids."""
    found: dict[str, list[pa.Array]] = {"user_id": [], "item_id": []}
    for rows in batches(snapshot, reader):
        for name, parts in found.items():
            parts.append(pc.unique(rows[name]))
            if sum(len(part) for part in parts) > 2 * max(BATCH_ROWS, len(parts[0])):
                parts[:] = [pc.unique(pa.chunked_array(parts))]
    return Catalogue(users=_sorted(found["user_id"]), items=_sorted(found["item_id"]))


def joined(parts: Sequence[Catalogue]) -> Catalogue:
    """What several readers found, as one."""
    return Catalogue(users=_sorted([part.users for part in parts]), items=_sorted([part.items for part in parts]))


def _sorted(parts: list[pa.Array]) -> pa.Array:
    ids = pc.unique(pa.chunked_array(parts, type=pa.large_string()))
    return ids.take(pc.array_sort_indices(ids))


def index_of(ids: pa.ChunkedArray, catalogue: pa.Array) -> NDArray[np.int64]:
    """The positions of ids in a catalogue that has them all."""
    return pc.index_in(ids, value_set=catalogue).to_numpy().astype(np.int64)


def prompted(snapshot: Snapshot, since: int) -> pa.Table:
    """Columns request_id, item_id and timestamp of the events since a time that say that an item was liked, and name an answer."""
    columns = pa.schema([("request_id", pa.large_string()), ("item_id", pa.large_string()), ("timestamp", pa.int64())])
    parts: list[pa.Table] = []
    for name, dataset in known(snapshot):
        if "request_id" in dataset.schema.names:
            strong = (pc.field(_STRENGTH[name]) >= BOUNDS[name][0]) & (pc.field("timestamp") >= since)
            parts.append(dataset.to_table(columns=columns.names, filter=strong & pc.field("request_id").is_valid()).cast(columns))
    return pa.concat_tables(parts) if parts else columns.empty_table()
