"""IALS on 1, 2 and 4 Ray Train workers, on generated interactions streamed from a snapshot: seconds, speed-up, memory of each worker.

Run it as `python -m bench.scale --interactions 10000000`: events are generated into a Delta table a batch at a time, so neither the
generator nor any worker ever holds them all; each worker decodes its own pieces of it. Each worker has one thread. `cpu` is CPU time of
the fit alone and `cpu speed up` that of one worker over the busiest of several; `read cpu` that of reading, both passes. `empty`, `read`
and `peak` are the most memory that a worker had before the data, after reading its shard, and in all, shared pages included.
"""

import argparse
import hashlib
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import write_deltalake

from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import open_snapshot
from ray_apps.training import board as boards
from ray_apps.training.crew import Order
from ray_apps.training.hands import Foreman
from ray_apps.training.shards import read_catalogue, read_shard
from ray_apps.training.workers import SETTINGS
from recsys_dev import ray as ray_heads
from recsys_dev import runs
from recsys_dev.figures import tell
from recsys_schemas.snapshot import LATEST_MANIFEST, SnapshotManifest, TableVersion, manifest_path
from recsys_schemas.train_job import ModelIdentity, TrainJob

TESTS = Path(__file__).resolve().parents[1]
RUN = TESTS.parent / "build" / "run" / "bench-scale"
BATCH = 1_000_000
PER_USER, PER_ITEM = 100, 500
SEED = 42


