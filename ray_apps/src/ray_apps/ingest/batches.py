"""Chunks become batches, and a batch is cut when it is due: all of it values, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from ray_apps.ingest.judging import Chunk
from ray_apps.stores.snapshots import TopicPartition
from recsys_schemas.events import DeadLetter


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """When a batch is cut: at whichever limit comes first."""

    max_records: int
    max_seconds: float
    max_bytes: int = 64 << 20
    """Raw values of one batch: bounds memory when values are large."""
    quiet_seconds: float = 5.0
    """What was passed over and is followed by no record for so long is covered by a batch without any."""


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
    starts: dict[TopicPartition, int] = field(default_factory=dict)
    """Where every partition stood when the batch before was cut: set when this one is cut."""
    offsets: dict[TopicPartition, int] = field(default_factory=dict)
    """The next offset of every partition that is read: set when the batch is cut."""


class Filling:
    """The batch being filled, and how far each partition is read."""

    def __init__(self, roll: Roll, positions: Mapping[TopicPartition, int]) -> None:
        self.positions = dict(positions)
        self._starts = dict(positions)
        self._covered = dict(positions)
        self._roll = roll
        self._batch: Batch | None = None
        self._bare_at: float | None = None

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
        self._bare_at = None
        for event_type, rows in chunk.rows.items():
            batch.rows.setdefault(event_type, []).append(rows)
        for event_type, newest in chunk.newest_ms.items():
            batch.newest_ms[event_type] = max(newest, batch.newest_ms.get(event_type, newest))
        batch.letters += chunk.letters
        batch.records += chunk.records
        batch.size += chunk.size

    def follow(self, begins: Mapping[TopicPartition, int]) -> None:
        """Note where partitions begin that are read from now on."""
        self.positions.update(begins)
        self._starts.update(begins)

    def pass_over(self, partition: TopicPartition, offset: int) -> None:
        """Note that nothing is left to read below an offset: what stood there were markers and aborted records."""
        self.positions[partition] = max(offset, self.positions.get(partition, 0))

    def due_at(self) -> float | None:
        """Clock seconds at which the batch must be cut, if it does not fill before; None while it is empty."""
        return None if self._batch is None else self._batch.opened_at + self._roll.max_seconds

    def cut(self, now: float, *, anyway: bool = False) -> Batch | None:
        """Return the batch if it is due (or `anyway`) and begin another one; None while it is empty or not due.

        On a quiet topic it may be a batch without records: markers, aborted records, or a beginning that retention removed would
        else stay uncovered until the next record, be taken for lag, and be read again by whoever follows.
        """
        batch = self._batch
        if batch is None:
            return None if anyway else self._bare(now)
        full = batch.records >= self._roll.max_records or batch.size >= self._roll.max_bytes
        if not (anyway or full or now >= batch.opened_at + self._roll.max_seconds):
            return None
        self._batch = None
        return self._close(batch)

    def _bare(self, now: float) -> Batch | None:
        if all(offset <= self._covered.get(partition, 0) for partition, offset in self.positions.items()):
            self._bare_at = None
            return None
        if self._bare_at is None:
            self._bare_at = now + max(self._roll.quiet_seconds, self._roll.max_seconds)
        return self._close(Batch(opened_at=now)) if now >= self._bare_at else None

    def _close(self, batch: Batch) -> Batch:
        self._bare_at = None
        batch.offsets = dict(self.positions)
        batch.starts, self._starts = self._starts, dict(self.positions)
        self._covered = dict(self.positions)
        return batch
