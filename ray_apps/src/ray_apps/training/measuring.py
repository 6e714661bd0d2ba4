"""The candidate, its baselines and the champion, measured on the same held-out users."""

import time
from dataclasses import dataclass

from ray_apps.algorithms import Algorithms
from ray_apps.algorithms.hyperparameters import HyperparameterError, checked
from ray_apps.algorithms.recommender import Recommender
from ray_apps.evaluation.measuring import Measured, measure
from ray_apps.evaluation.splits import Split, by_time
from ray_apps.stores.registry import LoadedVersion
from ray_apps.training.champion import as_champion
from ray_apps.training.dataset import Dataset
from ray_apps.training.refusals import Refusal, TrainingRefused
from recsys_schemas.train_job import TrainJob
from recsys_schemas.version_card import Evaluation

LEAST_TEST_USERS = 5
"""With fewer users to measure on, a run is refused: its numbers would say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All evaluations, the candidate's first, what they were measured on, and the candidate's hyperparameters as used."""

    hyperparameters: dict[str, float]
    evaluations: list[Evaluation]
    split: Split


def asked_of(job: TrainJob, algorithms: Algorithms) -> dict[str, dict[str, float]]:
    """The algorithms to fit, the asked one first, each with its hyperparameters: those that the job gives and defaults.

    A hyperparameter goes to every algorithm that takes it.

    Raises:
        TrainingRefused: an algorithm is unknown, a hyperparameter is taken by none or out of range.
    """
    names = list(dict.fromkeys([job.algorithm, *job.baselines]))
    for name in names:
        if name not in algorithms:
            raise TrainingRefused(Refusal.BAD_JOB, f"algorithm: {name!r} is unknown; use one of {', '.join(sorted(algorithms))}")
    taken = {parameter for each in algorithms.values() for parameter in each.parameters}
    stray = sorted(set(job.hyperparameters) - taken)
    if stray:
        words = f"hyperparameters.{stray[0]}: {job.hyperparameters[stray[0]]!r} is taken by no algorithm; use {', '.join(sorted(taken))}"
        raise TrainingRefused(Refusal.BAD_JOB, words)
    try:
        return {name: _own(job, algorithms[name]) for name in names}
    except HyperparameterError as error:
        raise TrainingRefused(Refusal.BAD_JOB, str(error)) from error


def _own(job: TrainJob, algorithm: type[Recommender]) -> dict[str, float]:
    given = {name: value for name, value in job.hyperparameters.items() if name in algorithm.parameters}
    return checked(algorithm.name, algorithm.parameters, given)


def compare(job: TrainJob, dataset: Dataset, algorithms: Algorithms, champion: LoadedVersion | None) -> Comparison:
    """Fit each algorithm on the training part and measure it, then the champion, all on the same users.

    The champion learned from all interactions of its own snapshot, so it may have seen some that are held out here, which the candidate
    measured has not: the comparison leans to the champion's side, never to the candidate's.

    Raises:
        TrainingRefused: the job cannot be done, or there are too few users to measure on.
    """
    asked = asked_of(job, algorithms)
    split = by_time(dataset.interactions, job.seed)
    if split.users.size < LEAST_TEST_USERS:
        words = f"snapshot {dataset.manifest.sequence}: {split.users.size} users liked something both before and after the split in time; "
        raise TrainingRefused(Refusal.INSUFFICIENT_DATA, words + f"at least {LEAST_TEST_USERS} are needed to measure on; send more events")
    measured: list[tuple[Evaluation, Measured]] = []
    for name, hyperparameters in asked.items():
        measured.append(_fitted(algorithms[name], hyperparameters, job, split))
    if champion is not None:
        measured.append(_standing(champion, job, dataset, split))
    first = measured[0][1]
    return Comparison(
        hyperparameters=asked[job.algorithm],
        evaluations=[
            evaluation.model_copy(update={"difference": first.minus(values, job.seed)}) if values is not first else evaluation
            for evaluation, values in measured
        ],
        split=split,
    )


def _fitted(algorithm: type[Recommender], hyperparameters: dict[str, float], job: TrainJob, split: Split) -> tuple[Evaluation, Measured]:
    started = time.perf_counter()
    model = algorithm.fit(split.train, hyperparameters, job.seed)
    seconds = time.perf_counter() - started
    values = measure(model.scores, model.scores_many, split, split.train.histories().select(split.users))
    evaluation = Evaluation(
        name=algorithm.name,
        role="candidate" if algorithm.name == job.algorithm else "baseline",
        train_seconds=seconds,
        inference_ms_per_user=values.ms_per_user,
        size_bytes=sum(array.nbytes for array in model.arrays().values()),
        metrics=values.estimates(job.seed),
    )
    return evaluation, values


def _standing(version: LoadedVersion, job: TrainJob, dataset: Dataset, split: Split) -> tuple[Evaluation, Measured]:
    champion = as_champion(version, dataset.item_ids)
    values = measure(champion.scores, champion.scores_many, split, split.train.histories().select(split.users))
    evaluation = Evaluation(
        name=version.card.version,
        role="champion",
        train_seconds=0.0,
        inference_ms_per_user=values.ms_per_user,
        size_bytes=sum(file.size_bytes for name, file in version.card.files.items() if name.startswith("model.")),
        metrics=values.estimates(job.seed),
    )
    return evaluation, values
