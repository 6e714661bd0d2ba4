"""Ingest against three real brokers: every committed record is in the snapshot or the dead letters, once."""

import base64
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic
from prometheus_client import CollectorRegistry

from ray_apps.ingest import dead_letters
from ray_apps.ingest import verify as verifying
from ray_apps.ingest.commits import DataFile
from ray_apps.ingest.consumer import consume
from ray_apps.ingest.dead_letters import DeadLetters
from ray_apps.ingest.letters_read import read_letters
from ray_apps.ingest.metrics import Metrics, RegistryMeters
from ray_apps.ingest.quality import Fault, dead_letter
from ray_apps.ingest.reading import Reader, open_consumer
from ray_apps.ingest.session import Progress
from ray_apps.ingest.tables import Covered, EventTable, FencedError, RefusedError
from ray_apps.ingest.verify import Verification, verify
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import TableState, latest_manifest, open_snapshot
from recsys_dev.kafka import Brokers
from recsys_dev.processes import wait_until
from recsys_schemas.events import DeadLetter, DeadLetterReason
from recsys_schemas.train_job import IngestJob, ModelIdentity, TopicToRead

LIMIT_S = 120.0


@dataclass(slots=True)
class Running:
    """A consumer on a thread of the test's own process."""

    job: IngestJob
    progress: Progress = field(default_factory=Progress)
    stopping: threading.Event = field(default_factory=threading.Event)
    events: list[str] = field(default_factory=list)
    failure: Exception | None = None
    thread: threading.Thread | None = None

    def start(self) -> "Running":
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def stop(self) -> None:
        self.stopping.set()
        if self.thread:
            self.thread.join(LIMIT_S)

    def _run(self) -> None:
        metrics = Metrics(self.job.model, RegistryMeters(CollectorRegistry()))
        try:
            consume(self.job, log=self._log, metrics=metrics, progress=self.progress, stopping=self.stopping)
        except Exception as error:  # noqa: BLE001 (tests look at it)
            self.failure = error

    def _log(self, event: str, **facts: object) -> None:
        self.events.append(f"{event} {facts}")


@pytest.fixture
def job(brokers: Brokers, admin: AdminClient, topic_names: Callable[[str], str], tmp_path: Path) -> IngestJob:
    watch, rate, dead = topic_names("watch"), topic_names("rate"), topic_names("dead")
    settings = {"max.message.bytes": "12000000"}
    for made in admin.create_topics([NewTopic(name, 3, 3, config=settings) for name in (watch, rate, dead)]).values():
        made.result(timeout=LIMIT_S)
    return IngestJob(
        model=ModelIdentity(namespace="test", name=watch, uid="0123456789"),
        bootstrap_servers=brokers.bootstrap_servers.split(","),
        topics=[TopicToRead(topic=watch, event_type="watch"), TopicToRead(topic=rate, event_type="rate")],
        dead_letter_topic=dead,
        storage_uri=f"file://{tmp_path}/store",
        roll_max_records=200,
        roll_max_seconds=0.2,
    )


@pytest.fixture
def run(job: IngestJob) -> Iterator[Callable[[], Running]]:
    started: list[Running] = []

    def start() -> Running:
        started.append(Running(job).start())
        return started[-1]

    yield start
    for each in started:
        each.stop()


@pytest.fixture
def producer(brokers: Brokers) -> Producer:
    return Producer({"bootstrap.servers": brokers.bootstrap_servers, "enable.idempotence": True, "message.max.bytes": 12_000_000})


IDS = itertools.count()


def user(number: int) -> str:
    return f"u{number % 7}"


def event(number: int, topic: str = "watch") -> bytes:
    good = {"event_id": f"e{next(IDS)}", "user_id": user(number), "item_id": "i", "timestamp": int(time.time() * 1000)}
    return json.dumps(good | ({"rating": 4.5} if "rate" in topic else {})).encode()


