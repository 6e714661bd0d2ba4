"""Algorithm Auto: try what is quickly trained, on users held out inside the training part, and take the best.

The users that the card's metrics rest on have no say in it: what they went on to like is known neither to the algorithms tried nor to the
choice. How many are tried within the budget depends on the machine; the card says what was tried and what was left out, and repeats a
version from the algorithm that was chosen.
"""

import logging
import time
from dataclasses import dataclass, replace

from ray_apps.algorithms import Algorithms
from ray_apps.algorithms.hyperparameters import Unsuitable, checked
from ray_apps.algorithms.recommender import Fitting, Recommender
from ray_apps.evaluation.measuring import measure
from ray_apps.evaluation.splits import Split, by_time
from ray_apps.training.dataset import Dataset
from ray_apps.training.fitter import Fitter
from ray_apps.training.measuring import LEAST_TEST_USERS
from ray_apps.training.refusals import Refusal, TrainingRefused
from recsys_schemas.train_job import AUTO, TrainJob
from recsys_schemas.version_card import Contender

CANDIDATES = ("RecentPopularity", "Popularity", "ItemItem", "EASE", "ALS", "IALS")
"""In the order in which they are tried, the quickest first; of equals the first is taken."""
METRIC = "ndcg@10"

logger = logging.getLogger(__name__)


class _OutOfTime(Exception):  # noqa: N818 — it says what there is no more of
    """The budget ended while an algorithm with steps was learning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What every algorithm is tried on, and until when."""

    job: TrainJob
    fitter: Fitter
    split: Split
    ends: float

    def hurried(self) -> Fitter:
        """The job's way to fit, alone and only until the budget ends."""

        def tell(_done: int, _of: int) -> None:
            if time.monotonic() >= self.ends:
                raise _OutOfTime

        return replace(self.fitter, fitting=Fitting(threads=self.fitter.fitting.threads, gpu=self.fitter.fitting.gpu, tell=tell))


def settle(job: TrainJob, dataset: Dataset, algorithms: Algorithms, fitter: Fitter) -> tuple[TrainJob, tuple[Contender, ...]]:
    """The job with an algorithm that can be fitted, and what was tried to choose it: nothing, when the job names one.

    Raises:
        TrainingRefused: there are too few users to choose by, or not one algorithm suits the data.
    """
    if job.algorithm != AUTO:
        return job, ()
    outer = by_time(dataset.interactions, job.seed, dataset.organic)
    inner = by_time(outer.train, job.seed, dataset.organic[~outer.held])
    if inner.users.size < LEAST_TEST_USERS:
        words = f"algorithm: {AUTO} has {inner.users.size} users to choose by, at least {LEAST_TEST_USERS} are needed"
        raise TrainingRefused(Refusal.INSUFFICIENT_DATA, f"{words}; name an algorithm, or send more events")
    attempt = Attempt(job=job, fitter=fitter, split=inner, ends=time.monotonic() + job.budget_seconds)
    tried = [_tried(name, algorithms[name], attempt) for name in CANDIDATES if name in algorithms]
    measured = [trial for trial in tried if trial.ndcg10 is not None]
    if not measured:
        words = "; ".join(f"{trial.algorithm}: {trial.outcome}" for trial in tried)
        raise TrainingRefused(Refusal.BAD_JOB, f"algorithm: {AUTO} found none that can be fitted ({words}); name one, or raise the budget")
    best = max(measured, key=lambda trial: trial.ndcg10.value if trial.ndcg10 else 0.0)
    told = tuple(trial.model_copy(update={"outcome": "chosen"}) if trial is best else trial for trial in tried)
    logger.info("AlgorithmChosen", extra={"version": job.version, "chosen": best.algorithm, "tried": [_words(trial) for trial in told]})
    return job.model_copy(update={"algorithm": best.algorithm}), told


def _words(trial: Contender) -> str:
    measured = f"{METRIC} {trial.ndcg10.value:.4f} [{trial.ndcg10.low:.4f}, {trial.ndcg10.high:.4f}], " if trial.ndcg10 else ""
    return f"{trial.algorithm}: {measured}{trial.train_seconds:.2f} s, {trial.outcome}"


def _tried(name: str, algorithm: type[Recommender], attempt: Attempt) -> Contender:
    """Fit and measure one; the first is fitted whatever the budget."""
    job, values = attempt.job, checked(name, algorithm.parameters, {})
    left_out = Contender(algorithm=name, hyperparameters=values, outcome=f"left out: the budget of {job.budget_seconds:g} s was spent")
    started = time.monotonic()
    if started >= attempt.ends and name != CANDIDATES[0]:
        return left_out
    try:
        model = attempt.hurried().fit(algorithm, attempt.split.train, values)
    except _OutOfTime:
        return left_out.model_copy(update={"train_seconds": time.monotonic() - started})
    except Unsuitable as error:
        return left_out.model_copy(update={"outcome": f"left out: {error}"})
    seconds = time.monotonic() - started
    found = measure(model.scores, model.scores_many, attempt.split).estimates(job.seed)[METRIC]
    return Contender(algorithm=name, hyperparameters=values, ndcg10=found, train_seconds=seconds, outcome="not chosen")
