"""The candidate, its baselines and the champion, measured on the same held-out users."""

import time
from dataclasses import dataclass, replace

from ray_apps.algorithms import Algorithms
from ray_apps.algorithms.hyperparameters import HyperparameterError, checked
from ray_apps.algorithms.hyperparameters import Value as Hyperparameter
from ray_apps.algorithms.onboarding import HALF_LIFE_DAYS
from ray_apps.algorithms.recent_popularity import recent_popularity
from ray_apps.algorithms.recommender import Recommender
from ray_apps.evaluation.counterfactual import unknown_answers
from ray_apps.evaluation.measuring import Beside, Measured, measure
from ray_apps.evaluation.onboarded import welcome_of
from ray_apps.evaluation.quiz import Quizzed, held_out_score, quiz_of, take
from ray_apps.evaluation.ranking import Value
from ray_apps.evaluation.scrambled import leaks, scrambled
from ray_apps.evaluation.slices import slices_of
from ray_apps.evaluation.splits import Split, by_time, since
from ray_apps.stores.registry import LoadedVersion
from ray_apps.training.champion import as_champion, seen
from ray_apps.training.curve import Curve, curve_of
from ray_apps.training.dataset import Dataset
from ray_apps.training.fitter import Fitter
from ray_apps.training.refusals import Refusal, TrainingRefused
from recsys_schemas.train_job import AUTO, TrainJob
from recsys_schemas.version_card import Contender, CurvePoint, Evaluation