def write(producer: Producer, job: IngestJob, count: int, bad: tuple[bytes | None, ...] = ()) -> None:
    watch, rate = (each.topic for each in job.topics)
    for number in range(count):
        topic = rate if number % 3 == 0 else watch
        producer.produce(topic, event(number, topic), user(number))
    for value in bad:
        producer.produce(watch, value, "u")
    producer.flush(LIMIT_S)


def covered(job: IngestJob) -> int:
    newest = latest_manifest(open_store(job.storage_uri))
    return newest.rows + newest.dead_letters if newest else 0


def wait_covered(job: IngestJob, count: int, deadline_s: float = LIMIT_S) -> None:
    wait_until(lambda: covered(job) >= count, what=f"{count} records covered", deadline_s=deadline_s)


def exact(job: IngestJob) -> Verification:
    found = verify(open_store(job.storage_uri), job)
    assert found.exact, found
    return found


def test_good_records_become_rows_and_bad_ones_dead_letters_each_once(
    job: IngestJob, run: Callable[[], Running], producer: Producer, brokers: Brokers
) -> None:
    large = b'{"event_id":"' + b"x" * (10 << 20) + b'"}'
    future = json.dumps({"event_id": "e", "user_id": "u", "item_id": "i", "timestamp": int((time.time() + 3e5) * 1000)}).encode()
    nan = b'{"event_id":"e","user_id":"u","item_id":"i","timestamp":1,"fraction":NaN}'
    sent_again = b'{"event_id":"once","user_id":"u","item_id":"i","timestamp":1}'
    bad = (None, b"", b"\xff\xfe", b'{"event_id":', large, future, b'{"event_id":"e"}', nan, sent_again, sent_again)
    for key in (None, "another"):
        producer.produce(job.topics[0].topic, event(0), key)
    write(producer, job, 1000, bad=bad)
    run()
    wait_covered(job, 1012)
    found = exact(job)
    assert (found.rows, found.dead_letters, found.uncovered) == (1001, 11, 0)
    letters = [json.loads(value) for value in values(brokers, job.dead_letter_topic, 11)]
    reasons = Counter(letter["reason"] for letter in letters)
    one_each = ("SchemaMismatch", "FutureTime", "TooLarge", "NotANumber", "NullKey", "KeyMismatch", "Duplicate")
    assert reasons == {"Empty": 2, "Unparseable": 2} | dict.fromkeys(one_each, 1)
    by_reason = {letter["reason"]: letter for letter in letters}
    assert base64.b64decode(by_reason["SchemaMismatch"]["payload_base64"]) == b'{"event_id":"e"}'
    assert base64.b64decode(by_reason["TooLarge"]["payload_base64"]) == large[: 64 << 10]


