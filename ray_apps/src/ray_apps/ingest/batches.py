"""Records become chunks, chunks become batches, and a batch is cut when it is due: all of it values, no I/O."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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


class Judging:
    """Judges records of several topics, each by its event type."""

    def __init__(self, event_types: Mapping[str, str]) -> None:
        """Take the event type of each topic."""
        self._rows = {event_type: _Rows(event_type) for event_type in event_types.values()}
        self._topics = {topic: self._rows[event_type] for topic, event_type in event_types.items()}

    def chunk(self, records: Sequence[Record], positions: Mapping[TopicPartition, int]) -> Chunk:
        """Judge records in the order in which they were read.

        Raises:
            OutOfOrderError: a record stands before the position of its partition.
        """
        ends: dict[TopicPartition, int] = {}
        letters: list[DeadLetter] = []
        newest: dict[str, int] = {}
        size = 0
        for record in records:
            topic, partition, offset, value = record.topic(), record.partition(), record.offset(), record.value()
            where = (topic, partition)
            if offset < (ends.get(where) or positions.get(where, 0)):
                raise OutOfOrderError(f"{topic}-{partition}: offset {offset} was read before; reading starts again from the tables")
            ends[where] = offset + 1
            timestamp = record.timestamp()[1]
            rows = self._topics[topic]
            if timestamp > newest.get(rows.event_type, -1):
                newest[rows.event_type] = timestamp
            size += len(value or b"")
            event = rows.judge.read(value, timestamp)
            if isinstance(event, Fault):
                letters.append(dead_letter((topic, partition, offset, timestamp), value, event))
            else:
                rows.add(event, (topic, partition, offset, timestamp, zlib.crc32(value or b"")))
        made = {event_type: batch for event_type, rows in self._rows.items() if (batch := rows.take()) is not None}
        return Chunk(rows=made, letters=letters, next_offsets=ends, newest_ms=newest, records=len(records), size=size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """When a batch is cut: at whichever limit comes first."""

    max_records: int
    max_seconds: float
    max_bytes: int = 64 << 20
    """Raw values of one batch: bounds memory when values are large."""


@dataclass(slots=True, kw_only=True)
class Batch:
    """What one commit cycle will publish."""

    opened_at: float
    """Clock seconds at the first record."""
    rows: dict[str, list[pa.RecordBatch]] = field(default_factory=dict)
    letters: list[DeadLetter] = field(default_factory=list)
    newest_ms: dict[str, int] = field(default_factory=dict)
    records: int = 0
    size: int = 0
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    """The next offset of every partition that is read: set when the batch is cut."""

    def touched(self, event_types: Mapping[str, str]) -> list[str]:
        """Event types with a record in the batch, good or bad, sorted; `event_types` is by topic."""
        return sorted({*self.rows, *(event_types[letter.topic] for letter in self.letters)})


class Filling:
    """The batch being filled, and how far each partition is read."""

    def __init__(self, roll: Roll, positions: Mapping[TopicPartition, int]) -> None:
        self.positions = dict(positions)
        self._roll = roll
        self._batch: Batch | None = None

    @property
    def room(self) -> int:
        """Records that still fit into the batch."""
        return self._roll.max_records - (self._batch.records if self._batch else 0)

    def add(self, chunk: Chunk, now: float) -> None:
        """Take a chunk; it must not be longer than `room`."""
        self.positions.update(chunk.next_offsets)
        if not chunk.records:
            return
        batch = self._batch = self._batch or Batch(opened_at=now)
        for event_type, rows in chunk.rows.items():
            batch.rows.setdefault(event_type, []).append(rows)
        for event_type, newest in chunk.newest_ms.items():
            batch.newest_ms[event_type] = max(newest, batch.newest_ms.get(event_type, newest))
        batch.letters += chunk.letters
        batch.records += chunk.records
        batch.size += chunk.size

    def pass_over(self, partition: TopicPartition, offset: int) -> None:
        """Note that nothing is left to read below an offset: what stood there were markers and aborted records."""
        self.positions[partition] = max(offset, self.positions.get(partition, 0))

    def due_at(self) -> float | None:
        """Clock seconds at which the batch must be cut, if it does not fill before; None while it is empty."""
        return None if self._batch is None else self._batch.opened_at + self._roll.max_seconds

    def cut(self, now: float, *, anyway: bool = False) -> Batch | None:
        """Return the batch if it is due (or `anyway`) and begin another one; None while it is empty or not due."""
        batch = self._batch
        if batch is None:
            return None
        full = batch.records >= self._roll.max_records or batch.size >= self._roll.max_bytes
        if not (anyway or full or now >= batch.opened_at + self._roll.max_seconds):
            return None
        self._batch = None
        batch.offsets = dict(self.positions)
        return batch


class _Rows:
    """Events of one type that wait to become columns."""

    def __init__(self, event_type: str) -> None:
        self.event_type = event_type
        self.judge = Judge(event_of(event_type))
        self._columns = event_columns(event_of(event_type))
        self._events: list[Any] = []
        self._places: list[tuple[str, int, int, int, int]] = []

    def add(self, event: Any, place: tuple[str, int, int, int, int]) -> None:
        self._events.append(event)
        self._places.append(place)

    def take(self) -> pa.RecordBatch | None:
        if not self._events:
            return None
        events, self._events = self._events, []
        places, self._places = self._places, []
        arrays = [pa.array([getattr(event, name) for event in events], kind) for name, kind in _fields(self._columns)]
        arrays += [pa.array(column, kind) for column, (_, kind) in zip(zip(*places, strict=True), _fields(RECORD_COLUMNS), strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([*self._columns, *RECORD_COLUMNS]))


def _fields(schema: pa.Schema) -> Iterable[tuple[str, pa.DataType]]:
    return ((column.name, column.type) for column in schema)
