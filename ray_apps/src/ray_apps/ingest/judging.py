"""Records become chunks: rows in columns, and letters for what is no event. Values only, no I/O.

Records are judged a partition's run at a time, so that thousands of them are read at once (see `Bulk`).
"""

import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from isal.isal_zlib import crc32
from pydantic import BaseModel

from ray_apps.ingest.bulk import Bulk
from ray_apps.ingest.columns import event_columns
from ray_apps.ingest.grounds import Grounds
from ray_apps.ingest.quality import Fault, Judge, dead_letter, repeated, unknown_item, without
from ray_apps.ingest.texts import Numbers
from ray_apps.stores.snapshots import RECORD_COLUMNS, TopicPartition
from recsys_schemas.events import DeadLetter


class Record(Protocol):
    """One Kafka record, as confluent-kafka shows it."""

    def topic(self) -> str:
        """Topic."""
        ...

    def partition(self) -> int:
        """Partition."""
        ...

    def offset(self) -> int:
        """Offset."""
        ...

    def timestamp(self) -> tuple[int, int]:
        """Kind of time, and milliseconds: -1 when the record has none."""
        ...

    def key(self) -> bytes | None:
        """Raw key; None when the record has none."""
        ...

    def value(self) -> bytes | None:
        """Raw value; None for a tombstone."""
        ...


class OutOfOrderError(Exception):
    """A partition gave a record that was read before: reading must start again from the tables."""


@dataclass(slots=True, kw_only=True)
class Chunk:
    """Judged records, as they came from one poll."""

    rows: dict[str, pa.RecordBatch]
    """Rows by event type, columns as in the event type's table."""
    letters: list[DeadLetter]
    next_offsets: dict[TopicPartition, int]
    newest_ms: dict[str, int]
    """Newest record timestamp by event type, refused records included."""
    records: int
    size: int
    """Bytes of the raw values."""


@dataclass(slots=True)
class _Run:
    """What one poll brought of one partition, in order."""

    offsets: Numbers
    timestamps: Numbers
    keys: list[bytes | None]
    values: list[bytes | None]

    @classmethod
    def of(cls, block: Sequence[Record]) -> "_Run":
        """Read records out by column."""
        return cls(
            np.fromiter([record.offset() for record in block], np.int64, len(block)),
            np.fromiter([record.timestamp()[1] for record in block], np.int64, len(block)),
            [record.key() for record in block],
            [record.value() for record in block],
        )

    def followed_by(self, other: "_Run") -> "_Run":
        """Both, one after the other."""
        return _Run(
            np.concatenate([self.offsets, other.offsets]),
            np.concatenate([self.timestamps, other.timestamps]),
            self.keys + other.keys,
            self.values + other.values,
        )

    def without(self, places: Collection[int]) -> "_Run":
        """The same without some of its records."""
        if not places:
            return self
        left = np.delete(np.arange(len(self.offsets)), list(places))
        return _Run(self.offsets[left], self.timestamps[left], without(self.keys, places), without(self.values, places))


class Judging:
    """Judges records of several topics, each by its event type."""

    def __init__(self, event_types: Mapping[str, str], grounds: Grounds | None = None) -> None:
        """Take the event type of each topic, and what the verdicts depend on beside the records."""
        self._grounds = grounds or Grounds()
        self._tables = {event_type: _Table(event_type, self._grounds.events[event_type]) for event_type in event_types.values()}
        self._topics = {topic: self._tables[event_type] for topic, event_type in event_types.items()}

    def chunk(self, records: Sequence[Record], positions: Mapping[TopicPartition, int]) -> Chunk:
        """Judge records in the order in which they were read; rows of one partition stay in order.

        Raises:
            OutOfOrderError: a record stands before the position of its partition.
        """
        runs = _runs(records, positions)
        ends = {partition: int(run.offsets[-1]) + 1 for partition, run in runs.items()}
        letters: list[DeadLetter] = []
        rows: dict[str, list[pa.RecordBatch]] = {}
        newest: dict[str, int] = {}
        size = 0
        for (topic, partition), run in runs.items():
            table = self._topics[topic]
            newest[table.event_type] = max(newest.get(table.event_type, -1), int(run.timestamps.max()))
            size += sum(map(len, filter(None, run.values)))
            batch, refused = table.judge(topic, partition, run, self._grounds)
            letters += refused
            if batch is not None:
                rows.setdefault(table.event_type, []).append(batch)
        made = {event_type: pa.concat_batches(batches) for event_type, batches in rows.items()}
        newest = {event_type: at for event_type, at in newest.items() if at >= 0}
        self._grounds.duplicates.forget(ends)
        return Chunk(rows=made, letters=letters, next_offsets=ends, newest_ms=newest, records=len(records), size=size)


