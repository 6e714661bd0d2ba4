"""Several lanes and one conductor against real brokers, all in this process: what they publish is exact, whatever becomes of a lane."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

import pytest
from confluent_kafka import Producer
from prometheus_client import CollectorRegistry
from tests.kafka.test_ingest import LIMIT_S, covered, event, exact, job, producer, user, wait_covered, write

from ray_apps.ingest.commits import Written
from ray_apps.ingest.consumer import Runs, consume
from ray_apps.ingest.grounds import Aside
from ray_apps.ingest.lanes import Conductor, Desk, Lane, LaneEndedError, StaleOfferError
from ray_apps.ingest.metrics import Metrics, RegistryMeters
from ray_apps.ingest.publishing import OverlapError
from ray_apps.ingest.reading import Share
from ray_apps.ingest.session import Progress, Session
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import TopicPartition, latest_manifest
from recsys_dev.kafka import Brokers
from recsys_dev.processes import wait_until
from recsys_schemas.train_job import IngestJob

__all__ = ["job", "producer"]
LANES = 2


@dataclass(slots=True)
class Threads:
    """Lanes as threads: `Hands` without Ray."""

    job: IngestJob
    desk: Desk
    fail_after: int | None = None
    """Offers of lane 0 until it ends by itself, without having offered the next one."""
    started: int = 0
    kept: list[tuple[str, Written]] = field(default_factory=list[tuple[str, Written]])
    """What was offered, with its generation."""
    _running: list[threading.Thread] = field(default_factory=list[threading.Thread])
    _stopping: threading.Event = field(default_factory=threading.Event)
    _errors: list[Exception] = field(default_factory=list[Exception])

    def start(self, generation: str, positions: Mapping[TopicPartition, int], aside: Aside) -> None:
        self.started += 1
        self._errors.clear()
        self._stopping = threading.Event()
        self._running = [
            threading.Thread(target=self._read, args=(Share(index=index, of=LANES), generation, (positions, aside)), daemon=True)
            for index in range(LANES)
        ]
        for lane in self._running:
            lane.start()

    def _read(self, share: Share, generation: str, begins: tuple[Mapping[TopicPartition, int], Aside]) -> None:
        offers = 0

        def offer(written: Written) -> None:
            nonlocal offers
            offers += 1
            if share.index == 0 and self.fail_after is not None and offers > self.fail_after:
                self.fail_after = None
                raise LaneEndedError("the lane's process was killed")
            self.kept.append((generation, written))
            self.desk.offer(generation, written)

        metrics, progress = Metrics(self.job.model, RegistryMeters(CollectorRegistry())), Progress()
        lane = Lane(self.job, share, begins, offer, lambda *_, **__: None)
        try:
            Session(self.job, lane, log=lambda *_, **__: None, metrics=metrics, progress=progress, stopping=self._stopping).run()
        except Exception as error:  # noqa: BLE001 (told by `check`)
            self._errors.append(error)

    def check(self) -> int:
        if self._errors:
            raise LaneEndedError(str(self._errors[0]))
        return sum(lane.is_alive() for lane in self._running)

    def ask_to_stop(self) -> None:
        self._stopping.set()

    def end(self) -> None:
        self._stopping.set()
        for lane in self._running:
            lane.join(LIMIT_S)


@dataclass(slots=True)
class Conducted:
    """A consumer with lanes, on a thread of the test's own process."""

    job: IngestJob
    hands: Threads
    desk: Desk
    stopping: threading.Event = field(default_factory=threading.Event)
    failure: Exception | None = None
    thread: threading.Thread | None = None

    def start(self) -> "Conducted":
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def stop(self) -> None:
        self.stopping.set()
        if self.thread is not None:
            self.thread.join(LIMIT_S)

    def _run(self) -> None:
        metrics, progress = Metrics(self.job.model, RegistryMeters(CollectorRegistry())), Progress()

        def conducting(held: dict[str, int]) -> Runs:
            return Conductor(
                job=self.job,
                hands=self.hands,
                desk=self.desk,
                held=held,
                log=lambda *_, **__: None,
                metrics=metrics,
                progress=progress,
                stopping=self.stopping,
            )

        try:
            consume(self.job, log=lambda *_, **__: None, metrics=metrics, progress=progress, stopping=self.stopping, session=conducting)
        except Exception as error:  # noqa: BLE001 (tests look at it)
            self.failure = error


@pytest.fixture
def conducted(job: IngestJob) -> Callable[..., Conducted]:
    def make(fail_after: int | None = None) -> Conducted:
        desk = Desk()
        return Conducted(job, Threads(job, desk, fail_after), desk).start()

    return make


