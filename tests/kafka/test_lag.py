"""Lag on a real broker: what no consumer could still read is none, whatever stands at a partition's end."""

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from tests.kafka.one_topic import one_topic
from tests.kafka.patience import asked
from tests.kafka.test_ingest import LIMIT_S, Running, event, exact

from ray_apps.ingest.batches import Filling
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import latest_manifest
from recsys_dev import kafka, runs
from recsys_dev.processes import wait_until
from recsys_operator.plan.lag import furthest, lag_records, lag_seconds
from recsys_operator.state.observed import Observed, TopicsState
from recsys_operator.world.connection import Connection
from recsys_operator.world.kafka import Kafka
from recsys_schemas.train_job import IngestJob
from unit.operator.lagging import observed

ROOT = Path(__file__).resolve().parents[2]
QUIET_S = 5.0
"""As long as ingest waits for a record before it covers what it passed over."""


@pytest.fixture(scope="module")
def broker() -> Iterator[kafka.Brokers]:
    run_dir = runs.claim(ROOT / "build" / "run" / "tests" / f"lag-{os.getpid()}")
    cluster = None
    try:
        cluster = kafka.start(run_dir, 1, progress=print)
        yield cluster
    finally:
        if cluster is not None:
            cluster.stop()
        runs.discard(run_dir)


@dataclass(slots=True)
class Scene:
    """One topic of one partition, its model, and the operator's eyes."""

    servers: str
    topic: str
    job: IngestJob
    kafka: Kafka = field(default_factory=Kafka)

    def seen(self) -> Observed:
        """What a pass of the operator sees that has no other's reading to share."""
        self.kafka.ends.readings.clear()
        at, now = Connection(bootstrap_servers=(self.servers,)), datetime.now(UTC)
        topics = asked(lambda: self.kafka.read(at, [self.topic], ends_of=[self.topic], now=now)).topics
        newest = latest_manifest(open_store(self.job.storage_uri))
        covered = {("watch", each.partition): each.next_offset for each in newest.offsets} if newest else None
        return observed({"watch": topics[self.topic].partitions} if self.topic in topics else {}, covered, now=now)

    def until(self, true: Callable[[Observed], bool], what: str) -> Observed:
        newest: list[Observed] = []

        def holds() -> bool:
            newest.append(self.seen())
            return true(newest[-1])

        wait_until(holds, what=what, deadline_s=LIMIT_S)
        return newest[-1]

    def transactional(self) -> Producer:
        # A transaction that a test leaves open is ended by the test, not by the broker's patience.
        settings: dict[str, str | int] = {"transactional.id": f"test-{uuid.uuid4().hex}", "transaction.timeout.ms": 600_000}
        made = Producer({"bootstrap.servers": self.servers, **settings})
        made.init_transactions(LIMIT_S)
        return made

    def write(self, producer: Producer, count: int) -> None:
        for number in range(count):
            producer.produce(self.topic, event(number), f"u{number % 7}")
        assert producer.flush(LIMIT_S) == 0

    def commit(self, producer: Producer, count: int) -> None:
        producer.begin_transaction()
        self.write(producer, count)
        producer.commit_transaction(LIMIT_S)

    def abort(self, producer: Producer, count: int) -> None:
        producer.begin_transaction()
        self.write(producer, count)
        producer.abort_transaction(LIMIT_S)

    def plain_lag(self, records: int) -> int:
        """The broken twin: a partition's end minus where a reader stands after its last record, of so many."""
        reader = Consumer({"bootstrap.servers": self.servers, "group.id": "plain", "isolation.level": "read_committed"})
        try:
            place = TopicPartition(self.topic, 0)
            place.offset = 0
            reader.assign([place])
            found: list[int] = []

            def read() -> bool:
                found.extend(message.offset() or 0 for message in reader.consume(1000, 0.5) if message.error() is None)
                return len(found) >= records

            wait_until(read, what=f"{records} records", deadline_s=LIMIT_S)
            return reader.get_watermark_offsets(place, timeout=LIMIT_S)[1] - max(found) - 1
        finally:
            reader.close()


@pytest.fixture
def scene(broker: kafka.Brokers, tmp_path: Path) -> Iterator[Scene]:
    job = one_topic(broker.bootstrap_servers, tmp_path, partitions=1, records=1000, seconds=0.2)
    topic = job.topics[0].topic
    yield Scene(broker.bootstrap_servers, topic, job)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    for deleted in admin.delete_topics([topic, job.dead_letter_topic]).values():
        deleted.result(timeout=LIMIT_S)


