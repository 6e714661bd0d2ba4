"""How tables age: commits a second and the time to open one after 10, 1,000 and 10,000 commits, with upkeep and without.

    python tests/bench/tables.py [--commits 10000]

Each commit is what ingest does: a small Parquet file, durable, published with its offsets, then the manifest. Upkeep runs as the operator
would start it, after each 200 commits. No brokers are needed.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from ray_apps.ingest.columns import table_schema
from ray_apps.ingest.files import write_rows
from ray_apps.ingest.tables import Covered, EventTable
from ray_apps.stores.objects import Store, delta_options, open_store
from ray_apps.stores.snapshots import manifest_of, open_snapshot, sequences, write_manifest
from ray_apps.upkeep.job import run
from recsys_dev.figures import tell
from recsys_schemas.train_job import ModelIdentity, UpkeepJob

WHO = "bench.movies"
UPKEEP_AFTER = 200
LAST = 100
"""Commits a second are those of so many last ones."""


def claim(store: Store) -> EventTable:
    return EventTable.claim(store, "watch", consumer=WHO, topics=["watch"], dead_letter_topic="dead", cluster_id="bench")


def row(offset: int) -> pa.RecordBatch:
    made = {
        "event_id": f"e{offset}",
        "user_id": f"u{offset % 97}",
        "item_id": f"i{offset % 31}",
        "timestamp": offset,
        "fraction": 1.0,
        "request_id": None,
        "_topic": "watch",
        "_partition": 0,
        "_offset": offset,
        "_timestamp": offset,
        "_payload_crc32": offset,
    }
    return pa.RecordBatch.from_pylist([made], schema=table_schema("watch"))


def commit(store: Store, table: EventTable, offset: int) -> None:
    file = write_rows(store, "watch", [row(offset)], time.time())
    table.publish(file, Covered(offsets={("watch", 0): offset + 1}, dead_letters=0, newest_ms=offset))
    write_manifest(store, manifest_of("bench", [table.state]))


def best(do: Callable[[], object]) -> float:
    """Milliseconds of the fastest of three."""
    seconds: list[float] = []
    for _ in range(3):
        began = time.perf_counter()
        do()
        seconds.append(time.perf_counter() - began)
    return min(seconds) * 1000


def aged(store: Store, rate: float) -> dict[str, Any]:
    """What one age of a table shows."""
    uri, options = f"{store.uri}/watch", delta_options()
    opened = DeltaTable(uri, storage_options=options)
    middle = sequences(store)[len(sequences(store)) // 2]
    return {
        "commits_per_s": rate,
        "open_ms": best(lambda: DeltaTable(uri, storage_options=options)),
        "open_and_read_snapshot_ms": best(lambda: open_snapshot(store).rows("watch", ["_offset"])),
        "open_an_older_snapshot_ms": best(lambda: open_snapshot(store, middle)),
        "claim_ms": best(lambda: claim(store)),
        "files": len(opened.file_uris()),
    }


def measure(store: Store, marks: list[int], *, with_upkeep: bool) -> dict[str, dict[str, Any]]:
    job = UpkeepJob(model=ModelIdentity(namespace="bench", name="movies", uid="00000000"), storage_uri=store.uri, run=0, retention_days=30)
    table, times, found = claim(store), list[float](), dict[str, dict[str, Any]]()
    upkeep_s = 0.0
    for count in range(1, max(marks) + 1):
        began = time.perf_counter()
        commit(store, table, count - 1)
        times.append(time.perf_counter() - began)
        if with_upkeep and count % UPKEEP_AFTER == 0:
            began = time.perf_counter()
            run(store, job)
            upkeep_s = time.perf_counter() - began
        if count in marks:
            last = times[-LAST:]
            seen = aged(store, len(last) / sum(last)) | ({"last_upkeep_s": upkeep_s} if with_upkeep else {})
            found[f"{count}_commits{'_with_upkeep' if with_upkeep else ''}"] = seen
            table = claim(store)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="How tables age.")
    parser.add_argument("--commits", type=int, default=10_000, help="the greatest age")
    most = parser.parse_args().commits
    marks = sorted({min(10, most), min(1000, most), most})
    figures: dict[str, dict[str, Any]] = {}
    for with_upkeep in (True, False):
        with tempfile.TemporaryDirectory(prefix="bench-tables-") as folder:
            store = open_store(f"file://{Path(folder).resolve()}/store")
            figures |= measure(store, marks, with_upkeep=with_upkeep)
    tell("bench", "tables", figures)


if __name__ == "__main__":
    main()
