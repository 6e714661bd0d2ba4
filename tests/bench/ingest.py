"""Events a second of ingest, end to end, against a bare consumer of the same topic in the same run.

    python tests/bench/ingest.py [--events 300000]

Ours: read, validate, Parquet, durable exactly-once commits, manifests. Bare: `consume(10000)` to the end and nothing else.
Both are processes of their own with the same client settings, run one after the other, best of two rounds each.
Uses the brokers at KAFKA_BOOTSTRAP_SERVERS, else starts three of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import latest_manifest
from recsys_dev import kafka, runs
from recsys_dev.figures import tell
from recsys_schemas.train_job import IngestJob, ModelIdentity, TopicToRead

RUNS = Path(__file__).resolve().parents[2] / "build" / "run" / "tests"
LIMIT_S = 600.0
ROUNDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What reading the whole topic took."""

    seconds: float
    """From the first record read (bare) or the assignment (ours) to the last one done."""
    cpu_s: float
    """User and system time of the process, its start included."""
    peak_mib: float


def fill(servers: str, topic: str, events: int) -> None:
    """Write events of about 140 bytes, as a demo's producer would."""
    producer = Producer(
        {"bootstrap.servers": servers, "linger.ms": 50, "compression.type": "lz4", "queue.buffering.max.messages": 1_000_000}
    )
    now = int(time.time() * 1000)
    for number in range(events):
        user = f"u{number * 7919 % 6040}"
        record = {"event_id": f"w-{number:09d}", "user_id": user, "item_id": f"i{number * 104729 % 3706}", "timestamp": now + number // 100}
        producer.produce(topic, json.dumps(record | {"fraction": number % 100 / 100, "request_id": f"r-{number // 20:08d}"}).encode(), user)
        if number % 20_000 == 0:
            producer.poll(0)
    producer.flush(LIMIT_S)


def drain(servers: str, topic: str, events: int) -> None:
    """Read a topic to its end and count: what no consumer of Python can beat."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "bench",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": 32 << 10,
            "queued.min.messages": 50_000,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(3)])
    count, began, deadline = 0, 0.0, time.monotonic() + LIMIT_S
    while count < events and time.monotonic() < deadline:
        for message in consumer.consume(10_000, 0.1):
            error = message.error()
            count += error is None
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise RuntimeError(error.str())
        began = began or (time.monotonic() if count else 0.0)
    sys.stdout.write(f"{time.monotonic() - began}\n")
    consumer.close()


def bare(servers: str, topic: str, events: int) -> Cost:
    argv = [sys.executable, __file__, "--drain", servers, topic, str(events)]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    told = child.stdout.read() if child.stdout else ""
    return _cost(float(told), child)


def ours(servers: str, topic: str, events: int, folder: Path) -> Cost:
    """Run the consumer as it ships, from an empty store to the manifest that covers everything."""
    job = IngestJob(
        model=ModelIdentity(namespace="bench", name=folder.name, uid="00000000"),
        bootstrap_servers=servers.split(","),
        topics=[TopicToRead(topic=topic, event_type="watch")],
        dead_letter_topic=f"{topic}-dead",
        storage_uri=f"file://{folder}",
        roll_max_records=50_000,
        roll_max_seconds=5.0,
    )
    store = open_store(job.storage_uri)
    folder.mkdir(parents=True)
    log = folder.with_suffix(".log")
    with log.open("wb") as stream:
        child = subprocess.Popen([sys.executable, "-m", "ray_apps.ingest.consumer", "--job", job.model_dump_json()], stderr=stream)
    _wait(lambda: b"partitions assigned" in log.read_bytes(), child)
    began = time.monotonic()
    _wait(lambda: (newest := latest_manifest(store)) is not None and newest.rows >= events, child)
    seconds = time.monotonic() - began
    child.terminate()
    return _cost(seconds, child)


def _wait(condition: Callable[[], bool], child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if child.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the consumer ended with {child.poll()} before it was done")
        time.sleep(0.01)


def _cost(seconds: float, child: subprocess.Popen[Any]) -> Cost:
    """Wait for a process and take the kernel's account of it."""
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return Cost(seconds=seconds, cpu_s=used.ru_utime + used.ru_stime, peak_mib=used.ru_maxrss / 1024)


def run(servers: str, folder: Path, *, events: int = 300_000) -> dict[str, float]:
    """Measure on brokers that are there; returns the figures by name."""
    topic = f"bench-{os.getpid()}"
    admin = AdminClient({"bootstrap.servers": servers})
    replicas = min(3, len(admin.list_topics(timeout=30).brokers))
    for made in admin.create_topics([NewTopic(name, 3, replicas) for name in (topic, f"{topic}-dead")]).values():
        made.result(timeout=60)
    fill(servers, topic, events)
    plain, full = list[Cost](), list[Cost]()
    for number in range(ROUNDS):
        plain.append(bare(servers, topic, events))
        full.append(ours(servers, topic, events, folder / f"store-{number}"))
    admin.delete_topics([topic, f"{topic}-dead"])
    bare_best, ours_best = min(plain, key=lambda cost: cost.seconds), min(full, key=lambda cost: cost.seconds)
    return {
        "events": events,
        "bare_events_per_s": events / bare_best.seconds,
        "ours_events_per_s": events / ours_best.seconds,
        "ratio": bare_best.seconds / ours_best.seconds,
        "bare_cpu_s_per_million": bare_best.cpu_s / events * 1e6,
        "ours_cpu_s_per_million": ours_best.cpu_s / events * 1e6,
        "peak_mib": max(cost.peak_mib for cost in full),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--drain", nargs=3, metavar=("SERVERS", "TOPIC", "EVENTS"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.drain:
        drain(asked.drain[0], asked.drain[1], int(asked.drain[2]))
        return 0
    folder = runs.claim(RUNS / f"ingest-bench-{os.getpid()}")
    existing = kafka.existing()
    brokers = existing or kafka.start(folder / "kafka", progress=print)
    try:
        figures = run(brokers.bootstrap_servers, folder, events=asked.events)
    finally:
        if existing is None:
            brokers.stop()
        runs.discard(folder)
    tell("bench", "ingest", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
