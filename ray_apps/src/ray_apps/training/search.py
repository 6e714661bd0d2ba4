"""A search for hyperparameters with Ray Tune: trials drawn by the seed, measured on a part of the training data held out for them.

Nothing that a version's metrics rest on is seen: the newest interactions are put aside first, and the trials are measured on the newest
of the rest. The first trial is what the job asks for, so that a search never ends with less by its own measure.
"""

import copy
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ray_apps.algorithms import Algorithms
from ray_apps.algorithms.hyperparameters import Value
from ray_apps.algorithms.recommender import Fitting, Recommender
from ray_apps.evaluation.measuring import measure
from ray_apps.evaluation.splits import Split, by_time
from ray_apps.stores.objects import Store, open_store
from ray_apps.stores.snapshots import open_snapshot
from ray_apps.training.catalogue import read_described
from ray_apps.training.dataset import Dataset, read_dataset
from ray_apps.training.fitter import fitter_of
from ray_apps.training.measuring import LEAST_TEST_USERS, asked_of
from ray_apps.training.refusals import Refusal, TrainingRefused
from ray_apps.training.resources import resources, threads
from ray_apps.training.searched import read_search, write_search
from recsys_schemas.train_job import TrainJob
from recsys_schemas.version_card import RUNS_FOLDER, SearchReport, Trial

METRIC = "ndcg@10"
_SEEDED = 0x5EA2C4
"""Keeps the search's draws apart from those of fits with the same seed."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Where a search draws a hyperparameter from: evenly by its logarithm; whole numbers where it is a whole number."""

    low: float
    high: float

    def drawn(self, chance: np.random.Generator, *, whole: bool) -> Value:
        """One value, rounded to three figures, so that it can be written down."""
        value = math.exp(chance.uniform(math.log(self.low), math.log(self.high)))
        return round(value) if whole else float(f"{value:.3g}")


RANGES: Mapping[str, Mapping[str, Range]] = {
    "ALS": {
        "factors": Range(low=32, high=192),
        "alpha": Range(low=0.3, high=10),
        "regularization": Range(low=1, high=100),
    },
    "IALS": {
        "factors": Range(low=48, high=192),
        "regularization": Range(low=0.002, high=0.02),
        "unobserved": Range(low=0.05, high=1),
        "exponent": Range(low=0.5, high=1),
    },
    "ItemItem": {"neighbours": Range(low=10, high=500)},
}
"""What is searched, by algorithm: ranges around what did well on MovieLens data; the guide lists them."""


def drawn(job: TrainJob, algorithm: type[Recommender], asked: Mapping[str, Value]) -> list[dict[str, Value]]:
    """The trials, a function of the job alone: what it asks for, then draws of all that it leaves open."""
    assert job.search is not None
    ranges = {name: each for name, each in RANGES[algorithm.name].items() if name not in job.hyperparameters}
    chance = np.random.default_rng([job.seed, _SEEDED])
    trials = [dict(asked)]
    for _ in range(job.search.max_trials - 1):
        found = {name: each.drawn(chance, whole=isinstance(algorithm.parameters[name].default, int)) for name, each in ranges.items()}
        trials.append({**asked, **found})
    return trials


def searchable(job: TrainJob) -> None:
    """Whether there is anything to search.

    Raises:
        TrainingRefused: the algorithm has no ranges.
    """
    if job.search is not None and job.algorithm not in RANGES:
        words = f"training.search: {job.algorithm!r} has no ranges to search; use one of {', '.join(sorted(RANGES))}, or leave search out"
        raise TrainingRefused(Refusal.BAD_JOB, words)


