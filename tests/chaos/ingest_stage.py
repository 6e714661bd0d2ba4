"""One stage of a storm: fresh topics and a fresh store, events that flow, consumers that come and go, and the comparison after each."""

import json
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ingest_child
import pyarrow.parquet as pq
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from ingest_traffic import Traffic

from ray_apps.ingest.verify import Verification, verify
from ray_apps.stores.objects import Store, open_store
from ray_apps.stores.snapshots import latest_manifest
from recsys_schemas.train_job import IngestJob, ModelIdentity, TopicToRead

COMMIT_S = 240.0
"""A commit must come within this, whatever was done before."""
DRAIN_S = 300.0


class NotExactError(Exception):
    """Snapshot ∪ dead letters is not what the topics hold."""


def wait_until(condition: Callable[[], bool], what: str, limit_s: float, pause_s: float = 0.01) -> float:
    """Wait for a condition; returns the seconds that it took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > limit_s:
            raise TimeoutError(f"{what}: not within {limit_s:g} s")
        time.sleep(pause_s)
    return time.monotonic() - began


@dataclass(slots=True, kw_only=True)
class Stage:
    """A job on real brokers and a folder of its own."""

    job: IngestJob
    folder: Path
    store: Store
    traffic: Traffic
    twin: str = ""
    children: list[Any] = field(default_factory=list[Any])
    verified: int = 0

    def start(self, *, clock: str = "", gated: bool = False) -> Any:
        child = ingest_child.start(self.job.model_dump_json(), self.log, twin=self.twin, clock=clock, gated=gated)
        self.children.append(child)
        return child

    @property
    def store_path(self) -> str:
        return self.job.storage_uri.removeprefix("file://")

    @property
    def log(self) -> Path:
        return self.folder / "consumer.log"

    def said(self, word: str) -> int:
        """How often the consumers have said a word."""
        return self.log.read_text(errors="replace").count(word) if self.log.exists() else 0

    def sequence(self) -> int:
        newest = latest_manifest(self.store)
        return newest.sequence if newest else -1

    def commit_after(self, sequence: int, what: str) -> float:
        """Wait for a commit; returns the seconds that it took."""
        return wait_until(lambda: self.sequence() > sequence, f"a commit {what} (see {self.log})", COMMIT_S)

    def check(self, when: str) -> None:
        """Compare everything that is covered now; nothing of it may be missing, there twice, changed or made up.

        Raises:
            NotExactError: with what was found.
        """
        if latest_manifest(self.store) is None:
            return
        found = verify(self.store, self.job)
        self.verified += 1
        if not found.exact:
            raise NotExactError(f"{when}: {_told(found)}")
        for file in Path(self.store_path).glob("*/20*/*_events.parquet"):
            pq.read_metadata(file)  # raises where a file is there by its name, but not whole

    def finish(self, when: str) -> Verification:
        """Let a consumer read to the end, end it in peace, and compare all.

        Raises:
            NotExactError: with what was found.
        """
        sent = self.traffic.stop()
        if sent.errors:
            raise RuntimeError(f"traffic: {sent.errors[0]}")
        child = self.start()

        def covered() -> bool:
            newest = latest_manifest(self.store)
            return child.exitcode is not None or (newest is not None and newest.all_rows + newest.dead_letters >= sent.committed)

        try:
            wait_until(covered, "everything covered", DRAIN_S, pause_s=0.05)
        finally:
            child.terminate()
            child.join(120)
        self.check(when)
        found = verify(self.store, self.job)
        there = found.rows + found.dead_letters
        if found.uncovered or not sent.committed <= there <= sent.committed + sent.unknown:
            raise NotExactError(f"{when}, at the end: {_told(found)}; written {sent.committed}, and perhaps {sent.unknown} more")
        return found

    def end(self) -> None:
        self.traffic.stop()
        for child in self.children:
            if child.is_alive():
                child.kill()
            child.join()


def _told(found: Verification) -> str:
    return json.dumps({name: getattr(found, name) for name in found.__slots__})


@contextmanager
def stage(servers: str, folder: Path, number: int, seed: int, *, twin: str = "", bursts_per_s: float = 8.0) -> Generator[Stage]:
    """Set a stage up, and clear it whatever happens."""
    name = f"storm-{folder.parent.name}-{number}"
    folder.mkdir(parents=True)
    topics = {f"{name}.watch": "watch", f"{name}.rate": "rate", f"{name}.answered": "responses"}
    job = IngestJob(
        model=ModelIdentity(namespace="storm", name=f"m{number}", uid=f"{seed:04d}{number:04d}"),
        bootstrap_servers=servers.split(","),
        topics=[TopicToRead(topic=topic, event_type=kind) for topic, kind in topics.items()],
        dead_letter_topic=f"{name}.dead",
        storage_uri=f"file://{folder}/store",
        roll_max_records=200,
        roll_max_seconds=0.1,
    )
    admin = AdminClient({"bootstrap.servers": servers})
    replicas = min(3, len(admin.list_topics(timeout=120).brokers))
    settings = {"min.insync.replicas": "2"} if replicas == 3 else {}
    for made in admin.create_topics([NewTopic(topic, 3, replicas, config=settings) for topic in (*topics, job.dead_letter_topic)]).values():
        made.result(timeout=120)
    traffic = Traffic(servers, topics, seed + number, bursts_per_s=bursts_per_s, burst=20)
    traffic.start()
    there = Stage(job=job, folder=folder, store=open_store(job.storage_uri), traffic=traffic, twin=twin)
    try:
        yield there
    finally:
        there.end()
        for gone in admin.delete_topics([*topics, job.dead_letter_topic]).values():
            gone.exception(timeout=120)
