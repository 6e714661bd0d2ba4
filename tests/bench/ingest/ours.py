"""Ingest as it ships: from an empty store to manifests, each commit durable and with its offsets."""

import sys
import threading
import time
from pathlib import Path

from bench.ingest.measured import Cost, Measured
from bench.ingest.topics import bad_of, dead_letters_of, flow
from bench.ingest.visible import Publication
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import latest_manifest
from recsys_schemas.snapshot import LATEST_MANIFEST, MANIFEST_FOLDER, SnapshotManifest
from recsys_schemas.train_job import IngestJob, ModelIdentity, TopicToRead

ROLL_RECORDS = 50_000
"""The resource's default."""
ROLL_S = 30.0
"""The resource's default."""
SHORTEST_ROLL_S = 1.0
"""The least that the resource takes."""
_ASSIGNED, _COMMITTED = b'"event": "partitions assigned"', b'"event": "committed"'
_BEFORE_KILL_S = 4.0


def job(servers: str, topic: str, folder: Path, roll_s: float) -> IngestJob:
    return IngestJob(
        model=ModelIdentity(namespace="bench", name=folder.name, uid="00000000"),
        bootstrap_servers=servers.split(","),
        topics=[TopicToRead(topic=topic, event_type="watch")],
        dead_letter_topic=dead_letters_of(topic),
        storage_uri=f"file://{folder}",
        roll_max_records=ROLL_RECORDS,
        roll_max_seconds=roll_s,
    )


def start(asked: IngestJob, log: Path) -> Measured:
    Path(asked.storage_uri.removeprefix("file://")).mkdir(parents=True, exist_ok=True)
    return Measured([sys.executable, "-m", "ray_apps.ingest.consumer", "--job", asked.model_dump_json()], log)


def catch_up(servers: str, topic: str, events: int, folder: Path) -> Cost:
    """Read the whole topic; done when a manifest covers it."""
    asked = job(servers, topic, folder, ROLL_S)
    latest = folder / LATEST_MANIFEST
    with start(asked, folder.with_suffix(".log")) as child:
        child.wait(lambda: child.says(_ASSIGNED), every_s=0.005)
        began, seen = time.time(), 0

        def is_done() -> bool:
            nonlocal seen
            changed = latest.stat().st_ctime_ns if latest.exists() else 0
            if changed == seen:  # looking must cost next to nothing: the cores are shared
                return False
            seen = changed
            return covered(asked) == events

        child.wait(is_done)
        newest = latest_manifest(open_store(asked.storage_uri))
        cost = child.end(seen / 1e9 - began, ask=True)
    bad = bad_of(events)
    if newest is None or (newest.rows, newest.dead_letters) != (events - bad, bad):
        raise RuntimeError(f"wanted {events - bad} rows and {bad} dead letters, got {newest}")
    return cost


def covered(asked: IngestJob) -> int:
    """How many records the newest manifest accounts for."""
    newest = latest_manifest(open_store(asked.storage_uri))
    return newest.rows + newest.dead_letters if newest else 0


def publications(folder: Path) -> list[Publication]:
    """Each manifest, and when it was in place."""
    found: list[Publication] = []
    for path in folder.joinpath(MANIFEST_FOLDER).glob("0*.json"):
        manifest = SnapshotManifest.model_validate_json(path.read_bytes())
        covers = {each.partition: each.next_offset for each in manifest.offsets}
        found.append(Publication(at_ms=path.stat().st_ctime_ns / 1e6, covers=covers))
    return found


def restart(servers: str, topic: str, rate: int, folder: Path, log: Path) -> float:
    """Seconds from kill -9, under a steady flow, to the first commit of the process that is started next."""
    asked = job(servers, topic, folder, SHORTEST_ROLL_S)
    stop = threading.Event()
    producer = threading.Thread(target=flow, args=(servers, topic, rate, 120.0, lambda: not stop.is_set()))
    producer.start()
    try:
        with start(asked, log.with_suffix(".before.log")) as first:
            first.wait(lambda: first.says(_COMMITTED))
            time.sleep(_BEFORE_KILL_S)
            killed = first.kill()
        with start(asked, log) as second:
            return second.wait(lambda: second.says(_COMMITTED), every_s=0.005) - killed
    finally:
        stop.set()
        producer.join()