@pytest.fixture
def run(scene: Scene) -> Iterator[Callable[[], Running]]:
    started: list[Running] = []

    def start() -> Running:
        started.append(Running(scene.job).start())
        return started[-1]

    yield start
    for each in started:
        each.stop()


def rows(scene: Scene) -> int:
    newest = latest_manifest(open_store(scene.job.storage_uri))
    return newest.rows if newest else 0


def covered_up_to(scene: Scene) -> int:
    newest = latest_manifest(open_store(scene.job.storage_uri))
    return sum(each.next_offset for each in newest.offsets) if newest else 0


def test_markers_and_aborted_records_at_the_end_are_no_lag(scene: Scene, run: Callable[[], Running]) -> None:
    producer = scene.transactional()
    scene.commit(producer, 30)
    first = run()
    scene.until(lambda _: rows(scene) == 30, "the committed records")
    first.stop()
    scene.abort(producer, 20)
    scene.until(lambda now: lag_records(now) > 0, "lag, for nobody has looked past them yet")
    run()
    scene.until(lambda now: not lag_records(now), "no lag")
    for _ in range(2):
        scene.abort(producer, 20)
    end = 30 + 1 + 3 * (20 + 1)
    seen = scene.until(lambda now: covered_up_to(scene) == end and not lag_records(now), "no lag, of a consumer that runs on")
    assert (lag_seconds(seen), furthest(seen)) == (0, None)
    assert scene.plain_lag(30) == 1 + 3 * (20 + 1), "the twin counts a marker of each transaction, and what was aborted"
    scene.commit(producer, 5)
    scene.until(lambda now: rows(scene) == 35 and not lag_records(now), "what came later")
    assert exact(scene.job).rows == 35


def test_ingest_that_covers_records_alone_is_caught(scene: Scene, run: Callable[[], Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Filling, "_bare", lambda *_: None)
    producer = scene.transactional()
    scene.commit(producer, 30)
    running = run()
    scene.until(lambda _: rows(scene) == 30, "the committed records")
    scene.abort(producer, 20)
    seen = scene.until(lambda now: lag_seconds(now) > 2 * QUIET_S, "lag that goes on growing with nothing to read")
    assert lag_records(seen) == 21
    assert running.failure is None


def test_an_open_transaction_is_no_lag_is_told_and_is_never_passed_over(scene: Scene, run: Callable[[], Running]) -> None:
    producer, plain = scene.transactional(), Producer({"bootstrap.servers": scene.servers})
    scene.commit(producer, 10)
    scene.abort(producer, 10)
    run()
    scene.until(lambda now: rows(scene) == 10 and not lag_records(now), "no lag")
    producer.begin_transaction()
    scene.write(producer, 10)
    scene.write(plain, 5)  # committed, and behind the open transaction all the same

    def held(now: Observed) -> bool:
        assert isinstance(now.topics, TopicsState)
        since = now.topics.topics["watch"].partitions[0].held_since
        return since is not None and (now.now - since).total_seconds() > QUIET_S + 1

    seen = scene.until(held, "records that are held back")
    assert (lag_records(seen), rows(scene)) == (0, 10)
    producer.commit_transaction(LIMIT_S)
    seen = scene.until(lambda now: rows(scene) == 25 and not lag_records(now), "all of them")
    assert exact(scene.job).rows == 25


def test_while_ingest_is_dead_lag_and_its_age_are_told_all_the_same(scene: Scene, run: Callable[[], Running]) -> None:
    plain = Producer({"bootstrap.servers": scene.servers})
    scene.write(plain, 10)
    first = run()
    scene.until(lambda now: rows(scene) == 10 and not lag_records(now), "no lag")
    first.stop()
    scene.write(plain, 7)
    seen = scene.until(lambda now: lag_seconds(now) >= 3, "the age")
    worst = furthest(seen)
    assert worst is not None
    assert (worst.topic, worst.partition, worst.records, lag_records(seen)) == ("watch", 0, 7, 7)
    run()
    scene.until(lambda now: rows(scene) == 17 and not lag_records(now), "no lag again")


def test_a_beginning_that_retention_removed_is_no_lag(scene: Scene, broker: kafka.Brokers, run: Callable[[], Running]) -> None:
    scene.write(Producer({"bootstrap.servers": scene.servers}), 40)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    for removed in admin.delete_records([TopicPartition(scene.topic, 0, 40)]).values():
        removed.result(timeout=LIMIT_S)
    scene.until(lambda now: lag_records(now) == 40, "an upper bound, as long as nobody has looked")
    run()
    scene.until(lambda now: not lag_records(now), "no lag")
    assert rows(scene) == 0
