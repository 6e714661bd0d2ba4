"""Records become chunks: rows in columns, and letters for what is no event. Values only, no I/O.

Records are judged a partition's run at a time, so that one call of the decoder reads thousands of them (see `Judge.read_all`).
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Protocol

import pyarrow as pa

from ray_apps.ingest.columns import event_columns, event_of
from ray_apps.ingest.quality import Fault, Judge, dead_letter
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

    end: int
    """The next offset: nothing below it may come."""
    offsets: list[int] = field(default_factory=list[int])
    timestamps: list[int] = field(default_factory=list[int])
    values: list[bytes | None] = field(default_factory=list["bytes | None"])

    def without(self, places: set[int]) -> "_Run":
        """The same without some of its records."""
        kept = [index for index in range(len(self.offsets)) if index not in places]
        return _Run(self.end, [self.offsets[i] for i in kept], [self.timestamps[i] for i in kept], [self.values[i] for i in kept])


class Judging:
    """Judges records of several topics, each by its event type."""

    def __init__(self, event_types: Mapping[str, str]) -> None:
        """Take the event type of each topic."""
        self._tables = {event_type: _Table(event_type) for event_type in event_types.values()}
        self._topics = {topic: self._tables[event_type] for topic, event_type in event_types.items()}

    def chunk(self, records: Sequence[Record], positions: Mapping[TopicPartition, int]) -> Chunk:
        """Judge records in the order in which they were read; rows of one partition stay in order.

        Raises:
            OutOfOrderError: a record stands before the position of its partition.
        """
        runs = _runs(records, positions)
        letters: list[DeadLetter] = []
        rows: dict[str, list[pa.RecordBatch]] = {}
        newest: dict[str, int] = {}
        size = 0
        for (topic, partition), run in runs.items():
            table = self._topics[topic]
            newest[table.event_type] = max(newest.get(table.event_type, -1), *run.timestamps)
            size += sum(map(len, filter(None, run.values)))
            batch, refused = table.judge(topic, partition, run)
            letters += refused
            if batch is not None:
                rows.setdefault(table.event_type, []).append(batch)
        made = {event_type: pa.concat_batches(batches) for event_type, batches in rows.items()}
        newest = {event_type: at for event_type, at in newest.items() if at >= 0}
        ends = {partition: run.end for partition, run in runs.items()}
        return Chunk(rows=made, letters=letters, next_offsets=ends, newest_ms=newest, records=len(records), size=size)


def _runs(records: Sequence[Record], positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, _Run]:
    runs: dict[TopicPartition, _Run] = {}
    for record in records:
        where = (record.topic(), record.partition())
        run = runs.get(where)
        if run is None:
            run = runs[where] = _Run(positions.get(where, 0))
        offset = record.offset()
        if offset < run.end:
            raise OutOfOrderError(f"{where[0]}-{where[1]}: offset {offset} was read before; reading starts again from the tables")
        run.end = offset + 1
        run.offsets.append(offset)
        run.timestamps.append(record.timestamp()[1])
        run.values.append(record.value())
    return runs


class _Table:
    """Records of one event type."""

    def __init__(self, event_type: str) -> None:
        self.event_type = event_type
        self._judge = Judge(event_of(event_type))
        self._columns = event_columns(event_of(event_type))
        self._schema = pa.schema([*self._columns, *RECORD_COLUMNS])

    def judge(self, topic: str, partition: int, run: _Run) -> tuple[pa.RecordBatch | None, list[DeadLetter]]:
        """Rows of the good records, None when there is none, and letters of the others."""
        judged = self._judge.read_all(run.values, run.timestamps)
        letters: list[DeadLetter] = []
        bad: set[int] = set()
        if Fault in set(map(type, judged)):
            for index, event in enumerate(judged):
                if isinstance(event, Fault):
                    bad.add(index)
                    place = (topic, partition, run.offsets[index], run.timestamps[index])
                    letters.append(dead_letter(place, run.values[index], event))
            judged = [event for index, event in enumerate(judged) if index not in bad]
            run = run.without(bad)
        return (self._rows(topic, partition, run, judged) if judged else None), letters

    def _rows(self, topic: str, partition: int, run: _Run, events: Sequence[Any]) -> pa.RecordBatch:
        count = len(events)
        columns = [pa.array(list(map(attrgetter(column.name), events)), column.type) for column in self._columns]
        columns += [
            pa.repeat(pa.scalar(topic, RECORD_COLUMNS.field(0).type), count),
            pa.repeat(pa.scalar(partition, RECORD_COLUMNS.field(1).type), count),
            pa.array(run.offsets, RECORD_COLUMNS.field(2).type),
            pa.array(run.timestamps, RECORD_COLUMNS.field(3).type),
            pa.array([zlib.crc32(value or b"") for value in run.values], RECORD_COLUMNS.field(4).type),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)
