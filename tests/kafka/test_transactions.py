"""Transactions of Kafka's own producer, under both of their protocols (KIP-890): what was aborted never shows, whoever aborted it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import KafkaAdminClient
from tests.conftest import RUNS
from tests.kafka.one_topic import one_topic
from tests.kafka.test_ingest import LIMIT_S, Running

from ray_apps.ingest.verify import verify
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import open_snapshot
from recsys_dev import kafka, kafka_jars, runs
from recsys_dev.kafka import Brokers
from recsys_dev.processes import wait_until

PRODUCER = Path(__file__).parent / "Transactions.java"
TRANSACTIONS = 60
FEATURE = "transaction.version"
PATIENCE: dict[str, Any] = {"bootstrap_timeout_ms": 120_000, "request_timeout_ms": 120_000}


@pytest.fixture(scope="module")
def broker() -> Iterator[Brokers]:
    """One broker of this module's own: a cluster's features are everyone's."""
    run_dir = runs.claim(RUNS / f"kafka-transactions-{os.getpid()}")
    cluster = kafka.start(run_dir, 1, progress=print)
    yield cluster
    cluster.stop()
    runs.discard(run_dir)


def speak(broker: Brokers, version: int) -> None:
    """Let the cluster's transactions follow a version of their protocol."""
    client = KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers, **PATIENCE)
    try:
        client.update_features({FEATURE: ("SAFE_DOWNGRADE" if version == 1 else "UPGRADE", version)})
        wait_until(lambda: finalized(client) == version, what=f"{FEATURE} {version}", deadline_s=120.0)
    finally:
        client.close()


def finalized(client: KafkaAdminClient) -> int:
    return int(client.describe_features()[FEATURE]["finalized"][1])


def produced(broker: Brokers, topic: str) -> tuple[set[str], int]:
    """Ids of the events that were committed, and the highest epoch of a producer."""
    command = [kafka_jars.find_java().program, "-cp", f"{kafka_jars.ensure_jars(print)}/*", PRODUCER]
    words = [broker.bootstrap_servers, topic, "3", str(TRANSACTIONS)]
    ended = subprocess.run([*command, *words], check=False, text=True, capture_output=True, timeout=4 * LIMIT_S)
    assert ended.returncode == 0, ended.stderr
    *ids, last = ended.stdout.split("\n")[:-1]
    return set(ids), int(last.removeprefix("epoch "))


@pytest.mark.parametrize("version", [1, 2])
def test_only_what_was_committed_becomes_rows(broker: Brokers, tmp_path: Path, version: int) -> None:
    speak(broker, version)
    job = one_topic(broker.bootstrap_servers, tmp_path, partitions=3, records=20, seconds=0.1)
    reading = Running(job).start()
    committed, epoch = produced(broker, job.topics[0].topic)
    # An epoch for each transaction is the second protocol's sign; the first has one for each producer.
    assert (epoch >= TRANSACTIONS) is (version == 2), epoch
    store = open_store(job.storage_uri)
    wait_until(lambda: verify(store, job).uncovered == 0, what="everything covered", deadline_s=LIMIT_S)
    reading.stop()
    found = verify(store, job)
    assert found.exact
    rows = open_snapshot(store).rows("watch", ["event_id"])["event_id"].to_pylist()
    assert sorted(rows) == sorted(committed)
    assert 0 < len(rows) < 5 * TRANSACTIONS
