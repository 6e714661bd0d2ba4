"""Upkeep beside ingest, on real brokers: killed at any moment, it neither stops ingest nor changes what a snapshot holds."""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from tests.kafka.test_ingest import LIMIT_S, Running, covered, exact, job, producer, run, wait_covered, write

from ray_apps.cli.__main__ import main
from ray_apps.ingest.verify import verify
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import files_of, read_manifest, sequences
from ray_apps.upkeep.compaction import compact
from recsys_schemas.train_job import IngestJob

__all__ = ["job", "producer", "run"]
KILLS = 6
FOR_EVER = """
import sys
from ray_apps.stores.objects import StorageError, open_store
from ray_apps.upkeep.compaction import compact
store = open_store(sys.argv[1])
print("ready", flush=True)
while True:
    for table in ("watch", "rate"):
        try:
            compact(store, table)
        except StorageError:
            pass
"""


@contextmanager
def compacting(job: IngestJob) -> Generator[subprocess.Popen[str]]:
    """A process that compacts without a pause, until it is killed."""
    child = subprocess.Popen([sys.executable, "-c", FOR_EVER, job.storage_uri], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child
    finally:
        child.kill()
        child.wait(LIMIT_S)


def test_compactions_killed_at_random_moments_beside_ingest_leave_every_snapshot_exact(
    job: IngestJob, run: Callable[[], Running], producer: Producer
) -> None:
    chance = random.Random(7)
    write(producer, job, 200, bad=(b"bad",))
    running = run()
    wait_covered(job, 201)
    written = 201
    for _ in range(KILLS):
        with compacting(job), compacting(job):  # two at once, and ingest beside them
            write(producer, job, 250)
            written += 250
            time.sleep(chance.random() * 0.3)
    wait_covered(job, written)
    running.stop()
    assert running.failure is None
    # Brokers that stood still for a while are no fault of upkeep's.
    troubles = [event for event in running.events if "failed" in event and "KafkaException" not in event and "KafkaError" not in event]
    assert not troubles, "ingest was never fenced nor in trouble"
    found = exact(job)
    assert (found.rows + found.dead_letters, found.uncovered) == (written, 0)
    store = open_store(job.storage_uri)
    for sequence in sequences(store)[:: max(1, len(sequences(store)) // 5)]:
        assert verify(store, job, sequence).exact


def test_after_a_compaction_ingest_goes_on_and_a_new_consumer_takes_up_there(
    job: IngestJob, run: Callable[[], Running], producer: Producer
) -> None:
    first = run()
    for turn in range(1, 7):
        write(producer, job, 60)
        wait_covered(job, 60 * turn)
    store = open_store(job.storage_uri)
    done = compact(store, "watch")
    assert (done.files_before > 3, done.files_after) == (True, 1)
    first.stop()
    run()
    write(producer, job, 60)
    wait_covered(job, 420)
    assert covered(job) == 420
    assert exact(job).rows == 420
    watch = next(table for table in read_manifest(store).tables if table.event_type == "watch")
    assert len(files_of(store, watch)) < done.files_before


def test_what_the_topic_keeps_no_more_is_counted_apart_and_the_rest_verifies(
    job: IngestJob, run: Callable[[], Running], producer: Producer, admin: AdminClient, capsys: pytest.CaptureFixture[str]
) -> None:
    write(producer, job, 300, bad=(b"bad",))
    run()
    wait_covered(job, 301)
    watch = job.topics[0].topic
    for done in admin.delete_records([TopicPartition(watch, 0, 20)]).values():
        done.result(timeout=LIMIT_S)
    found = exact(job)
    assert found.expired == 20
    assert found.rows + found.dead_letters == 281
    assert main(["snapshots", "verify", job.storage_uri, "--job", job.model_dump_json()]) == 0
    said = capsys.readouterr().out
    assert "20 older than what the topics keep" in said
    assert said.endswith("exact\n")