def test_lanes_share_the_partitions_and_everything_is_in_one_snapshot_once(
    job: IngestJob, conducted: Callable[..., Conducted], producer: Producer
) -> None:
    write(producer, job, 900, bad=(b"bad", b"worse"))
    running = conducted()
    wait_covered(job, 902)
    running.stop()
    assert running.failure is None
    found = exact(job)
    assert (found.rows, found.dead_letters) == (900, 2)
    shares = [frozenset(written.offsets) for _, written in running.hands.kept]
    assert len(set(shares)) == LANES
    assert not frozenset.intersection(*set(shares))


def test_when_a_lane_ends_all_begin_again_from_the_tables(job: IngestJob, conducted: Callable[..., Conducted], producer: Producer) -> None:
    write(producer, job, 900, bad=(b"bad",))
    running = conducted(fail_after=1)
    wait_covered(job, 901)
    running.stop()
    assert running.hands.started == 2
    assert exact(job).rows == 900


class NeverIdle(Desk):
    """While it is busy an offer is there at every look, as where publishing takes longer than reading."""

    busy = True

    def take(self, wait_s: float) -> tuple[Written, Future[None]] | None:
        deadline = time.monotonic() + LIMIT_S
        while (offer := super().take(wait_s)) is None and self.busy and time.monotonic() < deadline:
            pass
        return offer


def test_lanes_that_are_never_idle_hide_none_that_has_ended(job: IngestJob, producer: Producer) -> None:
    desk = NeverIdle()
    running = Conducted(job, Threads(job, desk, fail_after=0), desk).start()

    def another_generation() -> bool:
        write(producer, job, 30)
        return running.hands.started == 2

    wait_until(another_generation, what="another generation", deadline_s=LIMIT_S)
    desk.busy = False
    running.stop()
    assert running.failure is None
    exact(job)


def test_a_lane_of_an_earlier_generation_that_wakes_late_changes_nothing(
    job: IngestJob, conducted: Callable[..., Conducted], producer: Producer
) -> None:
    write(producer, job, 300)
    running = conducted()
    wait_covered(job, 300)
    generation, late = running.hands.kept[0]
    before = latest_manifest(open_store(job.storage_uri))
    with pytest.raises(StaleOfferError):
        running.desk.offer("an-earlier-one", late)
    # Even one that knows the generation's name has read what the tables cover already.
    with pytest.raises(OverlapError, match="the tables cover it up to"):
        running.desk.offer(generation, late)
    wait_until(lambda: running.hands.started == 2, what="another generation", deadline_s=LIMIT_S)
    running.stop()
    assert latest_manifest(open_store(job.storage_uri)) == before
    assert exact(job).rows == 300


def test_what_lanes_pass_over_on_quiet_topics_is_covered_too(
    job: IngestJob, conducted: Callable[..., Conducted], producer: Producer, brokers: Brokers
) -> None:
    write(producer, job, 90)
    running = conducted()
    wait_covered(job, 90)
    aborting = Producer({"bootstrap.servers": brokers.bootstrap_servers, "transactional.id": f"test-{job.model.name}"})
    aborting.init_transactions(LIMIT_S)
    aborting.begin_transaction()
    for number in range(60):
        aborting.produce(job.topics[number % 2].topic, event(number), user(number))
    aborting.flush(LIMIT_S)
    aborting.abort_transaction(LIMIT_S)

    def next_offsets() -> int:
        newest = latest_manifest(open_store(job.storage_uri))
        return sum(each.next_offset for each in newest.offsets) if newest else 0

    # Each of the partitions written to has a marker behind the aborted records.
    wait_until(lambda: next_offsets() > 90 + 60, what="what was passed over is covered", deadline_s=LIMIT_S)
    running.stop()
    assert running.failure is None
    assert exact(job).rows == 90


def test_what_lanes_have_read_when_asked_to_stop_is_published(job: IngestJob, producer: Producer) -> None:
    slow = job.model_copy(update={"roll_max_seconds": 3600.0, "roll_max_records": 100_000})
    write(producer, slow, 200)
    desk = Desk()
    running = Conducted(slow, Threads(slow, desk), desk).start()
    wait_until(lambda: running.hands.started == 1, what="lanes", deadline_s=LIMIT_S)
    threading.Event().wait(3.0)  # the lanes read meanwhile; nothing is due, so nothing can be seen
    assert covered(slow) == 0
    running.stop()
    assert exact(slow).rows == 200
