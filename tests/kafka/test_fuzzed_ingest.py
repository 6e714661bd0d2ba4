"""A hundred thousand fuzzed records through real brokers, ingest and its tables: each is a row or a dead letter, once."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tests.kafka.test_ingest import LIMIT_S, Running, exact, wait_covered

from properties.test_fuzzed_events import EVENTS, records
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import latest_manifest
from recsys_dev.kafka import Brokers
from recsys_schemas.train_job import IngestJob, ModelIdentity, TopicToRead

LARGE, KEPT = 100_000, 5
"""Of values larger than so many bytes a few are sent whole: the brokers are not what is tested."""


def test_a_hundred_thousand_fuzzed_records_end_in_the_tables_or_the_dead_letters(
    brokers: Brokers, admin: AdminClient, topic_names: Callable[[str], str], tmp_path: Path
):
    names = {"w": topic_names("fuzzed-watch"), "r": topic_names("fuzzed-rate"), "dead": topic_names("fuzzed-dead")}
    settings = {"max.message.bytes": "12000000"}
    for made in admin.create_topics([NewTopic(name, 3, 1, config=settings) for name in names.values()]).values():
        made.result(timeout=LIMIT_S)
    servers = brokers.bootstrap_servers
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "message.max.bytes": 12_000_000, "linger.ms": 20})
    large = count()
    for record in records(seed=11):
        value = record.value()
        if value is not None and len(value) > LARGE and next(large) >= KEPT:
            value = value[:1000]
        while True:
            try:
                producer.produce(names[record.topic()], value, record.key(), record.partition())
                break
            except BufferError:
                producer.poll(0.05)
    assert producer.flush(4 * LIMIT_S) == 0
    job = IngestJob(
        model=ModelIdentity(namespace="test", name=names["w"], uid="0123456789"),
        bootstrap_servers=servers.split(","),
        topics=[TopicToRead(topic=names["w"], event_type="watch"), TopicToRead(topic=names["r"], event_type="rate")],
        dead_letter_topic=names["dead"],
        storage_uri=f"file://{tmp_path}/store",
        roll_max_records=7_001,
        roll_max_seconds=1.0,
    )
    running = Running(job).start()
    try:
        wait_covered(job, EVENTS, deadline_s=4 * LIMIT_S)
    finally:
        running.stop()
    assert running.failure is None
    newest = latest_manifest(open_store(job.storage_uri))
    assert newest is not None
    assert newest.rows + newest.dead_letters == EVENTS
    assert min(newest.rows, newest.dead_letters) > EVENTS / 10
    exact(job)
