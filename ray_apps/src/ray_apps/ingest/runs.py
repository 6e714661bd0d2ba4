"""Records of a poll, by partition and read out by column."""

import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ray_apps.ingest.quality import without
from ray_apps.ingest.texts import Numbers
from ray_apps.stores.snapshots import TopicPartition


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


@dataclass(slots=True)
class Run:
    """What one poll brought of one partition, in order."""

    offsets: Numbers
    timestamps: Numbers
    keys: list[bytes | None]
    values: list[bytes | None]

    @classmethod
    def of(cls, block: Sequence[Record]) -> "Run":
        """Read records out by column."""
        return cls(
            np.fromiter([record.offset() for record in block], np.int64, len(block)),
            np.fromiter([record.timestamp()[1] for record in block], np.int64, len(block)),
            [record.key() for record in block],
            [record.value() for record in block],
        )

    def followed_by(self, other: "Run") -> "Run":
        """Both, one after the other."""
        return Run(
            np.concatenate([self.offsets, other.offsets]),
            np.concatenate([self.timestamps, other.timestamps]),
            self.keys + other.keys,
            self.values + other.values,
        )

    def without(self, places: Collection[int]) -> "Run":
        """The same without some of its records."""
        if not places:
            return self
        left = np.delete(np.arange(len(self.offsets)), list(places))
        return Run(self.offsets[left], self.timestamps[left], without(self.keys, places), without(self.values, places))


def runs_of(records: Sequence[Record], positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, Run]:
    """Read records out, each partition's in order.

    Raises:
        OutOfOrderError: a record stands before the position of its partition.
    """
    runs: dict[TopicPartition, Run] = {}
    for block in _blocks(records):
        where, run = (block[0].topic(), block[0].partition()), Run.of(block)
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
