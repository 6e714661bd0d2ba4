"""Several processes read, one publishes: a lane reads its share of the partitions, writes files, and hands them to the conductor.

Exactly once rests on the conductor alone, which is the tables' one writer as a consumer without lanes is. What a lane says of
itself is believed only as far as the tables bear it out: an offer of an earlier generation, or from before the tables' offsets,
is refused, so a lane that was given up and wakes again changes nothing.
"""

import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from confluent_kafka import Consumer

from ray_apps.ingest.access import Access
from ray_apps.ingest.batches import Batch
from ray_apps.ingest.commits import Written
from ray_apps.ingest.files import write_batch
from ray_apps.ingest.grounds import Aside, Grounds, grounds_at
from ray_apps.ingest.metrics import Metrics
from ray_apps.ingest.publishing import Committed, Publisher, event_types
from ray_apps.ingest.reading import Reader, Share, open_consumer
from ray_apps.ingest.session import Progress
from ray_apps.ingest.work import Log, Target, open_publisher
from ray_apps.stores.objects import Store, open_store
from ray_apps.stores.snapshots import TopicPartition
from recsys_schemas.train_job import IngestJob

_LOOK_S = 0.1
_RENEW_S = 10.0
_STOP_S = 20.0
_OFFER_S = 300.0
"""For one offer to be published: longer than the deadlines of a publication's own steps."""


class StaleOfferError(Exception):
    """The lane belongs to a generation that has ended: it must end too."""


class LaneEndedError(Exception):
    """A lane has ended or does not answer: all lanes begin again from the tables."""


class Desk:
    """Where lanes hand over what they wrote; any number of threads offer, one takes."""

    def __init__(self) -> None:
        self._generation = ""
        self._offers: queue.Queue[tuple[Written, Future[None]]] = queue.Queue()
        self._lock = threading.Lock()

    def open(self) -> str:
        """Begin another generation, and refuse what is left of the last one; returns its name."""
        with self._lock:
            self._generation = uuid.uuid4().hex
            while not self._offers.empty():
                self._offers.get_nowait()[1].set_exception(StaleOfferError("the lanes begin again from the tables"))
            return self._generation

    def offer(self, generation: str, written: Written) -> None:
        """Hand over a written batch; returns when it is visible. A lane has one offer under way at a time, so few can wait.

        Raises:
            StaleOfferError: the generation has ended.
            TimeoutError: it was not published in time.
        """
        done: Future[None] = Future()
        with self._lock:
            if generation != self._generation:
                raise StaleOfferError(f"generation {generation} has ended; {self._generation or 'none'} reads now")
            self._offers.put((written, done))
        done.result(_OFFER_S)

    def take(self, wait_s: float) -> tuple[Written, "Future[None]"] | None:
        """The next offer, or None when there is none within so many seconds."""
        try:
            return self._offers.get(timeout=wait_s)
        except queue.Empty:
            return None


class Hands(Protocol):
    """The lanes' processes, as the conductor needs them."""

    def start(self, generation: str, positions: Mapping[TopicPartition, int], aside: Aside) -> None:
        """Start every lane of a generation; `aside`: letters that are written of records beyond the positions."""
        ...

    def check(self) -> int:
        """How many lanes go on; does not wait.

        Raises:
            LaneEndedError: one has ended without being asked to.
        """
        ...

    def ask_to_stop(self) -> None:
        """Ask every lane to offer what it has read and end."""
        ...

    def end(self) -> None:
        """End those that are left."""
        ...


@dataclass(slots=True, kw_only=True)
class Conductor:
    """One generation of lanes: what a session is to a consumer that reads by itself."""

    job: IngestJob
    hands: Hands
    desk: Desk
    held: dict[str, int]
    log: Log
    metrics: Metrics
    progress: Progress
    stopping: threading.Event
    _types: dict[str, str] = field(init=False)

    def run(self) -> None:
        """Publish what the lanes hand over until asked to stop.

        Raises:
            FencedError: another writer has taken over.
            RefusedError: a person must look.
            Exception: anything else that a new generation may overcome.
        """
        self._types = event_types(self.job)
        # Each lane sees for itself that credentials have changed, and ends; then all begin again, and this one with them.
        access = Access(self.job, self.log)
        consumer = open_consumer(self.job, access.on_error)
        try:
            cluster_id = access.meet(consumer)
            store = open_store(self.job.storage_uri)
            publisher = open_publisher(
                store, self.job, cluster_id, held=self.held, going_on=lambda: not self.stopping.is_set(), log=self.log
            )
            try:
                self.hands.start(self.desk.open(), publisher.positions, publisher.put_aside)
                self._conduct(publisher)
            finally:
                self.desk.open()
                self.hands.end()
        finally:
            consumer.close()

    def _conduct(self, publisher: Publisher) -> None:
        renewed, ends_at = time.monotonic(), float("inf")
        while True:
            now = self.progress.beat = time.monotonic()
            if self.stopping.is_set() and ends_at == float("inf"):
                self.hands.ask_to_stop()
                ends_at = now + _STOP_S
            offer = self.desk.take(_LOOK_S)
            if offer is not None:
                self._publish(publisher, *offer)
                renewed = now
            # At every turn: where an offer always waits, a lane that has ended would never be missed.
            alive = self.hands.check()
            if now > ends_at or (offer is None and not alive):
                return
            if now - renewed > _RENEW_S:
                publisher.renew_latest()
                self.progress.works()
                renewed = now

    def _publish(self, publisher: Publisher, written: Written, done: "Future[None]") -> None:
        self.progress.writing_since = time.monotonic()
        try:
            publisher.publish(written, self._types, self._committed)
        except Exception as error:
            done.set_exception(error)
            raise
        finally:
            self.progress.writing_since = None
        done.set_result(None)

    def _committed(self, commit: Committed) -> None:
        self.metrics.committed(commit)
        self.progress.committed(commit)
        self.log("committed", **commit.words())


class Lane:
    """The work of one lane: its share of the partitions, from the positions that the conductor gave it."""

    def __init__(
        self, job: IngestJob, share: Share, begins: tuple[Mapping[TopicPartition, int], Aside], offer: Callable[[Written], None], log: Log
    ) -> None:
        """`begins`: the tables' offsets, and the letters that are written of records beyond them."""
        self._job = job
        self._share = share
        self._positions, self._aside = begins
        self._offer = offer
        self._log = log

    def begin(self, consumer: Consumer, cluster_id: str, going_on: Callable[[], bool]) -> tuple[Target, Reader]:  # noqa: ARG002
        """Begin where the tables ended when this generation began."""
        topics = list(event_types(self._job))
        mine = {place: at for place, at in self._positions.items() if self._share.has(topics.index(place[0]), place[1])}
        store = open_store(self._job.storage_uri)
        target = Offers(store, mine, grounds_at(store, self._job, mine, self._aside), self._offer)
        return target, Reader(consumer, topics, self._log, self._share)


class Offers:
    """A lane writes a batch's files, and the conductor publishes them."""

    def __init__(self, store: Store, positions: Mapping[TopicPartition, int], grounds: Grounds, offer: Callable[[Written], None]) -> None:
        self.positions = positions
        self.grounds = grounds
        self._store = store
        self._offer = offer

    def publish(self, batch: Batch, event_types: Mapping[str, str], on_commit: Callable[[Committed], None]) -> None:  # noqa: ARG002
        """Write, hand over, and wait until it is visible."""
        self._offer(write_batch(self._store, batch, time.time()))

    def renew(self) -> None:
        """The conductor looks after the tables."""
