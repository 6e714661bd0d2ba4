"""Answers that the API has logged become rows once each, whatever is killed when; a consumer with one classical mistake is told apart."""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tests.chaos import ingest_child
from tests.chaos.ingest_traffic import answer

from ray_apps.ingest.verify import Verification, verify
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import latest_manifest, open_snapshot
from ray_apps.upkeep.compaction import compact
from recsys_dev.kafka import Brokers
from recsys_dev.processes import wait_until
from recsys_schemas.event_fields import RESPONSES
from recsys_schemas.train_job import IngestJob, ModelIdentity, TopicToRead

LIMIT_S = 120.0
KILLS, MOST_KILLS = 8, 80
"""Of a twin so many at most, until one has harmed it."""
BURST = 150


@pytest.fixture
def job(brokers: Brokers, admin: AdminClient, topic_names: Callable[[str], str], tmp_path: Path) -> IngestJob:
    """Events and answers of one model."""
    watch, answered, dead = (topic_names(name) for name in ("watch", "answered", "dead"))
    for made in admin.create_topics([NewTopic(name, 3, 3) for name in (watch, answered, dead)]).values():
        made.result(timeout=LIMIT_S)
    return IngestJob(
        model=ModelIdentity(namespace="test", name=watch, uid="0123456789"),
        bootstrap_servers=brokers.bootstrap_servers.split(","),
        topics=[TopicToRead(topic=watch, event_type="watch"), TopicToRead(topic=answered, event_type=RESPONSES)],
        dead_letter_topic=dead,
        storage_uri=f"file://{tmp_path}/store",
        roll_max_records=60,
        roll_max_seconds=0.1,
    )


@dataclass(slots=True)
class Line:
    """Answers and what followed them, written to the topics; and consumers that come and go."""

    job: IngestJob
    log: Path
    twin: str
    chance: random.Random
    producer: Producer
    written: int = 0
    children: list[Any] = field(default_factory=list[Any])

    def write(self) -> None:
        """A burst of answers, one in thirty of them broken and one in thirty written twice, and an event for every third."""
        watch, answered = (each.topic for each in self.job.topics)
        for _ in range(BURST):
            self.written += 1
            now = int(time.time() * 1000)
            made = answer(self.written, now, self.chance)
            event = {"event_id": f"e{self.written}", "user_id": made["user_id"], "item_id": "i", "timestamp": now, "request_id": "r"}
            records = [(watch, json.dumps(event))] if self.written % 3 == 0 else [(answered, json.dumps(made))]
            if self.written % 30 == 1:
                records = [(answered, json.dumps(made | {"items": "none"}))]
            if self.written % 30 == 2:
                records.append(records[0])
                self.written += 1
            for topic, value in records:
                self.producer.produce(topic, value, made["user_id"])
        self.producer.flush(LIMIT_S)

    def start(self) -> Any:
        """One more consumer, in a process of its own."""
        self.children.append(ingest_child.start(self.job.model_dump_json(), self.log, twin=self.twin))
        return self.children[-1]

    def covered(self) -> int:
        """Records that the newest snapshot has as rows or dead letters."""
        newest = latest_manifest(open_store(self.job.storage_uri))
        return newest.all_rows + newest.dead_letters if newest else 0

    def write_and_see_a_commit(self) -> None:
        """A burst, and wait until a part of it is covered."""
        before = self.covered()
        self.write()
        wait_until(lambda: self.covered() > before, what="a commit", deadline_s=LIMIT_S)

    def end(self) -> None:
        """Leave no process."""
        for child in self.children:
            child.kill()
            child.join(LIMIT_S)


def read_to(offsets: str) -> int:
    """How many records lie before the offsets that the twin keeps."""
    return sum(each[2] for each in json.loads(Path(offsets).read_text()))


def stormed(job: IngestJob, brokers: Brokers, folder: Path, twin: str = "") -> Verification:
    """Kill consumers between bursts, at moments that nobody chose; let the last one read to the end, and compare all."""
    producer = Producer({"bootstrap.servers": brokers.bootstrap_servers, "enable.idempotence": True})
    line = Line(job=job, log=folder / "log", twin=twin, chance=random.Random(5), producer=producer)
    store = open_store(job.storage_uri)
    try:
        for kill in range(MOST_KILLS if twin else KILLS):
            child = line.start()
            line.write_and_see_a_commit()
            time.sleep(line.chance.random() * 0.2)
            child.kill()
            child.join(LIMIT_S)
            # A kill harms the twin only where it falls between its two writes: chance decides which.
            if twin and kill >= KILLS and read_to(store.path("offsets.json")) > line.covered():
                break
        line.start()
        if twin:  # what it has lost never comes: it is at its end when all that it left is covered
            offsets = store.path("offsets.json")
            wait_until(lambda: read_to(offsets) >= line.written, what="the end of the topics", deadline_s=LIMIT_S)
            return verify(store, job)
        wait_until(lambda: line.covered() >= line.written, what="everything covered", deadline_s=LIMIT_S)
        return verify(store, job)
    finally:
        line.end()


def test_answers_are_rows_once_each_though_consumers_are_killed(job: IngestJob, brokers: Brokers, tmp_path: Path):
    found = stormed(job, brokers, tmp_path)
    assert found.exact, found
    assert found.uncovered == 0
    store = open_store(job.storage_uri)
    before = open_snapshot(store).rows(RESPONSES)
    assert len(set(before["request_id"].to_pylist())) == before.num_rows > KILLS * BURST / 2
    assert found.dead_letters > 0
    compact(store, RESPONSES)
    assert verify(store, job).exact
    assert open_snapshot(store).rows(RESPONSES).equals(before)


def test_a_consumer_that_keeps_its_offsets_apart_from_the_answers_is_told(job: IngestJob, brokers: Brokers, tmp_path: Path):
    found = stormed(job, brokers, tmp_path, twin="offsets outside the commit")
    assert not found.exact, found