def _runs(records: Sequence[Record], positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, _Run]:
    runs: dict[TopicPartition, _Run] = {}
    for block in _blocks(records):
        where, run = (block[0].topic(), block[0].partition()), _Run.of(block)
        before = runs.get(where)
        position = positions.get(where, 0) if before is None else int(before.offsets[-1]) + 1
        steps = np.diff(run.offsets, prepend=position - 1)
        if steps.min() < 1:
            early = run.offsets[int(np.argmax(steps < 1))]
            raise OutOfOrderError(f"{where[0]}-{where[1]}: offset {early} was read before; reading starts again from the tables")
        runs[where] = run if before is None else before.followed_by(run)
    return runs


def _blocks(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Cut records where the partition changes. The client hands them over as it fetched them: long runs of one partition."""
    topics = [record.topic() for record in records]
    partitions = np.fromiter([record.partition() for record in records], np.int32, len(records))
    changes = partitions[1:] != partitions[:-1]
    if topics.count(topics[0] if topics else "") < len(topics):
        changes |= np.fromiter(map(operator.ne, topics[1:], topics), bool, len(topics) - 1)
    ends = [*(np.flatnonzero(changes) + 1).tolist(), len(records)] if topics else []
    for begin, end in zip([0, *ends], ends, strict=False):
        yield records[begin:end]


class _Table:
    """Records of one event type."""

    def __init__(self, event_type: str, event: type[BaseModel]) -> None:
        self.event_type = event_type
        self._bulk = Bulk(Judge(event))
        self._schema = pa.schema([*event_columns(event), *RECORD_COLUMNS])

    def judge(self, topic: str, partition: int, run: _Run, grounds: Grounds) -> tuple[pa.RecordBatch | None, list[DeadLetter]]:
        """Rows of the good records, None when there is none, and letters of the others."""
        where, aside = (topic, partition), grounds.aside
        written = {index: aside[*where, at] for index, at in enumerate(run.offsets.tolist()) if (*where, at) in aside} if aside else {}
        letters = list(written.values())
        run = run.without(written)
        values = run.values
        if grounds.framing:
            values, unframed = grounds.framing.values(run.values)
            letters += _letters(where, run, unframed)
            values, run = without(values, unframed), run.without(unframed)
        events, faults = self._bulk.read(run.keys, values, run.timestamps)
        letters += _letters(where, run, faults)
        run = run.without(faults)
        if grounds.items is not None:
            items = events["item_id"]
            strange = set(items.unique().to_pylist()) - grounds.items
            unknown = {index: unknown_item(each) for index, each in enumerate(items.to_pylist()) if each in strange} if strange else {}
            letters += _letters(where, run, unknown)
            events, run = _rows_without(events, unknown), run.without(unknown)
        ids = events["event_id"]
        again = grounds.duplicates.repeats(where, ids, run.offsets)
        repeats = {index: repeated(ids[index].as_py(), first) for index, first in again.items()}
        letters += _letters(where, run, repeats)
        events, run = _rows_without(events, repeats), run.without(repeats)
        return (self._rows(topic, partition, run, events) if events.num_rows else None), letters

    def _rows(self, topic: str, partition: int, run: _Run, events: pa.RecordBatch) -> pa.RecordBatch:
        count = events.num_rows
        columns = [
            *events.columns,
            pa.repeat(pa.scalar(topic, RECORD_COLUMNS.field(0).type), count),
            pa.repeat(pa.scalar(partition, RECORD_COLUMNS.field(1).type), count),
            pa.array(run.offsets),
            pa.array(run.timestamps),
            pa.array(np.fromiter(map(crc32, run.values), np.int64, count)),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)


def _letters(where: TopicPartition, run: _Run, faults: Mapping[int, Fault]) -> list[DeadLetter]:
    """Letters of the records of a run that have a fault."""
    return [dead_letter((*where, run.offsets[index], run.timestamps[index]), run.values[index], fault) for index, fault in faults.items()]


def _rows_without(events: pa.RecordBatch, places: Collection[int]) -> pa.RecordBatch:
    if not places:
        return events
    wanted = np.ones(events.num_rows, np.bool_)
    wanted[list(places)] = False
    return events.filter(pa.array(wanted))
