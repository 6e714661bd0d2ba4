"""Was this event a row before? Producers that retry write an event twice, and a snapshot must not hold it twice.

An event is a duplicate when a *row* of the same event_id stands before it in the same partition, at most `length` offsets
away. A verdict thus depends only on records that stand before it in its own partition, never on how these were cut into
polls and batches, on other partitions, or on the clock: a batch that is read again is judged as it was the first time. A
producer keys its events by user, so what it sends again comes to the same partition (unless partitions were added between).

Only rows are remembered, no dead letters: so the memory of a partition at an offset can be read from the table, which holds
exactly the rows below that offset. `recall` does so when a session begins, back to the newest `RECALL_ROWS` rows and
`RECALL_FILES` files of the table. A partition so quiet that its last rows lie deeper begins with a shorter memory. That could
change a verdict only in letting an old duplicate in, and could never let a record be row and dead letter at once: a dead
letter that was written already stays one (see `DeadLetters.put_aside`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable
from pyarrow import fs
from pyarrow import table as as_table

from ray_apps.ingest.columns import event_of, id_column
from ray_apps.ingest.seen import Block, Seen, fingerprints, seen_before
from ray_apps.ingest.texts import Numbers
from ray_apps.stores.objects import Store, delta_options
from ray_apps.stores.snapshots import OFFSET, PARTITION, TOPIC, TopicPartition, table_uri

RECALL_ROWS, RECALL_FILES = 1_500_000, 512
MOST_IDS = 600_000
"""Offsets looked back over, summed over all partitions; at most twice as many ids are kept, 60 to 90 MB. With more partitions each has
a shorter memory."""
Remembered = Iterable[tuple[TopicPartition, str, int]]
"""Partition, event_id and offset of rows."""


@dataclass(slots=True)
class _Memory:
    """Ids of one partition in two spans, so that forgetting is dropping a span: nothing is ever searched for what is too old."""

    begins: int
    """Offset at which the newer span begins."""
    newer: Seen = field(default_factory=Seen)
    older: Seen = field(default_factory=Seen)

    @property
    def blocks(self) -> list[Block]:
        """All that is remembered, in the order of its offsets."""
        return [*self.older.blocks, *self.newer.blocks]


class Duplicates:
    """Remembers the event ids of the newest rows of each partition."""

    def __init__(self, length: int) -> None:
        """`length`: how many offsets back; 0 remembers nothing."""
        self._asked = length
        self._seen: dict[TopicPartition, _Memory] = {}

    @property
    def length(self) -> int:
        """How many offsets back a duplicate is known now."""
        return min(self._asked, MOST_IDS // max(len(self._seen), 1))

    def remember(self, rows: Remembered) -> None:
        """Take rows that are in the tables, in any order."""
        by_partition: dict[TopicPartition, list[tuple[int, str]]] = {}
        for partition, event_id, offset in rows:
            by_partition.setdefault(partition, []).append((offset, event_id))
        for partition, found in by_partition.items():
            found.sort()
            memory = self._seen.setdefault(partition, _Memory(found[0][0]))
            ids = pa.array([event_id for _, event_id in found], pa.string())
            memory.newer.add(fingerprints(ids), np.array([offset for offset, _ in found], np.int64), ids)

    def repeats(self, partition: TopicPartition, event_ids: pa.Array, offsets: Numbers) -> dict[int, int]:
        """Return which of some events repeat a row, by their place in the column, with that row's offset; the others are rows now.

        Args:
            partition: where the events stand.
            event_ids: their ids, a column of strings in the order of their offsets.
            offsets: as many offsets, ascending.
        """
        if not self._asked or not len(offsets):
            return {}
        memory = self._seen.setdefault(partition, _Memory(int(offsets[0])))
        prints = fingerprints(event_ids)
        ordered = np.sort(prints)
        maybe = seen_before(ordered, memory.blocks)
        if maybe is None:
            memory.newer.add(prints, offsets, event_ids, ordered)
            return {}
        newest: dict[str, int] = {}
        for block in memory.blocks:
            newest |= block.where(maybe)
        found: dict[int, int] = {}
        places = np.flatnonzero(np.isin(prints, maybe))
        ids = event_ids.take(pa.array(places)).to_pylist()
        for index, event_id, offset in zip(places.tolist(), ids, offsets[places].tolist(), strict=True):
            before = newest.get(event_id)
            if before is not None and offset - before <= self.length:
                found[index] = before
            else:
                newest[event_id] = offset
        rows = np.ones(len(offsets), np.bool_)
        rows[list(found)] = False
        memory.newer.add(prints[rows], offsets[rows], event_ids.filter(pa.array(rows)))
        return found

    def forget(self, positions: Mapping[TopicPartition, int]) -> None:
        """Drop what stands too far before the positions to matter."""
        for partition, position in positions.items():
            memory = self._seen.get(partition)
            if memory is not None and position - memory.begins > self.length:
                # What is dropped stands before the newer span, and that one was longer than anybody looks back.
                memory.older, memory.newer, memory.begins = memory.newer.joined(), Seen(), position


def recall(store: Store, event_type: str, positions: Mapping[TopicPartition, int], length: int) -> Remembered:
    """Read the newest rows of a table: those at most `length` offsets before the positions, as far back as the bounds allow.

    Args:
        store: where the table lies.
        event_type: which one.
        positions: next offset of each partition of the event type.
        length: offsets back.
    """
    if not length or not any(positions.values()):
        return []
    root = fs.SubTreeFileSystem(store.path(event_type), store.files)
    paths = _newest(DeltaTable(table_uri(store, event_type), storage_options=delta_options()))
    if not paths:
        return []
    wanted = pc.scalar(False)
    for (topic, partition), position in positions.items():
        here = (ds.field(TOPIC) == topic) & (ds.field(PARTITION) == partition)
        wanted = wanted | (here & (ds.field(OFFSET) >= position - length) & (ds.field(OFFSET) < position))
    names = [TOPIC, PARTITION, id_column(event_of(event_type)), OFFSET]
    found = ds.dataset(paths, filesystem=root, format="parquet").to_table(columns=names, filter=wanted)
    columns = (found[name].to_pylist() for name in names)
    return [((topic, partition), event_id, offset) for topic, partition, event_id, offset in zip(*columns, strict=True)]


def _newest(table: DeltaTable) -> list[str]:
    """Paths of the newest files, as many as the bounds allow."""
    actions = as_table(table.get_add_actions(flatten=True))
    if not actions.num_rows:
        return []
    names = ("path", "num_records", "modification_time")
    listed = zip(*(cast("list[object]", actions[name].to_pylist()) for name in names), strict=True)
    files = sorted(cast("Iterable[tuple[str, int | None, object]]", listed), key=lambda file: str(file[2]), reverse=True)
    paths: list[str] = []
    rows = 0
    for path, count, _ in files[:RECALL_FILES]:
        paths.append(path)
        rows += count or 0
        if rows >= RECALL_ROWS:
            break
    return paths
