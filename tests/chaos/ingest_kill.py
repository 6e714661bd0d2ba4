"""Kill the consumer at random moments and look whether every record is in the snapshot or the dead letters, once.

    python tests/chaos/ingest_kill.py --kills 20 --seed 1 [--twin] [--json FILE]

Uses the brokers at KAFKA_BOOTSTRAP_SERVERS, else starts three of its own. Ends with 0 when the product is exact (with --twin:
when the broken twin is caught). Prints a table.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from ingest_scene import Arena, Figures, note_what_is_left
from ingest_traffic import Traffic

from ray_apps.ingest.verify import verify
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import latest_manifest
from recsys_dev import kafka, runs
from recsys_dev.figures import tell
from recsys_schemas.train_job import IngestJob, ModelIdentity, TopicToRead

HERE = Path(__file__).resolve().parent
RUNS = HERE.parents[1] / "build" / "run" / "tests"  # what stands there, `make down` spares while its owner lives
START_S = 240.0
FENCE_S = 120.0
DRAIN_S = 300.0


def wait_until(condition: Callable[[], bool], what: str, limit_s: float, pause_s: float = 0.05) -> float:
    """Wait for a condition; returns the seconds that it took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > limit_s:
            raise TimeoutError(f"{what}: not within {limit_s:g} s")
        time.sleep(pause_s)
    return time.monotonic() - began


def kill_once(arena: Arena, chance: random.Random, figures: Figures) -> None:
    """Start a consumer, kill it somewhere (most often while a commit is under way), and note what the kill left behind."""
    before = arena.sequence()
    child = arena.start()
    moment = chance.choice(["start", "any", arena.early, "data", "data", "log", "log", "manifest"])
    if moment == "start":
        time.sleep(chance.uniform(0.0, 2.5))  # a kill has no condition to wait on: these sleeps are its moment
    else:
        figures.restart_s.append(round(wait_until(lambda: arena.sequence() > before, "a first commit", START_S), 2))
        if moment == "any":
            time.sleep(chance.uniform(0.0, 1.5))
        else:
            seen = arena.stamps(moment)
            wait_until(lambda: arena.stamps(moment) != seen, f"a change of {moment}", START_S, pause_s=0.0005)
            time.sleep(chance.choice([0.0, 0.0, 0.001, 0.003, 0.01]))
    child.kill()
    child.wait()
    figures.kills += 1
    note_what_is_left(arena, figures)


def stop_past_another(arena: Arena, figures: Figures, chance: random.Random) -> None:
    """Stop a writer as a long pause would, let another one take over, wake the first: it must end, and change nothing."""
    before = arena.sequence()
    first = arena.start()
    wait_until(lambda: arena.sequence() > before, "a commit of the first writer", START_S)
    time.sleep(chance.uniform(0.0, 0.5))
    os.kill(first.pid, signal.SIGSTOP)
    at_stop = arena.sequence()
    second = arena.start()
    wait_until(lambda: arena.sequence() > at_stop + 1, "a commit of the second writer", START_S)
    os.kill(first.pid, signal.SIGCONT)
    try:
        fenced = first.wait(FENCE_S) == 3
    except subprocess.TimeoutExpired:
        fenced = False
        first.kill()
    figures.fenced += fenced
    figures.not_fenced += not fenced
    second.kill()
    second.wait()


def drain(arena: Arena, figures: Figures) -> None:
    """Let a consumer read everything to the end, stop it in peace, and compare."""
    store, child = open_store(arena.job.storage_uri), arena.start()

    def covered() -> bool:
        newest = latest_manifest(store)
        if newest is None or newest.rows + newest.dead_letters < figures.written:
            return child.poll() is not None
        return True

    try:
        wait_until(covered, "everything covered", DRAIN_S if arena.program[0] == "-m" else 20.0, pause_s=0.2)
    except TimeoutError as error:
        sys.stderr.write(f"{error}\n")
    child.terminate()
    child.wait(60)
    found = verify(store, arena.job)
    figures.rows, figures.dead_letters, figures.duplicates, figures.missing = found.rows, found.dead_letters, found.repeated, found.missing
    figures.altered, figures.unknown, figures.miscounted, figures.uncovered = (
        found.altered,
        found.unknown,
        found.miscounted,
        found.uncovered,
    )


def run(servers: str, folder: Path, *, kills: int, seed: int, twin: bool = False) -> Figures:
    """Run the whole story on brokers that are there."""
    chance, figures, name = random.Random(seed), Figures(), f"chaos-{os.getpid()}-{seed}{'-twin' if twin else ''}"
    topics = {f"watch-{name}": "watch", f"rate-{name}": "rate"}
    job = IngestJob(
        model=ModelIdentity(namespace="chaos", name=name, uid=f"{seed:08d}"),
        bootstrap_servers=servers.split(","),
        topics=[TopicToRead(topic=topic, event_type=kind) for topic, kind in topics.items()],
        dead_letter_topic=f"dead-{name}",
        storage_uri=f"file://{folder}/store",
        roll_max_records=500,
        roll_max_seconds=0.3,
    )
    admin = AdminClient({"bootstrap.servers": servers})
    replicas = min(3, len(admin.list_topics(timeout=30).brokers))
    for made in admin.create_topics([NewTopic(topic, 3, replicas) for topic in (*topics, job.dead_letter_topic)]).values():
        made.result(timeout=60)
    program = (str(HERE / "ingest_twin.py"),) if twin else ("-m", "ray_apps.ingest.consumer")
    arena, traffic = Arena(job=job, folder=folder, program=program, early="root" if twin else "data"), Traffic(servers, topics, seed)
    traffic.start()
    try:
        for number in range(kills):
            kill_once(arena, chance, figures)
            if not twin and number % 5 == 4:
                stop_past_another(arena, figures, chance)
        sent = traffic.stop()
        figures.written, figures.aborted = sent.committed, sent.aborted
        drain(arena, figures)
    finally:
        traffic.stop()
        arena.end_all()
        admin.delete_topics([*topics, job.dead_letter_topic])
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--twin", action="store_true", help="run the broken twin instead; it must be caught")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    asked = parser.parse_args()
    folder = runs.claim(RUNS / f"ingest-kill-{os.getpid()}")
    existing = kafka.existing()
    brokers = existing or kafka.start(folder / "kafka", progress=print)
    try:
        figures = run(brokers.bootstrap_servers, folder, kills=asked.kills, seed=asked.seed, twin=asked.twin)
    finally:
        if existing is None:
            brokers.stop()
    told = {name: getattr(figures, name) for name in Figures.__slots__} | {"exact": figures.exact}
    tell("chaos-line", "ingest: broken twin" if asked.twin else "ingest", told)
    if asked.json:
        asked.json.write_text(json.dumps(told))
    good = (figures.missing + figures.duplicates > 0) if asked.twin else figures.exact
    if good:
        runs.discard(folder)
    else:
        sys.stdout.write(f"left to look at: {folder}\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
