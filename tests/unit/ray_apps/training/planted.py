"""Events of users with planted tastes, and snapshots made of events: what the tests of training stand on."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake
from pyarrow import csv

from recsys_schemas.event_fields import EVENTS
from recsys_schemas.snapshot import LATEST_MANIFEST, SnapshotManifest, TableVersion, manifest_path
from recsys_schemas.train_job import ModelIdentity, TrainJob

CSV_RATINGS = "ratings.csv"
MADE_AT = datetime(2026, 1, 1, tzinfo=UTC)
"""When snapshots were committed."""


def tastes(users: int = 600, items: int = 300, genres: int = 10, events: int = 30, seed: int = 3) -> pa.Table:
    """Watches: each user likes two genres and draws four in five items from them, popular ones more often. Times mix the users."""
    chance = np.random.default_rng(seed)
    genre_of = chance.integers(genres, size=items)
    pull = 1 / (1 + chance.permutation(items)) ** 0.3
    rows: list[tuple[str, str]] = []
    for user in range(users):
        liked = np.isin(genre_of, chance.choice(genres, size=2, replace=False))
        odds = pull * np.where(liked, 4.0 * (~liked).sum() / max(liked.sum(), 1), 1.0)
        drawn = chance.choice(items, size=min(events, items), replace=False, p=odds / odds.sum())
        rows += [(f"user-{user:04d}", f"item-{item:04d}") for item in drawn]
    times = 1_700_000_000_000 + chance.permutation(len(rows)) * 60_000
    return pa.table(
        {
            "event_id": [f"e{number}" for number in range(len(rows))],
            "user_id": [user for user, _ in rows],
            "item_id": [item for _, item in rows],
            "timestamp": pa.array(times, pa.int64()),
            "fraction": pa.array(chance.uniform(0.3, 1.0, size=len(rows)), pa.float64()),
        }
    )


def ratings(folder: Path) -> pa.Table:
    """Rate events from a folder in MovieLens' layout: `ratings.csv` with userId, movieId, rating, timestamp (seconds)."""
    rows = csv.read_csv(folder / CSV_RATINGS)
    return pa.table(
        {
            "event_id": pa.array([f"r{number}" for number in range(rows.num_rows)]),
            "user_id": rows["userId"].cast(pa.string()),
            "item_id": rows["movieId"].cast(pa.string()),
            "timestamp": pa.array(rows["timestamp"].to_numpy() * 1000, pa.int64()),
            "rating": rows["rating"].cast(pa.float64()),
        }
    )


def snapshot(folder: Path, tables: dict[str, pa.Table], sequence: int = 1) -> str:
    """Write tables and a manifest into a folder; returns its storage URI."""
    versions: list[TableVersion] = []
    for event_type, rows in sorted(tables.items()):
        write_deltalake(folder / event_type, rows, mode="overwrite")
        version = len(list((folder / event_type / "_delta_log").glob("*.json"))) - 1
        versions.append(TableVersion(event_type=event_type, path=event_type, version=version, rows=rows.num_rows))
    manifest = SnapshotManifest(
        sequence=sequence,
        cluster_id="test",
        tables=versions,
        offsets=[],
        rows=sum(version.rows for version in versions if version.event_type in EVENTS),
        dead_letters=0,
        committed_at=MADE_AT,
    )
    (folder / "manifests").mkdir(parents=True, exist_ok=True)
    (folder / manifest_path(sequence)).write_text(manifest.model_dump_json())
    (folder / LATEST_MANIFEST).write_text(manifest.model_dump_json())
    return f"file://{folder}"


def job(uri: str, version: str = "movies-000001", **changes: object) -> TrainJob:
    """A small job on a snapshot."""
    asked = TrainJob(
        model=ModelIdentity(namespace="default", name="movies", uid="u-1"),
        version=version,
        storage_uri=uri,
        snapshot_sequence=1,
        algorithm="ALS",
        hyperparameters={},
        baselines=["Popularity", "ItemItem"],
        seed=42,
    )
    return asked.model_copy(update=changes)
