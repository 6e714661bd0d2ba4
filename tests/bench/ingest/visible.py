"""How long an event takes to become visible: its own time against the moment at which a commit that covers it was in place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from confluent_kafka import Consumer, TopicPartition
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One commit."""

    at_ms: float
    """Milliseconds since the epoch when its file was in place."""
    covers: Mapping[int, int]
    """By partition, the first offset that it does not cover."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """From an event's time to its visibility, seconds."""

    events: int
    p50: float
    p99: float
    longest: float


def delays(times_ms: Mapping[int, NDArray[np.int64]], publications: Sequence[Publication], since_ms: float, until_ms: float) -> Delays:
    """Delays of the events of a span of time.

    Args:
        times_ms: by partition, the time of each event, by offset from 0 on.
        publications: the commits, in any order.
        since_ms: the first time that counts.
        until_ms: the first one that does not.

    Raises:
        ValueError: an event of the span was never published, or there is none.
    """
    order = sorted(publications, key=lambda each: each.at_ms)
    at = np.array([each.at_ms for each in order])
    found: list[NDArray[np.float64]] = []
    for partition, times in times_ms.items():
        covered = np.maximum.accumulate(np.array([each.covers.get(partition, 0) for each in order], np.int64))
        counted = np.flatnonzero((times >= since_ms) & (times < until_ms))
        first = np.searchsorted(covered, counted, side="right")
        if first.size and first.max() >= len(order):
            raise ValueError(f"partition {partition}: offset {counted[first.argmax()]} was never published")
        found.append(at[first] - times[counted].astype(np.float64))
    waits = np.concatenate(found) / 1000
    if not waits.size:
        raise ValueError("no event lies in the span")
    p50, p99 = np.percentile(waits, (50, 99))
    return Delays(events=waits.size, p50=float(p50), p99=float(p99), longest=float(waits.max()))


def times_of(servers: str, topic: str, partitions: int, events: int) -> dict[int, NDArray[np.int64]]:
    """Read back the times of a topic's records: those at which the producer handed them to its client."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "bench-times", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    times: dict[int, list[int]] = {partition: [] for partition in range(partitions)}
    left = events
    while left:
        messages = consumer.consume(10_000, 10.0)
        if not messages:
            raise RuntimeError(f"topic {topic}: {left} of {events} events are missing")
        for message in messages:
            times[message.partition()].append(message.timestamp()[1])  # pyright: ignore[reportArgumentType]
        left -= len(messages)
    consumer.close()
    return {partition: np.array(found, np.int64) for partition, found in times.items()}
