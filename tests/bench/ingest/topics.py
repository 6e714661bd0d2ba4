"""The topic that every subject of the bench reads: filled at once, or at a steady rate."""

import json
import time
from collections.abc import Callable, Iterator

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

PARTITIONS = 3
CODEC = "lz4"
BAD_EVERY = 1_000
"""One record of so many is no event: its value is cut short."""
_BURST_S = 0.01
_FLUSH_S = 600.0


def make(servers: str, *names: str) -> None:
    """Make topics, each with its dead-letter topic."""
    admin = AdminClient({"bootstrap.servers": servers})
    wanted = [NewTopic(each, PARTITIONS, 1) for name in names for each in (name, dead_letters_of(name))]
    for made in admin.create_topics(wanted).values():
        made.result(timeout=60)


def dead_letters_of(name: str) -> str:
    return f"{name}-dead"


def bad_of(events: int) -> int:
    """How many of the first so many records are no events."""
    return (events + BAD_EVERY - 1) // BAD_EVERY


def records(now_ms: Callable[[], int]) -> Iterator[tuple[bytes, str]]:
    """Values of about 140 bytes and their keys, without end, as a demo's producer would write them."""
    number = 0
    while True:
        user = f"u{number * 7919 % 6040}"
        event = {"event_id": f"w-{number:09d}", "user_id": user, "item_id": f"i{number * 104729 % 3706}", "timestamp": now_ms()}
        value = json.dumps(event | {"fraction": number % 100 / 100, "request_id": f"r-{number // 20:08d}"}).encode()
        yield (value if number % BAD_EVERY else value[:-9]), user
        number += 1


def fill(servers: str, topic: str, events: int) -> None:
    """Write so many events as fast as it goes."""
    producer, began = _producer(servers), int(time.time() * 1000)
    for number, (value, user) in zip(range(events), records(lambda: began), strict=False):
        while True:
            try:
                producer.produce(topic, value, user)
                break
            except BufferError:
                producer.poll(0.1)
        if number % 10_000 == 0:
            producer.poll(0)
    _flush(producer)


def flow(servers: str, topic: str, rate: int, seconds: float, going_on: Callable[[], bool] = lambda: True) -> int:
    """Write so many events a second, each with the time at which it was handed to the client; returns how many."""
    producer, made = _producer(servers), records(lambda: int(time.time() * 1000))
    began, written = time.monotonic(), 0
    while (now := time.monotonic()) < began + seconds and going_on():
        due = int((now - began) * rate)
        for _ in range(due - written):
            value, user = next(made)
            producer.produce(topic, value, user)
        written = due
        producer.poll(0)
        time.sleep(_BURST_S)
    _flush(producer)
    return written


def _producer(servers: str) -> Producer:
    return Producer(
        {
            "bootstrap.servers": servers,
            "linger.ms": 5,
            "batch.num.messages": 100_000,
            "compression.type": CODEC,
            "queue.buffering.max.messages": 1_000_000,
        }
    )


def _flush(producer: Producer) -> None:
    left = producer.flush(_FLUSH_S)
    if left:
        raise RuntimeError(f"{left} events were not taken within {_FLUSH_S:g} s")