UNASKED = ("Popularity", "RecentPopularity")
"""Baselines that stand for themselves with newcomers; all others answer them as serving does, whether they say what they like or not."""
LEAST_TEST_USERS = 5
"""With fewer users to measure on, a run is refused: its numbers would say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All evaluations, the candidate's first, what they were measured on, and the candidate with its hyperparameters as used.

    `tried`: what it was chosen from, when AUTO was asked for.
    """

    algorithm: str
    hyperparameters: dict[str, Hyperparameter]
    evaluations: list[Evaluation]
    split: Split
    quizzed: Quizzed
    """How well the candidate's measured fit knows what it was fitted on, and what was held out."""
    scrambled: Value
    """How well a fit on exchanged labels knows what was held out: NDCG@10 of the same users."""
    curve: tuple[CurvePoint, ...] = ()
    """How the candidate's measured fit came along, step by step."""
    tried: tuple[Contender, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fair:
    """What a champion is compared with: the candidate as measured, and how to fit it again."""

    split: Split
    beside: Beside
    candidate: Measured
    algorithm: type[Recommender]
    hyperparameters: dict[str, Hyperparameter]


def asked_of(job: TrainJob, algorithms: Algorithms) -> dict[str, dict[str, Hyperparameter]]:
    """The algorithms to fit, the asked one first, each with its hyperparameters: those that the job gives and defaults.

    A hyperparameter goes to the algorithm that is asked for; one that it does not take goes to the baselines that do. So a baseline keeps
    its own defaults where it shares a name: it is a yardstick.

    With AUTO only the baselines: the candidate is chosen from what is found in the data.

    Raises:
        TrainingRefused: an algorithm is unknown, a hyperparameter is taken by none or out of range.
    """
    if job.algorithm == AUTO and job.hyperparameters:
        words = f"hyperparameters: {sorted(job.hyperparameters)} are set, but {AUTO} tries each algorithm with its own defaults"
        raise TrainingRefused(Refusal.BAD_JOB, f"{words}; remove them, or name the algorithm")
    names = [name for name in dict.fromkeys([job.algorithm, *job.baselines]) if name != AUTO]
    for name in names:
        if name not in algorithms:
            raise TrainingRefused(Refusal.BAD_JOB, f"algorithm: {name!r} is unknown; use one of {', '.join(sorted(algorithms))}")
    taken = {parameter for each in algorithms.values() for parameter in each.parameters}
    stray = sorted(set(job.hyperparameters) - taken)
    if stray:
        words = f"hyperparameters.{stray[0]}: {job.hyperparameters[stray[0]]!r} is taken by no algorithm; use {', '.join(sorted(taken))}"
        raise TrainingRefused(Refusal.BAD_JOB, words)
    try:
        return {name: _own(job, algorithms[name], algorithms.get(job.algorithm)) for name in names}
    except HyperparameterError as error:
        raise TrainingRefused(Refusal.BAD_JOB, str(error)) from error


def _own(job: TrainJob, algorithm: type[Recommender], candidate: type[Recommender] | None) -> dict[str, Hyperparameter]:
    taken = set(algorithm.parameters) - (set() if candidate in (None, algorithm) else set(candidate.parameters))
    given = {name: value for name, value in job.hyperparameters.items() if name in taken}
    return checked(algorithm.name, algorithm.parameters, given)


def compare(job: TrainJob, dataset: Dataset, algorithms: Algorithms, champion: LoadedVersion | None, fitter: Fitter) -> Comparison:
    """Fit each algorithm on the training part and measure it on the same users; then the champion beside the candidate.

    When the champion has seen some of what is held out, the two are compared on another split, of what it has not seen, with a fit of
    their own (see `evaluation.splits.since`). The champion's metrics and differences then rest on other users than the rest of the
    card: each says on how many.

    Raises:
        TrainingRefused: the job cannot be done, or there are too few users to measure on.
    """
    asked = asked_of(job, algorithms)
    split = by_time(dataset.interactions, job.seed, dataset.organic)
    if split.users.size < LEAST_TEST_USERS:
        words = f"snapshot {dataset.manifest.sequence}: {split.users.size} users liked something new of their own accord after the split; "
        raise TrainingRefused(Refusal.INSUFFICIENT_DATA, words + f"at least {LEAST_TEST_USERS} are needed to measure on; send more events")
    if (known := leaks(split)) is not None:
        words = f"snapshot {dataset.manifest.sequence}, split ({split.words}): {known}"
        raise TrainingRefused(Refusal.BAD_JOB, f"{words}; no number would be true, and no other run would do better: report it")
    curve = curve_of(split, job.seed)
    fitted = [
        _timed(algorithms[name], hyperparameters, fitter, split, curve if name == job.algorithm else None)
        for name, hyperparameters in asked.items()
    ]
    beside = _beside(job, dataset, split)
    models = [(model, seconds, _measured(model, split, beside, served=model.name == job.algorithm)) for model, seconds in fitted]
    first = models[0][2]
    quiz = quiz_of(split, job.seed)
    quizzed = take(models[0][0].scores_many, quiz)
    control = algorithms[job.algorithm].fit(scrambled(split.train, job.seed), asked[job.algorithm], job.seed)
    evaluations = [_evaluation(job, each, first) for each in models]
    if champion is not None:
        fair = Fair(split=split, beside=beside, candidate=first, algorithm=algorithms[job.algorithm], hyperparameters=asked[job.algorithm])
        evaluations.append(_standing(champion, job, dataset, fair, fitter))
    used = asked[job.algorithm]
    return Comparison(
        algorithm=job.algorithm,
        hyperparameters=used,
        evaluations=evaluations,
        split=split,
        quizzed=quizzed,
        scrambled=held_out_score(control.scores_many, quiz),
        curve=tuple(curve.points),
    )


def _measured(model: Recommender, split: Split, beside: Beside, *, served: bool) -> Measured:
    return measure(model.scores, model.scores_many, split, beside, welcomes=served or model.name not in UNASKED)


def _beside(job: TrainJob, dataset: Dataset, split: Split) -> Beside:
    log = None if dataset.answers is None else unknown_answers(dataset.answers, split, job.seed)
    return Beside(
        slices=slices_of(split, dataset.groups),
        log=log,
        welcome=welcome_of(split, dataset.interactions),
        strangers=recent_popularity(split.train, HALF_LIFE_DAYS),
    )


def _timed(
    algorithm: type[Recommender], hyperparameters: dict[str, Hyperparameter], fitter: Fitter, split: Split, curve: Curve | None
) -> tuple[Recommender, float]:
    started = time.perf_counter()
    model = fitter.fit(algorithm, split.train, hyperparameters, curve=curve)
    return model, time.perf_counter() - started - (curve.seconds if curve else 0.0)


def _evaluation(job: TrainJob, each: tuple[Recommender, float, Measured], candidate: Measured) -> Evaluation:
    model, seconds, values = each
    return Evaluation(
        name=model.name,
        role="candidate" if values is candidate else "baseline",
        train_seconds=seconds,
        inference_ms_per_user=values.ms_per_user,
        size_bytes=sum(array.nbytes for array in model.arrays().values()),
        metrics=values.estimates(job.seed),
        difference={} if values is candidate else candidate.minus(values, job.seed),
        slices=values.slice_estimates(job.seed),
        abstained=dict(values.abstained),
        slice_difference={} if values is candidate else candidate.slice_minus(values, job.seed),
    )


def _standing(version: LoadedVersion, job: TrainJob, dataset: Dataset, fair: Fair, fitter: Fitter) -> Evaluation:
    champion = as_champion(version, dataset)
    known = seen(champion, dataset)
    split, beside, ours = fair.split, fair.beside, fair.candidate
    if known[split.held].any():
        split = since(dataset.interactions, known, job.seed, dataset.organic)
        # It has seen nothing that is held out here, so what it knows may be begun from.
        model = fitter.fit(fair.algorithm, split.train, fair.hyperparameters, champion)
        beside = _beside(job, dataset, split)
        ours = measure(model.scores, model.scores_many, split, beside)
    values = measure(champion.scores, champion.scores_many, split, replace(beside, strangers=champion.liked_lately()))
    return Evaluation(
        name=version.card.version,
        role="champion",
        train_seconds=0.0,
        inference_ms_per_user=values.ms_per_user,
        size_bytes=sum(file.size_bytes for name, file in version.card.files.items() if name.startswith("model.")),
        metrics=values.estimates(job.seed),
        difference=ours.minus(values, job.seed),
        slices=values.slice_estimates(job.seed),
        abstained=dict(values.abstained),
        slice_difference=ours.slice_minus(values, job.seed),
    )
