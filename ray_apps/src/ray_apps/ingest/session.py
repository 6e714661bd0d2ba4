"""One life of a consumer: from claiming the tables to being stopped, fenced or failed.

Everything it knows it reads from the tables when it begins, so that a session that ends in any way is followed by another one
as if the process had been killed.
"""

import gc
import queue
import threading
import time
from dataclasses import dataclass, field

from ray_apps.ingest.access import Access
from ray_apps.ingest.batches import Batch, Filling, Roll
from ray_apps.ingest.grounds import Grounds
from ray_apps.ingest.judging import Judging
from ray_apps.ingest.metrics import Metrics
from ray_apps.ingest.publishing import Committed, event_types
from ray_apps.ingest.reading import Reader, open_consumer
from ray_apps.ingest.work import Log, Target, Work
from recsys_schemas.train_job import IngestJob

_READ_AT_MOST = 10_000
_CYCLES_AFTER = 10 * _READ_AT_MOST
"""A poll's records are thousands of objects that no cycle holds: looking for cycles as often as Python does finds nothing."""
_LOOK_S = 0.1
_RENEW_S = 10.0
_LAST_COMMIT_S = 20.0
_WELL_AFTER_S = 20.0
"""A session without records has no commit to show that it works: so long without a failure shows it too."""


@dataclass(slots=True)
class Progress:
    """What a supervisor looks at; written by the consumer's threads, read by any."""

    beat: float = field(default_factory=time.monotonic)
    """Clock seconds when the reading loop last came round."""
    writing_since: float | None = None
    """Clock seconds when the batch being written was cut; None while none is."""
    rows: int = 0
    dead_letters: int = 0
    commits: int = 0
    sequence: int = 0
    sessions: int = 0
    trouble: str = ""
    """Why the last session failed; empty once one works again."""
    troubled_since: float | None = None
    """Clock seconds of the first failure since a session last worked."""
    failures: int = 0
    """Sessions that failed since one last worked."""

    def failed(self, words: str) -> None:
        """Note a session that failed."""
        self.trouble, self.failures = words, self.failures + 1
        self.troubled_since = self.troubled_since or time.monotonic()

    def committed(self, commit: Committed) -> None:
        """Count a visible commit."""
        self.rows += commit.rows
        self.dead_letters += sum(commit.dead_letters.values())
        self.commits += 1
        self.sequence = commit.sequence
        self.works()

    def works(self) -> None:
        """Note that the session does what it is for."""
        self.trouble, self.troubled_since, self.failures = "", None, 0


class Session:
    """Reads on the caller's thread and publishes on another one."""

    def __init__(  # noqa: PLR0913 (what the process gives each of its sessions)
        self, job: IngestJob, work: Work, *, log: Log, metrics: Metrics, progress: Progress, stopping: threading.Event
    ) -> None:
        """Read the Secrets of the connection.

        Raises:
            SecretsError: one of them is not mounted here.
        """
        self._job = job
        self._work = work
        self._types = event_types(job)
        self._log = log
        self._metrics = metrics
        self._progress = progress
        self._stopping = stopping
        self._handed: queue.Queue[Batch | None] = queue.Queue(maxsize=1)
        self._failure: Exception | None = None
        self._access = Access(job, log)

    def run(self) -> None:
        """Read and publish until asked to stop, or until other credentials are there; what was read by then is committed.

        Raises:
            FencedError: another writer has taken over.
            RefusedError: the topics or tables are not what they were, and a person must look.
            KafkaRefusedError: the brokers do not let us in.
            Exception: anything else that a new session may overcome.
        """
        consumer = open_consumer(self._job, self._access.on_error)
        try:
            cluster_id = self._access.meet(consumer)
            target, reader = self._work.begin(consumer, cluster_id, self._going_on)
            writer = threading.Thread(target=self._write, args=(target,), name="ingest-writer", daemon=True)
            writer.start()
            try:
                self._read(reader, target.grounds, Filling(self._roll(), target.positions))
            finally:
                self._metrics.ended()
                self._hand_over(None)
                writer.join(_LAST_COMMIT_S)
            self._check_writer()
        finally:
            consumer.close()

    def _roll(self) -> Roll:
        return Roll(max_records=self._job.roll_max_records, max_seconds=self._job.roll_max_seconds)

    def _read(self, reader: Reader, grounds: Grounds, filling: Filling) -> None:
        judging = Judging(self._types, grounds)
        gc.set_threshold(_CYCLES_AFTER)
        began = time.monotonic()
        while not (self._stopping.is_set() or self._access.rotated()):
            self._progress.beat = time.monotonic()
            self._metrics.reading()
            if self._progress.trouble and self._progress.beat - began > _WELL_AFTER_S:
                self._progress.works()
            self._check_writer()
            grounds.renew(self._progress.beat)
            filling.follow(reader.follow(filling.positions))
            due_at = filling.due_at()
            wait_s = _LOOK_S if due_at is None else min(_LOOK_S, max(due_at - time.monotonic(), 0.0))
            records, ends = reader.read(min(_READ_AT_MOST, filling.room), wait_s)
            filling.add(judging.chunk(records, filling.positions), time.monotonic())
            for partition, offset in ends.items():
                filling.pass_over(partition, offset)
            if batch := filling.cut(time.monotonic()):
                self._hand_over(batch)
        if batch := filling.cut(time.monotonic(), anyway=True):
            self._hand_over(batch)

    def _hand_over(self, batch: Batch | None) -> None:
        """Give a batch to the writer; wait while it has one in hand and one in store. Meanwhile the client fetches no more."""
        if self._failure is not None or self._takes(batch, 0.0):
            return
        self._metrics.paused()
        while self._failure is None:
            began = self._progress.beat = time.monotonic()
            taken = self._takes(batch, _LOOK_S)
            self._metrics.waited(time.monotonic() - began)
            if taken:
                return

    def _takes(self, batch: Batch | None, wait_s: float) -> bool:
        try:
            self._handed.put(batch, timeout=wait_s)
        except queue.Full:
            return False
        return True

    def _write(self, target: Target) -> None:
        try:
            while True:
                try:
                    batch = self._handed.get(timeout=_RENEW_S)
                except queue.Empty:
                    target.renew()
                    continue
                if batch is None:
                    return
                self._progress.writing_since = time.monotonic()
                target.publish(batch, self._types, self._committed)
                self._progress.writing_since = None
        except Exception as error:  # noqa: BLE001 (raised again by the reading thread)
            self._failure = error
        finally:
            self._progress.writing_since = None

    def _committed(self, commit: Committed) -> None:
        self._metrics.committed(commit)
        self._progress.committed(commit)
        self._log("committed", **commit.words())

    def _check_writer(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _going_on(self) -> bool:
        self._progress.beat = time.monotonic()
        return not self._stopping.is_set()
