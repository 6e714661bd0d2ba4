"""One subject, measured in a process of its own: `python -m bench.models.one SUBJECT [DATA]` prints its figures as JSON."""

import json
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from bench.models.data import interactions, leave_one_out, read
from bench.models.subjects import SEED, Fitted, implicit, subjects, tuned
from ray_apps.algorithms.interactions import Interactions
from ray_apps.evaluation.confidence import bootstrap
from ray_apps.evaluation.measuring import measure
from ray_apps.evaluation.ranking import Value
from ray_apps.evaluation.splits import Split, by_time

FRESH_SEEDS = (11, 12, 13, 14, 15)
METRICS = ("hr@10", "hr@20", "ndcg@10", "ndcg@20")


def measured(fit: Callable[[Interactions], Fitted], splits: list[Split]) -> dict[str, Any]:
    """Medians of what it cost over the splits, and the metrics over the users of all of them."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in METRICS}
    wall, cpu, ms, size = [], [], [], 0
    for split in splits:
        started, worked = time.perf_counter(), time.process_time()
        model = fit(split.train)
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - worked)
        values = measure(model.scores, model.scores_many, split)
        ms.append(values.ms_per_user)
        size = sum(array.nbytes for array in model.arrays().values())  # pyright: ignore[reportAttributeAccessIssue] — every subject has it
        for name in METRICS:
            found[name].append(values.per_user[name].per_user)
    told = {name: bootstrap(Value(per_user=np.concatenate(each)), SEED) for name, each in found.items()}
    costs = {"train_s": np.median(wall), "cpu_s": np.median(cpu), "ms_per_user": np.median(ms)}
    return {name: float(value) for name, value in costs.items()} | {
        "mb": size / 1e6,
        "users": sum(split.users.size for split in splits),
        "metrics": {name: [estimate.value, estimate.low, estimate.high] for name, estimate in told.items()},
    }


def main() -> None:
    """Print the figures of one subject on both protocols."""
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    name, folder = sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None
    known = read(folder)
    everything, liked = interactions(known, everything=True), interactions(known, everything=False)
    with threadpool_limits(1):
        fit, chosen = subjects()[name], None
        if fit is None:
            values = tuned(everything)
            fit, chosen = (lambda part: implicit(part, values)), values
        figures = {
            "leave_one_out": measured(fit, [leave_one_out(everything, seed) for seed in FRESH_SEEDS]),
            "time": measured(fit, [by_time(liked, SEED)]),
            "tuned": chosen,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    main()
