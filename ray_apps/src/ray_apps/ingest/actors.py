"""The actors of ingest: the one that consumes, and the lanes that read for it where there are several."""

import os
import threading
import time
from collections.abc import Mapping
from typing import Any

from ray.exceptions import RayError

import ray
from ray_apps.ingest.commits import Written
from ray_apps.ingest.consumer import Runs, consume, json_log
from ray_apps.ingest.grounds import Aside
from ray_apps.ingest.lanes import Conductor, Desk, Lane, LaneEndedError
from ray_apps.ingest.metrics import Metrics
from ray_apps.ingest.ray_meters import RayMeters
from ray_apps.ingest.reading import Share
from ray_apps.ingest.session import Progress, Session
from ray_apps.ingest.supervising import Ending, Health
from ray_apps.ingest.tables import FencedError, RefusedError
from ray_apps.ingest.troubles import words_of
from ray_apps.stores.snapshots import TopicPartition
from recsys_schemas.train_job import IngestJob

CPUS = 0.2
_SILENT_S = 60.0
_ASK_EVERY_S = 1.0


class Consuming:
    """The consumer inside an actor: its loop runs on a thread, and calls only ask about it."""

    def __init__(self, job: str) -> None:
        """Begin at once; `job` is an IngestJob as JSON."""
        self._job = IngestJob.model_validate_json(job)
        self._progress = Progress()
        self._stopping = threading.Event()
        self._ending: Ending | None = None
        self._words = ""
        self._desk = Desk()
        threading.Thread(target=self._consume, name="ingest-reader", daemon=True).start()

    def health(self) -> Health:
        """Say how the loop is."""
        now, progress = time.monotonic(), self._progress
        return Health(
            pid=os.getpid(),
            beat_age_s=now - progress.beat,
            writing_age_s=now - (progress.writing_since or now),
            rows=progress.rows,
            dead_letters=progress.dead_letters,
            commits=progress.commits,
            sequence=progress.sequence,
            sessions=progress.sessions,
            trouble=progress.trouble,
            trouble_age_s=now - (progress.troubled_since or now),
            failures=progress.failures,
            ending=self._ending,
            words=self._words,
        )

    def offer(self, generation: str, written: Written) -> None:
        """Take what a lane has written; returns when it is visible (see `Desk.offer`)."""
        self._desk.offer(generation, written)

    def stop(self) -> None:
        """Ask the loop to commit what it has read and end."""
        self._stopping.set()

    def _consume(self) -> None:
        log = json_log(self._job)
        try:
            metrics = Metrics(self._job.model, RayMeters())
            me = ray.get_runtime_context().current_actor if self._job.consumers > 1 else None

            def conducting(held: dict[str, int]) -> Runs:
                return Conductor(
                    job=self._job,
                    hands=_Hands(self._job, me),
                    desk=self._desk,
                    held=held,
                    log=log,
                    metrics=metrics,
                    progress=self._progress,
                    stopping=self._stopping,
                )

            session = conducting if me is not None else None
            consume(self._job, log=log, metrics=metrics, progress=self._progress, stopping=self._stopping, session=session)
            self._end(Ending.STOPPED, "asked to stop")
        except RefusedError as error:
            self._end(Ending.REFUSED, str(error))
        except FencedError as error:
            self._end(Ending.FENCED, str(error))
        except Exception as error:
            self._end(Ending.FAILED, repr(error))
            raise

    def _end(self, ending: Ending, words: str) -> None:
        self._words, self._ending = words, ending


class Reading:
    """One lane inside an actor: it reads on a thread of its own, and ends when anything is wrong."""

    def __init__(self, job: str, share: Share, generation: str, begins: tuple[Mapping[TopicPartition, int], Aside], conductor: Any) -> None:
        """Begin at once; `job` is an IngestJob as JSON, and `conductor` Ray's handle of the consuming actor."""
        self._job = IngestJob.model_validate_json(job)
        self._stopping = threading.Event()
        self._ended: str | None = None
        work = (share, generation, begins, conductor)
        threading.Thread(target=self._read, args=work, name="lane-reader", daemon=True).start()

    def ended(self) -> str | None:
        """Why it has ended; empty when it was asked to, None while it goes on."""
        return self._ended

    def stop(self) -> None:
        """Ask it to hand over what it has read and end."""
        self._stopping.set()

    def _read(self, share: Share, generation: str, begins: tuple[Mapping[TopicPartition, int], Aside], conductor: Any) -> None:
        log = json_log(self._job)

        def offer(written: Written) -> None:
            ray.get(conductor.offer.remote(generation, written))

        try:
            metrics, progress = Metrics(self._job.model, RayMeters(), lane=share.index), Progress()
            lane = Lane(self._job, share, begins, offer, log)
            Session(self._job, lane, log=log, metrics=metrics, progress=progress, stopping=self._stopping).run()
            self._ended = ""
        except Exception as error:  # noqa: BLE001 (the conductor is told, and begins all lanes again)
            self._ended = f"lane {share.index} of {share.of}: {words_of(error, self._job)}"


class _Hands:
    """Lanes as actors that end with the conductor's own."""

    def __init__(self, job: IngestJob, conductor: Any) -> None:
        self._job = job
        self._conductor = conductor
        self._lanes: list[Any] = []
        self._asked: dict[Any, tuple[int, float]] = {}
        self._next = 0.0
        self._over: set[int] = set()
        self._stopping = False

    def start(self, generation: str, positions: Mapping[TopicPartition, int], aside: Aside) -> None:
        """Start every lane of a generation."""
        made = ray.remote(Reading).options(num_cpus=CPUS, max_restarts=0)
        shares = [Share(index=index, of=self._job.consumers) for index in range(self._job.consumers)]
        words = self._job.model_dump_json()
        self._lanes = [made.remote(words, share, generation, (dict(positions), dict(aside)), self._conductor) for share in shares]

    def check(self) -> int:
        """How many lanes go on; asks each of them every second, and does not wait for the answers."""
        now = time.monotonic()
        if now >= self._next:
            waiting = {index for index, _ in self._asked.values()}
            for index, lane in enumerate(self._lanes):
                if index not in waiting | self._over:
                    self._asked[lane.ended.remote()] = (index, now)
            self._next = now + _ASK_EVERY_S
        ready, _ = ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0) if self._asked else ([], [])
        for answer in ready:
            index, _ = self._asked.pop(answer)
            self._hear(index, answer)
        late = [index for index, at in self._asked.values() if now - at > _SILENT_S]
        if late:
            raise LaneEndedError(f"lane {late[0]} of {len(self._lanes)}: no answer for {_SILENT_S:g} s")
        return len(self._lanes) - len(self._over)

    def _hear(self, index: int, answer: Any) -> None:
        try:
            words: str | None = ray.get(answer)
        except RayError as error:
            raise LaneEndedError(f"lane {index} of {len(self._lanes)}: {type(error).__name__}") from error
        if words is None:
            return
        if words or not self._stopping:
            raise LaneEndedError(words or f"lane {index} of {len(self._lanes)} ended by itself")
        self._over.add(index)

    def ask_to_stop(self) -> None:
        """Ask every lane to hand over what it has read and end."""
        self._stopping = True
        for lane in self._lanes:
            lane.stop.remote()

    def end(self) -> None:
        """End those that are left."""
        for lane in self._lanes:
            ray.kill(lane)
        self._lanes = []
