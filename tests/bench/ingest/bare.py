"""The bare drain: what confluent-kafka alone can do. `python -m bench.ingest.bare SERVERS TOPIC EVENTS` reads and counts."""

import sys
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, TopicPartition

from bench.ingest.measured import LIMIT_S, Cost, Measured
from bench.ingest.topics import PARTITIONS


def drain(servers: str, topic: str, events: int) -> None:
    """Read a topic to its end and count, with the client settings of ingest."""
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
    began = time.monotonic()
    count, deadline = 0, began + LIMIT_S
    while count < events and time.monotonic() < deadline:
        for message in consumer.consume(10_000, 0.1):
            error = message.error()
            count += error is None
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise RuntimeError(error.str())
    sys.stdout.write(f"{time.monotonic() - began}\n")
    consumer.close()


def catch_up(servers: str, topic: str, events: int, folder: Path) -> Cost:
    """Read the whole topic in a process of its own."""
    with Measured([sys.executable, "-m", "bench.ingest.bare", servers, topic, str(events)], folder / "bare.log") as child:
        cost = child.end(0.0)
        return Cost(seconds=float(child.log.read_text()), cpu_s=cost.cpu_s, peak_mib=cost.peak_mib)


if __name__ == "__main__":
    drain(sys.argv[1], sys.argv[2], int(sys.argv[3]))
