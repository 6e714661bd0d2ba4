"""A conductor and its lanes as processes, without Ray: what the actors of `ray_apps.ingest.actors` do, each to be killed by itself."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

import ingest_child
from prometheus_client import CollectorRegistry

from ray_apps.ingest.commits import Written
from ray_apps.ingest.consumer import EXIT_FENCED, Runs, consume, json_log
from ray_apps.ingest.grounds import Aside
from ray_apps.ingest.lanes import Conductor, Desk, Lane, LaneEndedError, StaleOfferError
from ray_apps.ingest.metrics import Metrics, RegistryMeters
from ray_apps.ingest.reading import Share
from ray_apps.ingest.session import Progress, Session
from ray_apps.ingest.tables import FencedError
from ray_apps.stores.snapshots import TopicPartition
from recsys_schemas.train_job import IngestJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a conductor asks the yard for: a generation of lanes."""

    job: str
    generation: str
    count: int
    begins: tuple[Mapping[TopicPartition, int], Aside]
    desk: str
    """Address where they hand over what they wrote."""


class Yard:
    """Starts lanes for conductors, as children of the storm's own process: it knows them, and they outlive a conductor that is killed."""

    def __init__(self, log: Path, twin: str) -> None:
        self.generations = 0
        self.newest: list[Any] = []
        """Lanes of the newest generation: `multiprocessing.Process`."""
        self._all: list[Any] = []
        self._log = log
        self._twin = twin
        self._door = Listener(family="AF_UNIX", authkey=_key())
        threading.Thread(target=self._serve, name="yard", daemon=True).start()

    def conduct(self, job: IngestJob) -> Any:
        """Start a consumer of `job.consumers` lanes: a `multiprocessing.Process`."""
        words = (job.model_dump_json(), str(self._log), self._twin, str(self._door.address))
        child = ingest_child.Child(target=_conduct, args=words, daemon=True)
        child.start()
        return child

    def end(self) -> None:
        """End every lane that is left."""
        self._door.close()
        for lane in self._all:
            lane.kill()
            lane.join()

    def _serve(self) -> None:
        while True:
            try:
                asked = self._door.accept()
            except OSError:
                return  # closed
            with asked, suppress(EOFError, OSError):  # a conductor that was killed as it asked
                self._start(asked.recv())
                asked.send([lane.pid for lane in self.newest])

    def _start(self, orders: Orders) -> None:
        made = [
            ingest_child.Child(target=_read, args=(orders, index, str(self._log), self._twin), daemon=True) for index in range(orders.count)
        ]
        for lane in made:
            lane.start()
        self._all += made
        self.newest, self.generations = made, self.generations + 1


def _key() -> bytes:
    """Shared with children: pickles are taken from nobody else."""
    return bytes(multiprocessing.current_process().authkey)


def _read(orders: Orders, index: int, log: str, twin: str) -> None:
    """One lane, as `Reading` is."""
    ingest_child.prepare(log, twin)
    job, stopping = IngestJob.model_validate_json(orders.job), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    with Client(orders.desk, authkey=_key()) as desk:
        desk.send(orders.generation)

        def offer(written: Written) -> None:
            desk.send(written)
            if refused := desk.recv():
                raise StaleOfferError(refused)

        say, metrics = json_log(job), Metrics(job.model, RegistryMeters(CollectorRegistry()), lane=index)
        lane = Lane(job, Share(index=index, of=orders.count), orders.begins, offer, say)
        try:
            Session(job, lane, log=say, metrics=metrics, progress=Progress(), stopping=stopping).run()
        except StaleOfferError as error:
            say("lane refused", error=str(error), lane=index)
            sys.exit(EXIT_FENCED)


def _conduct(words: str, log: str, twin: str, yard: str) -> None:
    """A consumer, as `Consuming` is."""
    ingest_child.prepare(log, twin)
    job, stopping, desk = IngestJob.model_validate_json(words), threading.Event(), Desk()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    say, metrics, progress = json_log(job), Metrics(job.model, RegistryMeters(CollectorRegistry())), Progress()
    hands = Hands(job, desk, yard)

    def conducting(held: dict[str, int]) -> Runs:
        return Conductor(job=job, hands=hands, desk=desk, held=held, log=say, metrics=metrics, progress=progress, stopping=stopping)

    session = conducting if job.consumers > 1 else None
    try:
        consume(job, log=say, metrics=metrics, progress=progress, stopping=stopping, session=session)
    except FencedError as error:
        say("fenced", error=str(error))
        sys.exit(EXIT_FENCED)


@dataclass(slots=True)
class Hands:
    """The conductor's lanes, by the ids of their processes."""

    job: IngestJob
    desk: Desk
    yard: str
    _pids: list[int] = field(default_factory=list[int])
    _stopping: bool = False
    _door: Listener = field(default_factory=lambda: Listener(family="AF_UNIX", authkey=_key()))

    def __post_init__(self) -> None:
        threading.Thread(target=self._serve, name="desk", daemon=True).start()

    def start(self, generation: str, positions: Mapping[TopicPartition, int], aside: Aside) -> None:
        begins = (dict(positions), dict(aside))
        desk = str(self._door.address)
        orders = Orders(job=self.job.model_dump_json(), generation=generation, count=self.job.consumers, begins=begins, desk=desk)
        with Client(self.yard, authkey=_key()) as asked:
            asked.send(orders)
            self._pids = asked.recv()

    def check(self) -> int:
        alive = self._alive()
        if len(alive) < len(self._pids) and not self._stopping:
            raise LaneEndedError(f"{len(self._pids) - len(alive)} of {len(self._pids)} lanes ended")
        return len(alive)

    def ask_to_stop(self) -> None:
        self._stopping = True
        for pid in self._alive():
            os.kill(pid, signal.SIGTERM)

    def end(self) -> None:
        """One that is stopped stands for a lane out of reach: it is given up, and may wake at any time."""
        for pid in self._alive():
            with suppress(OSError):
                if ingest_child.state_of(pid) != "T":
                    os.kill(pid, signal.SIGKILL)

    def _alive(self) -> list[int]:
        return [pid for pid in self._pids if Path(f"/proc/{pid}").exists()]

    def _serve(self) -> None:
        while True:
            with suppress(EOFError, OSError):  # a lane that was killed as it came
                threading.Thread(target=self._hear, args=(self._door.accept(),), daemon=True).start()

    def _hear(self, lane: Connection) -> None:
        with lane, suppress(EOFError, OSError):
            generation = lane.recv()
            while True:
                lane.send(self._take(generation, lane.recv()))

    def _take(self, generation: str, written: Written) -> str:
        try:
            self.desk.offer(generation, written)
        except Exception as error:  # noqa: BLE001 (the lane is told)
            return f"{type(error).__name__}: {error}"
        return ""
