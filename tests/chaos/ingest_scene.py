"""Where the chaos of ingest plays: the job, its processes and folder, what is counted, and what a kill left behind."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from ray_apps.ingest.dead_letters import consumer_name, group_id
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import latest_manifest
from recsys_schemas.train_job import IngestJob


@dataclass(slots=True)
class Figures:
    """What a run did and found."""

    kills: int = 0
    kills_in_a_commit: int = 0
    """Kills that left a file, dead letters or a commit without what follows it."""
    left_a_file: int = 0
    left_dead_letters: int = 0
    left_no_manifest: int = 0
    fenced: int = 0
    """Writers stopped until another one had taken over, then woken: each must end with status 3."""
    not_fenced: int = 0
    written: int = 0
    aborted: int = 0
    rows: int = 0
    dead_letters: int = 0
    duplicates: int = 0
    missing: int = 0
    altered: int = 0
    unknown: int = 0
    miscounted: int = 0
    uncovered: int = 0
    restart_s: list[float] = field(default_factory=list)
    """From starting a process to its first commit."""

    @property
    def exact(self) -> bool:
        wrong = self.duplicates + self.missing + self.altered + self.unknown + self.miscounted + self.uncovered + self.not_fenced
        return wrong == 0 and self.rows + self.dead_letters == self.written


@dataclass(slots=True, kw_only=True)
class Arena:
    """A job on real brokers, a folder, and the processes that consume there."""

    job: IngestJob
    folder: Path
    program: tuple[str, ...]
    early: str = "data"
    """The first thing that a cycle touches: the twin's offsets lie beside the tables."""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> subprocess.Popen[bytes]:
        with (self.folder / "consumer.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, *self.program, "--job", self.job.model_dump_json()], stdout=log, stderr=log, start_new_session=True
            )
        self.processes.append(child)
        return child

    def end_all(self) -> None:
        for child in self.processes:
            if child.poll() is None:
                child.kill()
            child.wait()

    def sequence(self) -> int:
        newest = latest_manifest(open_store(self.job.storage_uri))
        return newest.sequence if newest else -1

    def stamps(self, part: str) -> tuple[int, ...]:
        """Modification times of the folders that a part of a commit touches: data, log or manifests."""
        store = self.folder / "store"
        folders = {"data": [*store.glob("*/20*")], "log": [*store.glob("*/_delta_log")], "manifest": [store / "manifests"], "root": [store]}
        return tuple(folder.stat().st_mtime_ns for folder in folders[part] if folder.exists())


def note_what_is_left(arena: Arena, figures: Figures) -> None:
    """A cycle is: dead letters, file, commit, manifest. Count where this one was cut."""
    name = consumer_name(arena.job)
    newest = latest_manifest(open_store(arena.job.storage_uri))
    told = {(each.topic, each.partition): each.next_offset for each in newest.offsets} if newest else {}
    files = letters = manifest = False
    for each in arena.job.topics:
        try:
            table = DeltaTable(f"{arena.job.storage_uri}/{each.event_type}")
        except TableNotFoundError:
            continue
        known = {Path(uri).name for uri in table.file_uris()}
        stamps = [int(path.name.split("_")[0]) for path in (arena.folder / "store" / each.event_type).glob("20*/*.parquet")]
        files |= bool(stamps) and max(stamps) > max((int(path.split("_")[0]) for path in known), default=0)
        covered = [table.transaction_version(f"{name}/{each.topic}-{partition}") or 0 for partition in range(3)]
        letters |= any(end > covered[partition] for partition, end in written_letters(arena.job, each.topic))
        manifest |= any(offset > told.get((each.topic, partition), 0) for partition, offset in enumerate(covered))
    figures.left_a_file += files
    figures.left_dead_letters += letters
    figures.left_no_manifest += manifest
    figures.kills_in_a_commit += files or letters or manifest


def written_letters(job: IngestJob, topic: str) -> list[tuple[int, int]]:
    consumer = Consumer({"bootstrap.servers": ",".join(job.bootstrap_servers), "group.id": group_id(job)})
    try:
        for _ in range(20):
            try:
                places = consumer.committed([TopicPartition(topic, partition) for partition in range(3)], timeout=1.0)
                return [(place.partition, place.offset) for place in places]
            except Exception:  # noqa: BLE001, S112 (the coordinator is being looked for)
                continue
        return []
    finally:
        consumer.close()
