"""The bare drain: what confluent-kafka alone can do. `python -m bench.ingest.bare SERVERS TOPIC EVENTS` reads and counts."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from bench.ingest.measured import LIMIT_S, Cost, Measured
from bench.ingest.topics import PARTITIONS


def reader(servers: str, topic: str) -> Consumer:
    """A client with the settings of ingest that reads a topic from its beginning."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "bench",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": 32 << 10,
            "queued.min.messages": 50_000,
            "fetch.wait.max.ms": 100,
            "fetch.min.bytes": 64 << 10,
            "fetch.queue.backoff.ms": 10,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    return consumer


def polls(consumer: Consumer, events: int) -> Iterator[list[Message]]:
    """So many events, as they come."""
    count, deadline = 0, time.monotonic() + LIMIT_S
    while count < events and time.monotonic() < deadline:
        some = consumer.consume(10_000, 0.1)
        for message in some:
            error = message.error()
            count += error is None
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise RuntimeError(error.str())
        yield some


def drain(servers: str, topic: str, events: int) -> None:
    """Read a topic to its end, and do nothing with what comes."""
    consumer, began = reader(servers, topic), time.monotonic()
    for _ in polls(consumer, events):
        pass
    sys.stdout.write(f"{time.monotonic() - began}\n")
    consumer.close()


def catch_up(servers: str, topic: str, events: int, folder: Path) -> Cost:
    """Read the whole topic in a process of its own."""
    with Measured([sys.executable, "-m", "bench.ingest.bare", servers, topic, str(events)], folder / "bare.log") as child:
        cost = child.end(0.0)
        return Cost(seconds=float(child.log.read_text()), cpu_s=cost.cpu_s, peak_mib=cost.peak_mib)


if __name__ == "__main__":
    drain(sys.argv[1], sys.argv[2], int(sys.argv[3]))
