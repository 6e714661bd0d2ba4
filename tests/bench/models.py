"""Our ALS against `implicit` alone: train seconds and CPU milliseconds per user, same parameters, same data, same run.

Run it as `DATA=folder python -m bench.models`: the folder holds MovieLens' ratings.csv; without DATA, users with planted tastes are drawn.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from ray_apps.algorithms import ALGORITHMS
from ray_apps.algorithms.als import ALS
from ray_apps.algorithms.hyperparameters import Hyperparameters, checked
from ray_apps.algorithms.interactions import Interactions
from ray_apps.evaluation.measuring import LONGEST
from ray_apps.evaluation.ranking import best
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import open_snapshot
from ray_apps.training.dataset import read_dataset
from recsys_dev.figures import tell
from unit.ray_apps.training import planted

ROUNDS = 5
USERS = 200
SEED = 42
THREADS = 1


def interactions() -> tuple[str, Interactions]:
    """What both learn from, and its name."""
    given = os.environ.get("DATA")
    rows = {"rate": planted.ratings(Path(given))} if given else {"watch": planted.tastes(users=2000, items=1000, events=40)}
    with tempfile.TemporaryDirectory() as folder:
        snapshot = open_snapshot(open_store(planted.snapshot(Path(folder), rows)), 1)
        known = read_dataset(snapshot).interactions
    name = Path(given).name if given else "planted tastes"
    return f"{name}: {len(known):,} interactions, {known.n_users:,} users, {known.n_items:,} items", known


def cpu_ms(answer: Callable[[int], object], users: int) -> float:
    """CPU milliseconds of one answer, one user after another."""
    answer(0)
    started = time.thread_time()
    for user in range(users):
        answer(user)
    return (time.thread_time() - started) * 1000 / users


def ours(known: Interactions, values: Hyperparameters) -> tuple[float, float]:
    """Train seconds, and ms of one user's best 20 by fold-in from the history."""
    started = time.perf_counter()
    model = ALS.fit(known, values, SEED)
    seconds = time.perf_counter() - started
    histories = known.histories()

    def answer(user: int) -> object:
        history, weights = histories.of(user)
        return best(model.scores(history, weights), LONGEST, history)

    return seconds, cpu_ms(answer, min(USERS, known.n_users))


def theirs(known: Interactions, values: Hyperparameters, *, fold_in: bool) -> tuple[float, float]:
    """The same of implicit: `recommend` from the stored user vector, or with `recalculate_user`."""
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415 - timed apart from its import

    started = time.perf_counter()
    confidence = known.histories().matrix(known.n_items)
    confidence.data = (1 + float(values["alpha"]) * confidence.data).astype(np.float32)
    model = AlternatingLeastSquares(
        factors=int(values["factors"]),
        regularization=float(values["regularization"]),
        iterations=int(values["iterations"]),
        num_threads=THREADS,
        random_state=SEED,
    )
    model.fit(confidence, show_progress=False)
    seconds = time.perf_counter() - started

    def answer(user: int) -> object:
        return model.recommend(user, confidence[user], N=LONGEST, recalculate_user=fold_in)

    return seconds, cpu_ms(answer, min(USERS, known.n_users))


def measure() -> dict[str, dict[str, float]]:
    """Medians over rounds that take turns, so that what else the machine does falls on all alike."""
    name, known = interactions()
    values = checked("ALS", ALGORITHMS["ALS"].parameters, {})
    sys.stdout.write(f"{name}; {values}; {THREADS} thread; median of {ROUNDS} rounds\n")
    ways = {
        "ours, fold-in": lambda: ours(known, values),
        "implicit, fold-in": lambda: theirs(known, values, fold_in=True),
        "implicit, stored vector": lambda: theirs(known, values, fold_in=False),
    }
    seen: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    with threadpool_limits(1):
        for _ in range(ROUNDS):
            for way, run in ways.items():
                seen[way].append(run())
    return {
        way: {"train_seconds": statistics.median(s for s, _ in each), "ms_per_user": statistics.median(ms for _, ms in each)}
        for way, each in seen.items()
    }


def main() -> None:
    """Print the table."""
    tell("bench", f"training ALS on {Path(os.environ['DATA']).name if os.environ.get('DATA') else 'planted tastes'}", measure())


if __name__ == "__main__":
    main()
