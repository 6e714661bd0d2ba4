"""The smallest job: one topic of `watch` events on one broker, its dead letters, and a store of its own."""

import uuid
from pathlib import Path

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from recsys_schemas.train_job import IngestJob, ModelIdentity, TopicToRead


def one_topic(servers: str, folder: Path, *, partitions: int, records: int, seconds: float) -> IngestJob:
    """Make the two topics, of names that no other test has, and the job that reads them.

    Args:
        servers: of the broker.
        folder: where its store will stand.
        partitions: of the topic; its dead letters have one.
        records: at most so many in a commit.
        seconds: at most so long until a commit.
    """
    run = uuid.uuid4().hex[:8]
    topic, dead = f"watch-{run}", f"dead-{run}"
    admin = AdminClient({"bootstrap.servers": servers})
    for made in admin.create_topics([NewTopic(topic, partitions, 1), NewTopic(dead, 1, 1)]).values():
        made.result(timeout=120)
    return IngestJob(
        model=ModelIdentity(namespace="test", name=topic, uid="0123456789"),
        bootstrap_servers=[servers],
        topics=[TopicToRead(topic=topic, event_type="watch")],
        dead_letter_topic=dead,
        storage_uri=f"file://{folder}/store",
        roll_max_records=records,
        roll_max_seconds=seconds,
    )