def values(brokers: Brokers, topic: str, least: int) -> list[bytes]:
    """All that is committed on a topic of three partitions, which is so much at least: brokers mark a transaction's end a moment late."""
    reader = Consumer(
        {
            "bootstrap.servers": brokers.bootstrap_servers,
            "group.id": f"test-{topic}",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    reader.subscribe([topic])
    found, ended, deadline = list[bytes](), set[int](), time.monotonic() + LIMIT_S
    while (len(ended) < 3 or len(found) < least) and time.monotonic() < deadline:
        for message in reader.consume(1000, 0.2):
            if message.error() is None:
                found.append(message.value() or b"")
            else:
                ended.add(message.partition() or 0)
    reader.close()
    return found


def test_letters_of_a_transaction_whose_end_brokers_have_not_marked_yet_are_waited_for(
    job: IngestJob, run: Callable[[], Running], producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(producer, job, 30, bad=(b"bad",))
    run()
    wait_covered(job, 31)
    read, early = verifying._committed, list[int]()

    def before_the_marker(job: IngestJob, topics: Sequence[str], at: dict[tuple[str, int], int] | None = None) -> Iterator[Any]:
        if list(topics) == [job.dead_letter_topic] and len(early) < 2:
            early.append(1)
            return iter(())
        return read(job, topics, at)

    monkeypatch.setattr(verifying, "_committed", before_the_marker)
    assert exact(job).dead_letters == 1
    assert len(early) == 2


def test_a_restarted_consumer_takes_up_where_the_tables_end(job: IngestJob, run: Callable[[], Running], producer: Producer) -> None:
    write(producer, job, 300, bad=(b"bad",))
    first = run()
    wait_covered(job, 301)
    first.stop()
    write(producer, job, 300, bad=(b"bad",))
    run()
    wait_covered(job, 602)
    found = exact(job)
    assert (found.rows, found.dead_letters) == (600, 2)


def test_records_of_an_aborted_transaction_never_show(
    job: IngestJob, run: Callable[[], Running], producer: Producer, brokers: Brokers
) -> None:
    transactional = Producer({"bootstrap.servers": brokers.bootstrap_servers, "transactional.id": f"test-{job.model.name}"})
    transactional.init_transactions(LIMIT_S)
    for turn in range(4):
        transactional.begin_transaction()
        for number in range(50):
            transactional.produce(job.topics[0].topic, event(number), user(number))
        transactional.flush(LIMIT_S)
        (transactional.commit_transaction if turn % 2 else transactional.abort_transaction)(LIMIT_S)
    write(producer, job, 10)
    run()
    wait_covered(job, 110)
    found = exact(job)
    assert (found.rows, found.uncovered) == (110, 0)


def test_a_second_consumer_shuts_the_first_one_out(job: IngestJob, run: Callable[[], Running], producer: Producer) -> None:
    write(producer, job, 300)
    first = run()
    wait_covered(job, 300)
    run()
    write(producer, job, 300)
    wait_covered(job, 600)
    wait_until(lambda: first.failure is not None, what="the first consumer's end", deadline_s=LIMIT_S)
    assert isinstance(first.failure, FencedError)
    assert exact(job).rows == 600


def test_one_that_was_shut_out_of_the_dead_letters_does_not_take_the_tables_back(
    job: IngestJob, run: Callable[[], Running], producer: Producer
) -> None:
    write(producer, job, 300, bad=(b"bad",))
    first = run()
    wait_covered(job, 301)
    second = run()
    wait_until(lambda: any("session begins" in line for line in second.events), what="the second consumer's session", deadline_s=LIMIT_S)
    write(producer, job, 30, bad=(b"worse", b"worst"))
    wait_until(lambda: first.failure is not None, what="the first consumer's end", deadline_s=LIMIT_S)
    wait_covered(job, 333)
    assert isinstance(first.failure, FencedError)
    assert second.failure is None
    assert exact(job).dead_letters == 3


def test_a_manifest_that_was_never_written_is_written_at_the_next_start(
    job: IngestJob, run: Callable[[], Running], producer: Producer, tmp_path: Path
) -> None:
    write(producer, job, 300, bad=(b"bad",))
    first = run()
    wait_covered(job, 301)
    first.stop()
    for path in (tmp_path / "store" / "manifests").iterdir():
        path.unlink()
    run()
    wait_covered(job, 301)
    assert exact(job).dead_letters == 1


def test_a_start_without_news_makes_no_new_snapshot(job: IngestJob, run: Callable[[], Running], producer: Producer) -> None:
    write(producer, job, 50)
    first = run()
    wait_covered(job, 50)
    first.stop()
    before = latest_manifest(open_store(job.storage_uri))
    second = run()
    wait_until(lambda: any("assigned" in line for line in second.events), what="the second session", deadline_s=LIMIT_S)
    second.stop()
    assert latest_manifest(open_store(job.storage_uri)) == before


def test_dead_letters_whose_commit_never_came_are_not_written_again(
    job: IngestJob, run: Callable[[], Running], producer: Producer, brokers: Brokers
) -> None:
    topic = job.topics[0].topic
    for number in range(6):
        producer.produce(topic, f"bad {number}".encode(), partition=0)
    producer.flush(LIMIT_S)
    # What a consumer does before its table commit, and then it dies.
    fault = Fault(reason=DeadLetterReason.UNPARSEABLE, detail="value: cut short")
    died = DeadLetters(job)
    died.fence(lambda: True)
    assert died.put_aside({}, {}) == {}
    assert died.write([dead_letter((topic, 0, offset, 0), f"bad {offset}".encode(), fault) for offset in range(4)], {}) == 4
    run()
    wait_covered(job, 6)
    assert exact(job).dead_letters == 6
    assert len(values(brokers, job.dead_letter_topic, 6)) == 6


def test_a_record_put_aside_before_a_crash_stays_aside_when_it_would_be_judged_otherwise_today(
    job: IngestJob, run: Callable[[], Running], producer: Producer, brokers: Brokers
) -> None:
    topic = job.topics[0].topic
    for number in range(6):
        producer.produce(topic, event(0), user(0), partition=0)
        producer.produce(topic, f"bad {number}".encode(), user(0), partition=0)
    producer.flush(LIMIT_S)
    # The rules of another day: good events of today were put aside, in two transactions, and bad ones of today were not.
    fault = Fault(reason=DeadLetterReason.UNKNOWN_ITEM, detail="item_id: not in the catalogue")
    for offsets in ([0, 2], [0, 2, 4]):
        died = DeadLetters(job)
        died.fence(lambda: True)
        before = died.put_aside({}, {})
        assert died.write([dead_letter((topic, 0, offset, 0), b"seen", fault) for offset in offsets], {}) == len(offsets) - len(before)
    again = DeadLetters(job)
    again.fence(lambda: True)
    assert sorted(place[2] for place in again.put_aside({}, {})) == [0, 2, 4]
    assert sorted(place[2] for place in again.put_aside({(topic, 0): 3}, {})) == [4]
    assert again.put_aside({(topic, 0): 5}, {}) == {}
    run()
    wait_covered(job, 12)
    found = verify(open_store(job.storage_uri), job)
    assert (found.rows, found.dead_letters, found.missing, found.repeated, found.unknown) == (3, 9, 0, 0, 0)
    assert len(values(brokers, job.dead_letter_topic, 9)) == 9


def test_letters_of_a_table_whose_commit_never_came_are_known_though_another_table_was_committed(
    job: IngestJob, run: Callable[[], Running], producer: Producer, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, failed = EventTable.publish, list[int]()

    def publish(table: EventTable, file: DataFile | None, covers: Covered) -> TableState:
        if table.state.event_type == "watch" and not failed:
            failed.append(sum(covers.letters_since.values()))
            raise OSError("no space")
        return original(table, file, covers)

    monkeypatch.setattr(EventTable, "publish", publish)
    for topic in (each.topic for each in job.topics):
        for number in range(3):
            producer.produce(topic, f"bad {number}".encode(), user(number))
    producer.flush(LIMIT_S)
    first = run()
    wait_covered(job, 6)
    first.stop()
    assert failed
    assert exact(job).dead_letters == 6
    assert len(values(brokers, job.dead_letter_topic, 6)) == 6


def test_a_start_reads_only_the_letters_of_the_newest_batch(
    job: IngestJob, run: Callable[[], Running], producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run()
    for number in range(4):
        write(producer, job, 5, bad=(b"bad",) * 5)
        wait_covered(job, 10 * (number + 1))
    first.stop()
    read = list[DeadLetter]()

    def spy(*arguments: Any) -> list[DeadLetter]:
        read.extend(read_letters(*arguments))
        return read

    monkeypatch.setattr(dead_letters, "read_letters", spy)
    second = run()
    write(producer, job, 5)
    wait_covered(job, 45)
    second.stop()
    assert len(read) <= 5
    assert exact(job).dead_letters == 20


def test_an_event_sent_again_after_a_restart_is_known_from_the_tables(
    job: IngestJob, run: Callable[[], Running], producer: Producer
) -> None:
    topic, sent_again = job.topics[0].topic, event(0)
    producer.produce(topic, sent_again, user(0))
    write(producer, job, 100)
    first = run()
    wait_covered(job, 101)
    first.stop()
    producer.produce(topic, sent_again, user(0))
    producer.flush(LIMIT_S)
    run()
    wait_covered(job, 102)
    found = exact(job)
    assert (found.rows, found.dead_letters) == (101, 1)


def test_a_topic_that_is_not_there_yet_is_waited_for(
    job: IngestJob, admin: AdminClient, topic_names: Callable[[str], str], producer: Producer
) -> None:
    late = topic_names("late")
    wanted = job.model_copy(update={"topics": [*job.topics, TopicToRead(topic=late, event_type="watch")]})
    running = Running(wanted).start()
    try:
        write(producer, job, 30)
        wait_covered(job, 30)
        for made in admin.create_topics([NewTopic(late, 3, 3)]).values():
            made.result(timeout=LIMIT_S)
        for number in range(20):
            producer.produce(late, event(number), user(number))
        producer.flush(LIMIT_S)
        wait_covered(job, 50)
    finally:
        running.stop()
    assert any("topics missing" in line for line in running.events)
    assert exact(wanted).rows == 50


def test_partitions_added_later_are_read_from_their_beginning(job: IngestJob, admin: AdminClient) -> None:
    topic = job.topics[0].topic
    consumer = open_consumer(job, lambda _error: None)
    reader = Reader(consumer, [topic], lambda *_words, **_facts: None)
    try:
        begun: dict[tuple[str, int], int] = {}

        def all_three() -> bool:
            """The client may not have heard of a topic that was made a moment ago."""
            reader._look_at = 0.0
            begun.update(reader.follow(begun))
            return len(begun) == 3

        wait_until(all_three, what="three partitions", deadline_s=LIMIT_S)
        assert begun == {(topic, 0): 0, (topic, 1): 0, (topic, 2): 0}
        admin.create_partitions([NewPartitions(topic, 5)])[topic].result(timeout=LIMIT_S)

        def grown() -> bool:
            reader._look_at = 0.0
            return (topic, 4) in reader.follow({(topic, 0): 0, (topic, 1): 0, (topic, 2): 0})

        wait_until(grown, what="partition 4", deadline_s=LIMIT_S)
    finally:
        consumer.close()


def test_a_topic_made_anew_is_refused_with_its_name(job: IngestJob) -> None:
    topic = job.topics[0].topic
    consumer = open_consumer(job, lambda _error: None)
    reader = Reader(consumer, [topic], lambda *_words, **_facts: None)

    def found() -> bool:
        """The client may not have heard of a topic that was made a moment ago."""
        reader._look_at = 0.0
        reader.follow({(topic, 1): 7})
        return False

    try:
        with pytest.raises(RefusedError, match=rf"{topic}-1 ends at offset 0, and the tables cover it up to 7"):
            wait_until(found, what="the topic is known", deadline_s=LIMIT_S)
    finally:
        consumer.close()


def test_every_snapshot_is_a_prefix_that_verifies_by_itself(job: IngestJob, run: Callable[[], Running], producer: Producer) -> None:
    write(producer, job, 1000, bad=(b"bad", None))
    run()
    wait_covered(job, 1002)
    store = open_store(job.storage_uri)
    numbers = [int(name[-17:-5]) for name in store.names("manifests") if "latest" not in name]
    assert len(numbers) > 3
    found = [verify(store, job, number) for number in numbers]
    assert all(each.exact for each in found)
    assert [each.records for each in found] == sorted(each.records for each in found)
    assert open_snapshot(store, numbers[0]).manifest.sequence == numbers[0]
