"""Fits that can use a GPU, beside the same on one CPU: `make bench-gpu`, on a machine with CUDA.

ALS takes `implicit`'s kernel (`rmm-cu13` beside CUDA 13's libraries), TwoTower takes JAX's device (`jax[cuda13]`). Sums run in another
order on a GPU, so the bytes are others; what is claimed is that the GPU is really used, and that its model is as good: NDCG@10 of the same
users within MARGIN, paired. It ends with 1 when that does not hold, with 2 where there is no GPU to use: nothing is passed over in silence.

It needs numpy, scipy, pydantic, threadpoolctl, rich and what fits need; no Ray, no Kafka. Without a virtual environment:
`PYTHONPATH=tests:dev/src:schemas/src:ray_apps/src python3 -m bench.gpu`.
"""

import argparse
import contextlib
import importlib.util
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms import ALGORITHMS
from ray_apps.algorithms.interactions import Content, Interactions
from ray_apps.algorithms.recommender import Fitting
from ray_apps.evaluation.confidence import difference
from ray_apps.evaluation.quiz import held_out_score, quiz_of
from ray_apps.evaluation.ranking import Value
from ray_apps.evaluation.splits import Split, by_time
from recsys_dev.figures import tell

SEED = 42
GENRES = 40
MARGIN = 0.01
"""NDCG@10 that the GPU's model may have less."""
VALUES: dict[str, dict[str, float | int | str]] = {
    "ALS": {"factors": 128, "iterations": 15},
    "TwoTower": {"iterations": 5, "batchSize": 4096},
}


def tastes(users: int, items: int, each: int) -> Interactions:
    """Users who like two genres each, with popular items more often; items have a genre, and times are drawn."""
    chance = np.random.default_rng(SEED)
    genre = np.sort(chance.integers(GENRES, size=items))
    starts = np.searchsorted(genre, np.arange(GENRES + 1))
    own = chance.integers(GENRES, size=(users, 2))
    user = np.repeat(np.arange(users), each)
    wanted = own[user, chance.integers(2, size=user.size)]
    span = np.maximum(starts[wanted + 1] - starts[wanted], 1)
    near = starts[wanted] + (span * chance.random(user.size) ** 2).astype(np.int64)
    item = np.where(chance.random(user.size) < 0.8, near, chance.integers(items, size=user.size)) % items
    pairs = np.unique(user.astype(np.int64) * items + item)
    content = Content(
        indptr=np.arange(items + 1),
        indices=genre.astype(np.int32),
        weights=np.ones(items, dtype=np.float32),
        features=tuple(f"genre:{number:02d}" for number in range(GENRES)),
    )
    return Interactions(
        users=(pairs // items).astype(np.int32),
        items=(pairs % items).astype(np.int32),
        weights=chance.uniform(0.3, 1.0, pairs.size).astype(np.float32),
        times=chance.permutation(pairs.size).astype(np.int64),
        n_users=users,
        n_items=items,
        content=content,
    )


def why_not(name: str) -> str | None:
    """Why an algorithm has no GPU here; None when it has one."""
    if name == "ALS":
        from implicit import gpu  # noqa: PLC0415 — a GPU's libraries, loaded when they are asked for

        return None if gpu.HAS_CUDA else "implicit finds no CUDA: install rmm-cu13 where CUDA 13's libraries are found"
    if importlib.util.find_spec("jax") is None:
        return "JAX is not installed: see the extra `neural` of ray-apps"
    import jax  # noqa: PLC0415 — an extra

    return None if jax.default_backend() == "gpu" else f"JAX's device is {jax.default_backend()}: it needs its extra cuda13"


@contextlib.contextmanager
def on(name: str, *, gpu: bool) -> Generator[None]:
    """Where JAX computes meanwhile; ALS is told by its `Fitting`."""
    if name == "ALS":
        yield
        return
    import jax  # noqa: PLC0415 — an extra

    with jax.default_device(jax.devices("gpu" if gpu else "cpu")[0]):
        yield


def bytes_on_gpu(name: str) -> int:
    """The most memory of the GPU that JAX has held; -1 where only its driver knows."""
    if name == "ALS":
        return -1
    import jax  # noqa: PLC0415 — an extra

    return int((jax.devices("gpu")[0].memory_stats() or {}).get("peak_bytes_in_use", 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """One fit: how long the first and the second took (the first also loads and compiles), and how good it is, by user."""

    first_s: float
    second_s: float
    ndcg: NDArray[np.float64]


def fitted(name: str, split: Split, *, gpu: bool) -> Fit:
    """Fit twice with the same seed, and ask the second."""
    times = [time.perf_counter()]
    with on(name, gpu=gpu):
        ALGORITHMS[name].fit(split.train, VALUES[name], SEED, Fitting(gpu=gpu))
        times.append(time.perf_counter())
        model = ALGORITHMS[name].fit(split.train, VALUES[name], SEED, Fitting(gpu=gpu))
        times.append(time.perf_counter())
    took = np.diff(times).tolist()
    assert all(np.isfinite(array).all() for array in model.arrays().values() if array.dtype.kind == "f"), f"{name}: not finite"
    return Fit(first_s=took[0], second_s=took[1], ndcg=held_out_score(model.scores_many, quiz_of(split, SEED, 2000)).per_user)


def compared(name: str, split: Split) -> tuple[dict[str, Any], bool]:
    """Figures of both, and whether the GPU's model is as good as the CPU's."""

    theirs, ours = fitted(name, split, gpu=False), fitted(name, split, gpu=True)
    apart = difference(Value(per_user=ours.ndcg), Value(per_user=theirs.ndcg), SEED)
    used = bytes_on_gpu(name)
    figures = {
        "CPU s": theirs.second_s,
        "GPU s": ours.second_s,
        "CPU/GPU": theirs.second_s / ours.second_s,
        "GPU s, first": ours.first_s,
        "NDCG@10, CPU": float(theirs.ndcg.mean()),
        "NDCG@10, GPU": float(ours.ndcg.mean()),
        "GPU less CPU": f"{apart.value:+.4f} [{apart.low:+.4f}, {apart.high:+.4f}]",
        "GPU MB": round(used / 1e6) if used >= 0 else "",
    }
    return figures, apart.low > -MARGIN and used != 0


def main() -> int:
    """Measure what can use a GPU here."""
    parser = argparse.ArgumentParser(prog="bench.gpu", description=__doc__)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--each", type=int, default=60, help="interactions of a user, about")
    asked = parser.parse_args()
    split = by_time(tastes(asked.users, asked.items, asked.each), SEED)
    found: dict[str, dict[str, Any]] = {}
    held: list[bool] = []
    for name in VALUES:
        why = why_not(name)
        if why is not None:
            found[name] = {"not run": why}
            continue
        found[name], holds = compared(name, split)
        held.append(holds)
    tell("gpu", f"fits on a GPU: {len(split.train):,} interactions, {asked.users:,} users, {asked.items:,} items", found)
    if not held:
        sys.stdout.write("no GPU was used: nothing is claimed\n")
        return 2
    return 0 if all(held) and len(held) == len(VALUES) else 1


if __name__ == "__main__":
    sys.exit(main())
