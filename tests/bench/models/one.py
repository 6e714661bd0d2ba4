"""One subject, measured in a process of its own.

Splits are measured one after another while the next one is likely to end in time, and what is known is said after each, so that whoever
ends the process keeps what was measured.
"""

import resource
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from threadpoolctl import threadpool_limits

from bench.models.data import leave_one_out
from bench.models.subjects import SEED, Fitted, implicit, subjects, tuned
from ray_apps.algorithms.interactions import Interactions
from ray_apps.evaluation.measuring import measure
from ray_apps.evaluation.splits import Split, by_time

FRESH_SEEDS = (11, 12, 13, 14, 15)
METRICS = ("hr@10", "hr@20", "ndcg@10", "ndcg@20")
HALF_LIFE = 10.0
"""Likes: of `spec.training.historyHalfLife`, chosen on an earlier time split of MovieLens' small set."""
FOR_TUNING = 0.6
"""Share of the time that a grid may take."""


def measured(fit: Callable[[Interactions], Fitted], split: Split) -> dict[str, Any]:
    """What the fit on a split's training part cost, and the metrics of each user."""
    started, worked = time.perf_counter(), time.process_time()
    model = fit(split.train)
    return {"train_s": time.perf_counter() - started, "cpu_s": time.process_time() - worked} | asked(model, split)


def asked(model: Fitted, split: Split) -> dict[str, Any]:
    """What one split says of a model."""
    values = measure(model.scores, model.scores_many, split)
    size = sum(array.nbytes for array in model.arrays().values())  # pyright: ignore[reportAttributeAccessIssue] — every subject has it
    return {
        "ms_per_user": values.ms_per_user,
        "mb": size / 1e6,
        "users": split.users.tolist(),
        "metrics": {name: values.per_user[name].per_user.round(6).tolist() for name in METRICS},
    }


def in_time(liked: Interactions) -> dict[str, Split]:
    """The newest of each user, asked for from histories as they are, and from faded ones, which the ensemble weighs its parts by too."""
    return {"time": by_time(liked, SEED), "time_half_life": by_time(replace(liked, half_life=HALF_LIFE), SEED)}


def tell_figures(name: str, seconds: float, data: tuple[Interactions, Interactions], say: Callable[[dict[str, Any]], None]) -> None:
    """Measure one subject on all ratings and on what is liked, for so many seconds; say after each split what is known."""
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    began = time.monotonic()
    everything, liked = data
    figures: dict[str, Any] = {"time": [], "time_half_life": [], "leave_one_out": [], "tuned": None}
    with threadpool_limits(1):
        fit = subjects()[name]
        if fit is None:
            values, tried = tuned(everything, began + FOR_TUNING * seconds)
            fit, figures["tuned"] = (lambda part: implicit(part, values)), values | {"tried": tried}
        longest = 0.0
        for seed in (None, *FRESH_SEEDS):
            started = time.monotonic()
            if figures["time"] and started - began + longest > seconds:
                break
            splits = in_time(liked) if seed is None else {"leave_one_out": leave_one_out(everything, seed)}
            for protocol, split in splits.items():
                figures[protocol].append(measured(fit, split))
            longest = max(longest, time.monotonic() - started)
            figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            say(figures)
