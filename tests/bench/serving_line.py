"""What tests and benchmarks of real serving share: versions written as training writes them, the Serve config as the operator writes it."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_apps.stores.objects import Store
from ray_apps.stores.registry import VersionContents, write_arrays, write_card
from recsys_schemas.serving_record import ServingArguments
from recsys_schemas.snapshot import SnapshotManifest
from recsys_schemas.version_card import FileDigest, VersionCard, digest_of

TOKENS = {"reader": "may-ask", "writer": "may-send", "operator": "may-look"}
EVEN = {"RAY_worker_niceness": "0"}
"""Settings of a head as the product has them: at Ray's usual 15 whoever serves would starve beside a load generator."""
Arrays = dict[str, NDArray[np.generic]]


def good_arrays(items: int, factors: int, seed: int) -> Arrays:
    """ALS arrays that score any history: random vectors, the inverse Gram matrix that belongs to them."""
    vectors = np.random.default_rng(seed).normal(size=(items, factors)).astype(np.float32)
    wide = vectors.astype(np.float64)
    gram_inverse = np.linalg.inv(wide.T @ wide + 10 * np.eye(factors))
    return {"item_factors": vectors, "gram_inverse": gram_inverse, "trust": np.array([2.0, 0.0, 1.0])}


def arrays_not_finite(items: int) -> Arrays:
    """ALS arrays that give NaN."""
    return {"item_factors": np.full((items, 2), np.nan, dtype=np.float32), "gram_inverse": np.eye(2), "trust": np.array([2.0, 0.0, 1.0])}


def arrays_that_raise(items: int) -> Arrays:
    """ALS arrays whose system is singular for a history of one item: scoring raises LinAlgError."""
    return {"item_factors": np.ones((items, 1), dtype=np.float32), "gram_inverse": -np.eye(1), "trust": np.array([1.0, 0.0, 1.0])}


def write_files(store: Store, name: str, model: Arrays, *, items: int, users: int, liked: int = 1) -> dict[str, FileDigest]:
    """Write the arrays of a version whose user `user-i` liked the `liked` items from the i-th on; no card yet."""
    indices = np.concatenate([np.sort((np.arange(liked) + user) % items) for user in range(users)]).astype(np.int32)
    popularity = np.bincount(indices, minlength=items)
    contents = VersionContents(
        item_ids=[f"item-{i:06d}" for i in range(items)],
        user_ids=[f"user-{i:06d}" for i in range(users)],
        history_indptr=np.arange(users + 1, dtype=np.int64) * liked,
        history_indices=indices,
        history_weights=np.ones(indices.size, dtype=np.float32),
        popularity=popularity.astype(np.int64),
        model=model,
    )
    return write_arrays(store, name, contents)


def write_version(store: Store, name: str, model: Arrays, *, items: int, users: int, liked: int = 1) -> str:
    """Write an ALS version whose user `user-i` liked the `liked` items from the i-th on; return its digest."""
    files = write_files(store, name, model, items=items, users=users, liked=liked)
    digest = digest_of({file: about.sha256 for file, about in files.items()})
    now = datetime.now(UTC)
    snapshot = SnapshotManifest(sequence=1, cluster_id="test", tables=[], offsets=[], rows=users * liked, dead_letters=0, committed_at=now)
    write_card(
        store,
        VersionCard(
            version=name,
            model="shop/movies",
            digest=digest,
            algorithm="ALS",
            hyperparameters={},
            seed=1,
            snapshot=snapshot,
            split="none: made by a test",
            users=users,
            items=items,
            interactions=users * liked,
            test_users=0,
            evaluations=[],
            files=files,
            libraries={},
            created_at=now,
        ),
    )
    return digest


def arm(version: str, digest: str, share: int, variant: str = "stable") -> dict[str, Any]:
    """One arm of a record."""
    return {"version": version, "digest": digest, "variant": variant, "share": share}


def record(epoch: int, *arms: dict[str, Any]) -> dict[str, Any]:
    """A serving record that knows TOKENS."""
    tokens = {hashlib.sha256(token.encode()).hexdigest(): role for role, token in TOKENS.items()}
    return {"epoch": epoch, "salt": "movies-2026", "arms": list(arms), "tokens": tokens, "attribution_seconds": 15}


OURS = "ray_apps.serving.app:build"


def application(arguments: ServingArguments, value: dict[str, Any], replicas: int = 2, import_path: str = OURS) -> dict[str, Any]:
    """One application of the Serve config, as the operator writes it."""
    return {
        "name": arguments.name,
        "route_prefix": f"/{arguments.name}",
        "import_path": import_path,
        "args": arguments.model_dump(mode="json"),
        "deployments": [{"name": "Recommender", "num_replicas": replicas, "user_config": value}],
    }