def best(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the highest value, the first of equals; None when none was finished."""
    finished = [trial for trial in trials if trial.value is not None]
    return max(finished, key=lambda trial: trial.value or 0.0, default=None)


def settled(job: TrainJob, report: SearchReport) -> TrainJob:
    """The job with the values of the best trial; as it was when none was finished."""
    found = best(report.trials)
    return job if found is None else job.model_copy(update={"hyperparameters": dict(found.hyperparameters)})


def searched(job: TrainJob, algorithms: Algorithms) -> TrainJob:
    """Search once for a version, on the Ray cluster that this process has joined, and return the job with what was found.

    Raises:
        TrainingRefused: there is nothing to search, or too little data to measure trials on.
    """
    if job.search is None:
        return job
    searchable(job)
    store = open_store(job.storage_uri)
    report = read_search(store, job.version)
    if report is None:
        report = _run(job, store, algorithms)
        write_search(store, job.version, report)
    return settled(job, report)


def _run(job: TrainJob, store: Store, algorithms: Algorithms) -> SearchReport:
    dataset = read_dataset(
        open_snapshot(store, job.snapshot_sequence), read_described(store, job.catalogue), half_life=job.history_half_life
    )
    split = validation(dataset, job)
    algorithm = algorithms[job.algorithm]
    trials = drawn(job, algorithm, asked_of(job, algorithms)[job.algorithm])
    logger.info("SearchBegins", extra={"version": job.version, "trials": len(trials), "users": int(split.users.size)})
    found = _tuned(job, store, algorithm, split, trials)
    for number, trial in enumerate(found):
        logger.info("Trial", extra={"version": job.version, "trial": number, "value": trial.value, "seconds": round(trial.seconds, 2)})
    return SearchReport(metric=METRIC, split=f"of the training part: {split.words}", trials=found)


def validation(dataset: Dataset, job: TrainJob) -> Split:
    """The training part, split once more.

    Raises:
        TrainingRefused: too few users are left to measure on.
    """
    outer = by_time(dataset.interactions, job.seed, dataset.organic)
    split = by_time(outer.train, job.seed, dataset.organic[~outer.held])
    if split.users.size < LEAST_TEST_USERS:
        words = (
            f"training.search: {split.users.size} users can be measured on within the training part; at least {LEAST_TEST_USERS} are needed"
        )
        raise TrainingRefused(Refusal.INSUFFICIENT_DATA, f"{words}; send more events, or leave search out")
    return split


def tried(algorithm: type[Recommender], values: Mapping[str, Value], job: TrainJob, split: Split) -> float:
    """What one trial reaches."""
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 — training only

    with threadpool_limits(1):
        model = fitter_of(job, Fitting(threads=threads(job), gpu=job.resources_per_worker.gpu > 0)).fit(algorithm, split.train, values)
        return float(measure(model.scores, model.scores_many, split).per_user[METRIC].per_user.mean())


def _tuned(job: TrainJob, store: Store, algorithm: type[Recommender], split: Split, trials: Sequence[Mapping[str, Value]]) -> list[Trial]:
    """Run the trials on the cluster. Those that had not begun or ended in time, or failed, have no value."""
    import ray  # noqa: PLC0415 — seconds to import
    from ray import tune  # noqa: PLC0415

    assert job.search is not None
    shared = ray.put(split)

    def trial(config: dict[str, Any]) -> dict[str, Any]:
        started = time.perf_counter()
        mine = copy.deepcopy(ray.get(shared))  # arrays in the object store are read-only, which implicit's kernels do not take
        value = tried(algorithm, trials[config["trial"]], job, mine)
        return {"value": value, "seconds": time.perf_counter() - started}

    tuner = tune.Tuner(
        tune.with_resources(trial, {name.lower() if name != "memory" else name: each for name, each in resources(job).items()}),
        param_space={"trial": tune.grid_search(list(range(len(trials))))},
        tune_config=tune.TuneConfig(max_concurrent_trials=job.search.parallel_trials, time_budget_s=job.search.max_seconds),
        run_config=tune.RunConfig(
            name=f"{job.version}-search", storage_path=store.path(RUNS_FOLDER), storage_filesystem=store.files, verbose=0
        ),
    )
    found: dict[int, Trial] = {}
    for result in tuner.fit():
        number = int((result.config or {})["trial"])
        metrics = result.metrics or {}
        message = "" if result.error is None else str(result.error).strip()[-300:]
        value, seconds = metrics.get("value"), float(metrics.get("seconds", 0.0))
        found[number] = Trial(hyperparameters=dict(trials[number]), value=value, seconds=seconds, message=message)
    late = "it had not begun when the search's time was over"
    return [found.get(number) or Trial(hyperparameters=dict(each), message=late) for number, each in enumerate(trials)]