def generated(interactions: int) -> Iterator[pa.RecordBatch]:
    """Watches of users with a taste: each half of the time one of a hundred items near their own, else one by popularity."""
    users, items = max(10, interactions // PER_USER), max(10, interactions // PER_ITEM)
    for number, start in enumerate(range(0, interactions, BATCH)):
        chance = np.random.default_rng([SEED, number])
        count = min(BATCH, interactions - start)
        user = chance.integers(users, size=count)
        popular = (items * chance.random(count) ** 3).astype(np.int64)
        near = (user * 7919 + chance.integers(100, size=count)) % items
        item = np.where(chance.random(count) < 0.5, near, popular)
        yield pa.record_batch(
            {
                "user_id": pc.binary_join_element_wise("u", pa.array(user).cast(pa.string()), ""),
                "item_id": pc.binary_join_element_wise("i", pa.array(item).cast(pa.string()), ""),
                "timestamp": pa.array(1_700_000_000_000 + start + np.arange(count)),
                "fraction": pa.array(chance.uniform(0.2, 1.0, size=count)),
            }
        )


def snapshot(folder: Path, interactions: int) -> str:
    """Generate a snapshot of one table; return its storage URI."""
    batches = generated(interactions)
    first = next(batches)
    write_deltalake(folder / "watch", pa.RecordBatchReader.from_batches(first.schema, iter([first])))
    written = 0
    for batch in batches:
        written += 1
        write_deltalake(folder / "watch", pa.RecordBatchReader.from_batches(first.schema, iter([batch])), mode="append")
    manifest = SnapshotManifest(
        sequence=1,
        cluster_id="bench",
        tables=[TableVersion(event_type="watch", path="watch", version=written, rows=interactions)],
        offsets=[],
        rows=interactions,
        dead_letters=0,
        committed_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    for name in (manifest_path(1), LATEST_MANIFEST):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(manifest.model_dump_json())
    return f"file://{folder}"


def peak_mb() -> float:
    """The most memory that this process has had, shared pages included, in millions of bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def unheard(folder: Path) -> None:
    """The fit alone is measured: what is kept costs a copy of files each epoch."""
    del folder


def work(config: dict[str, Any]) -> None:
    """One worker: stream the shard, fit, and write down what it took."""
    from ray import train  # noqa: PLC0415 - in the worker only

    job, context = TrainJob.model_validate_json(config["job"]), train.get_context()
    hands = Foreman(job=job, board=config["board"], rank=context.get_world_rank(), workers=context.get_world_size())
    with hands.at_work():
        logging.getLogger("ray_apps").setLevel(logging.WARNING)
        began, cpu_began, empty = time.perf_counter(), time.process_time(), peak_mb()
        known = open_snapshot(open_store(job.storage_uri), 1)
        shard = read_shard(known, read_catalogue(known, hands.group), hands.group)
        held = sum(
            rows.indptr.nbytes + rows.indices.nbytes + rows.weights.nbytes for side in (shard.users, shard.items) for rows in side.values()
        )
        read, read_cpu, loaded = time.perf_counter() - began, time.process_time() - cpu_began, peak_mb()
        hands.group.exchange(None)
        started, cpu = time.perf_counter(), time.process_time()
        crew = hands.crew(shard)
        crew.report = unheard
        arrays = crew.work(Order(values=config["values"], seed=SEED))
        figures = {
            "read_s": read,
            "read_cpu_s": read_cpu,
            "fit_s": time.perf_counter() - started,
            "cpu_s": time.process_time() - cpu,
            "shard_mb": held / 1e6,
            "factors_mb": max(shard.n_users, shard.n_items) * int(config["values"]["factors"]) * 4 / 1e6,
            "empty_mb": empty,
            "read_mb": loaded,
            "peak_mb": peak_mb(),
        }
        everyone = hands.group.exchange((figures, hashlib.sha256(arrays["item_factors"].tobytes()).hexdigest()))
        if hands.rank == 0:
            open_store(job.storage_uri).write(f"figures-{hands.workers}.json", repr(everyone).encode())


def measured(uri: str, workers: int, values: dict[str, float]) -> list[tuple[dict[str, float], str]]:
    """What each of so many workers needed."""
    import ast  # noqa: PLC0415

    from ray.train import RunConfig, ScalingConfig  # noqa: PLC0415 - seconds to import
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer  # noqa: PLC0415

    job = TrainJob(
        model=ModelIdentity(namespace="bench", name="scale", uid="u"),
        version=f"scale-{workers}",
        storage_uri=uri,
        snapshot_sequence=1,
        algorithm="IALS",
        hyperparameters={},
        baselines=[],
        seed=SEED,
        num_workers=workers,
    )
    store = open_store(uri)
    DataParallelTrainer(
        work,
        train_loop_config={"job": job.model_dump_json(), "board": boards.start(), "values": values},
        scaling_config=ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(name=job.version, storage_path=store.path("runs"), storage_filesystem=store.files),
    ).fit()
    return ast.literal_eval(store.read(f"figures-{workers}.json").decode())


def table(seen: dict[int, list[tuple[dict[str, float], str]]]) -> dict[str, dict[str, Any]]:
    """By number of workers: the slowest worker's seconds, the largest worker's memory."""
    first = max(figures["cpu_s"] for figures, _ in next(iter(seen.values())))
    rows: dict[str, dict[str, Any]] = {}
    for workers, each in seen.items():
        worst = {name: max(figures[name] for figures, _ in each) for name in each[0][0]}
        rows[str(workers)] = {
            **{name: round(value, 1) for name, value in worst.items()},
            "cpu_speed_up": round(first / worst["cpu_s"], 2),
            "bytes": each[0][1][:6],
        }
    return rows


def memory(seen: dict[int, list[tuple[dict[str, float], str]]]) -> dict[str, dict[str, Any]]:
    """What each worker held."""
    names = ("empty_mb", "read_mb", "peak_mb", "shard_mb", "factors_mb")
    return {
        f"{workers} workers, worker {rank}": {name: round(figures[name], 1) for name in names}
        for workers, each in seen.items()
        for rank, (figures, _) in enumerate(each)
    }


def main() -> None:
    """Generate, start a head, measure, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interactions", type=int, default=10_000_000)
    parser.add_argument("--workers", type=lambda text: [int(each) for each in text.split(",")], default=[1, 2, 4])
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    asked = parser.parse_args()
    os.environ.update(SETTINGS)
    values = {
        "factors": asked.factors,
        "iterations": asked.epochs,
        "regularization": 0.0055,
        "unobserved": 0.5,
        "exponent": 0.75,
        "damping": 0.25,
    }
    folder = Path(tempfile.mkdtemp(prefix="bench-scale-"))
    run_dir, head = runs.claim(RUN), None
    try:
        began = time.perf_counter()
        uri = snapshot(folder, asked.interactions)
        sys.stdout.write(f"generated {asked.interactions:,} interactions in {time.perf_counter() - began:.0f} s\n")
        head = ray_heads.start(run_dir, python_path=[TESTS], progress=print)
        os.environ.update(head.env())
        import ray  # noqa: PLC0415 - after the settings

        ray.init(runtime_env={"env_vars": {"RAY_ADDRESS": os.environ["RAY_ADDRESS"]}})
        seen: dict[int, list[tuple[dict[str, float], str]]] = {}
        for workers in asked.workers:
            seen[workers] = measured(uri, workers, values)
            words = f"IALS on workers: {asked.interactions:,} interactions, {asked.factors} factors, {asked.epochs} epochs"
            tell("scale", words, table(seen))
            tell("scale", f"memory of each worker: {asked.interactions:,} interactions", memory(seen))
        ray.shutdown()
    finally:
        if head is not None:
            head.stop()
        runs.discard(run_dir)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
