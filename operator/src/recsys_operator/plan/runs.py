"""Runs: the jobs that make one version and try it, and the status that follows from how they ended."""

from datetime import timedelta

from recsys_operator.plan import gates
from recsys_operator.plan.names import identity, run_prefix
from recsys_operator.state.actions import Action, PublishEvent, StopJob, SubmitJob, WriteVersionStatus
from recsys_operator.state.observed import JobState, JobWord, Observed, Unavailable, VersionState
from recsys_schemas.catalogue import CatalogueSource
from recsys_schemas.train_job import PreflightJob, Search, TrainJob, WorkerResources
from recsys_schemas.v1alpha1.version import Artifact, GateVerdict, MetricValue, Progress, VersionPhase
from recsys_schemas.version_card import REPORT_FILE, VersionCard, version_folder

PREFLIGHT_TRIES = 3
MOST_VERDICTS = 64
SETTLE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(minutes=6)
"""Jobs and files are read at slightly different moments."""


def job_of(observed: Observed, kind: str, version: VersionState, attempt: int) -> JobState | None:
    """The job of one attempt, as the cluster has it."""
    assert not isinstance(observed.ray, Unavailable)
    return observed.ray.jobs.get(f"{run_prefix(kind, observed.model, version.name)}{attempt}")


def trials_failed(observed: Observed, version: VersionState) -> int:
    """Trials that ended without a report."""
    jobs = [job_of(observed, "preflight", version, attempt) for attempt in range(PREFLIGHT_TRIES)]
    return sum(job is not None and over(job, observed) for job in jobs)


def over(job: JobState, observed: Observed) -> bool:
    """Whether a job has ended without leaving what it should: one that succeeded may have ended after its file was looked for."""
    just_now = job.ended_at is not None and observed.now < job.ended_at + SETTLE
    return job.word.ended and not (job.word is JobWord.SUCCEEDED and just_now)


def _train_job(observed: Observed, version: VersionState) -> TrainJob:
    spec = version.spec
    chosen = spec.hyperparameters.model_dump(exclude_none=True, by_alias=True)
    return TrainJob(
        model=identity(observed.model),
        version=version.name,
        storage_uri=spec.storage_uri,
        snapshot_sequence=spec.snapshot.sequence,
        algorithm=spec.algorithm,
        hyperparameters=chosen,
        baselines=list(spec.baselines),
        seed=spec.seed,
        champion=spec.parent,
        num_workers=spec.num_workers,
        resources_per_worker=WorkerResources(**spec.fit.resources_per_worker.model_dump()),
        warm_start=spec.fit.warm_start,
        window_days=spec.fit.window_days,
        replay_fraction=spec.fit.replay_fraction,
        history_half_life=spec.fit.history_half_life,
        search=_search(observed, version),
        budget_seconds=spec.budget_seconds,
        catalogue=CatalogueSource(uri=spec.catalogue.uri) if spec.catalogue else None,
        attribution_seconds=observed.model.spec.rollout.analysis.attribution_seconds,
        group_by=gates.fields_grouped_by(observed.model.spec.gates),
    )


def _search(observed: Observed, version: VersionState) -> Search | None:
    """Half of a run's time is for its search: the version is still to be made after it."""
    asked = version.spec.fit.search
    if asked is None:
        return None
    seconds = observed.model.spec.training.active_deadline_seconds / 2
    return Search(max_trials=asked.max_trials, parallel_trials=asked.parallel_trials, max_seconds=seconds)


def submit(observed: Observed, version: VersionState) -> tuple[Action, ...]:
    """Start the present attempt; if its job is there already, only write that down."""
    attempt = version.status.attempt
    job_id = f"{run_prefix('train', observed.model, version.name)}{attempt}"
    words = f"training run {job_id} on snapshot {version.spec.snapshot.sequence}"
    written = _now(version, VersionPhase.TRAINING, words, started_at=observed.now)
    if job_of(observed, "train", version, attempt) is not None:
        return (written,)
    return SubmitJob(id=job_id, job=_train_job(observed, version)), written


def follow(version: VersionState) -> tuple[Action, ...]:
    """Write down how far the run is, when it says something new."""
    told = version.progress
    if told is None or version.status.phase is not VersionPhase.TRAINING:
        return ()
    left = None if told.seconds_left is None else round(told.seconds_left)
    progress = Progress(step=told.step, of=told.of, seconds_left=left)
    if version.status.started_at is not None and told.told_at < version.status.started_at:
        return ()  # an earlier attempt's last words
    return (
        ()
        if progress == version.status.progress
        else (WriteVersionStatus(name=version.name, status=version.status.model_copy(update={"progress": progress})),)
    )


def stop(observed: Observed, version: VersionState) -> tuple[Action, ...]:
    """The run has taken too long."""
    return (StopJob(id=f"{run_prefix('train', observed.model, version.name)}{version.status.attempt}"),)


def _pause(attempt: int) -> timedelta:
    """5, 10, 20 s and so on, to six minutes at most, as a Kubernetes Job's pods have it."""
    return min(LONGEST_PAUSE, timedelta(seconds=5 * 2 ** min(attempt, 20)))


def again(observed: Observed, version: VersionState) -> tuple[Action, ...]:
    """Try once more, after a pause that doubles."""
    attempt, job = version.status.attempt, job_of(observed, "train", version, version.status.attempt)
    ended = job.ended_at if job and job.ended_at else observed.now
    words = f"attempt {attempt} {_why(job)}; attempt {attempt + 1} follows"[:900]
    written = _now(version, VersionPhase.PENDING, words, attempt=attempt + 1, started_at=ended + _pause(attempt))
    return written, PublishEvent(reason="TrainingFailed", message=f"{version.name}: {words}", severity="Warning")


def give_up(observed: Observed, version: VersionState) -> tuple[Action, ...]:
    """No attempt is left."""
    attempt = version.status.attempt
    words = f"given up after {attempt + 1} attempts; the last {_why(job_of(observed, 'train', version, attempt))}"[:900]
    event = PublishEvent(reason="TrainingGivenUp", message=f"{version.name}: {words}", severity="Warning")
    return _now(version, VersionPhase.FAILED, words), event


def _now(version: VersionState, phase: VersionPhase, words: str, **more: object) -> WriteVersionStatus:
    written = version.status.model_copy(update={"phase": phase, "message": words[:900], "progress": None, **more})
    return WriteVersionStatus(name=version.name, status=written)


def _why(job: JobState | None) -> str:
    if job is None:
        return "is gone"
    if job.word is JobWord.SUCCEEDED:
        return "ended without a version card"
    return f"was stopped: {job.message}" if job.word is JobWord.STOPPED else f"failed: {job.message}"


def accept(observed: Observed, version: VersionState) -> tuple[Action, ...]:
    """The card is here: judge it by the gates."""
    card = version.card
    assert card is not None
    found = [*gates.verdicts(observed.model.spec.gates, card), gates.as_asked(version.spec, version.name, card)]
    good = gates.passed(found)
    refused = [f"{verdict.name}: {verdict.message}" for verdict in gates.stopping(found)]
    words = f"passed {_told_of(found)}" if good else f"stopped by {'; '.join(refused)}"
    made = Artifact(digest=card.digest, size_bytes=sum(file.size_bytes for file in card.files.values()))
    phase = VersionPhase.PREFLIGHT if good else VersionPhase.REJECTED
    written = _now(
        version, phase, words, algorithm=card.algorithm, artifact=made, metrics=_metrics(card), gates=found, report=_report(version, card)
    )
    return written, _told(version, "GatesPassed" if good else "GateFailed", words, good=good)


def _told_of(found: list[GateVerdict]) -> str:
    silent = sum(verdict.verdict == "Abstained" for verdict in found)
    return f"{len(found) - silent} gates" + (f", {silent} abstained" if silent else "")


def _report(version: VersionState, card: VersionCard) -> str | None:
    """Where the version's page is; a card that names another file names none."""
    return f"{version.spec.storage_uri}/{version_folder(version.name)}/{REPORT_FILE}" if card.report == REPORT_FILE else None


def _told(version: VersionState, reason: str, words: str, *, good: bool) -> PublishEvent:
    return PublishEvent(reason=reason, message=f"{version.name}: {words}"[:900], severity="Normal" if good else "Warning")


MOST_METRICS = 64
"""As many as a status holds."""
LOOKED_AT = ("ndcg@10", "hr@10", "coverage@20", "ndcg@20", "hr@20", "recall@20", "map@10", "mrr@10", "diversity@20", "novelty@20")
"""What people ask for first: where a card has more than a status holds, these stay, the first the longest."""


def _metrics(card: VersionCard) -> list[MetricValue]:
    """The card's metrics over all users, model by model; what there is no room for is in the card."""
    names = sorted({name for model in card.evaluations for name in model.metrics}, key=_rank)
    found = [(model.name, name) for name in names for model in card.evaluations if name in model.metrics]
    kept = set(found[:MOST_METRICS])
    return [
        MetricValue(model=model.name, metric=name, value=f"{e.value:.4f}", low=f"{e.low:.4f}", high=f"{e.high:.4f}")
        for model in card.evaluations
        for name, e in sorted(model.metrics.items())
        if (model.name, name) in kept
    ][:MOST_METRICS]


def _rank(metric: str) -> tuple[int, str]:
    return (LOOKED_AT.index(metric) if metric in LOOKED_AT else len(LOOKED_AT), metric)


def conclude_trial(version: VersionState) -> tuple[Action, ...]:
    """The trial is over: a version that passed may have users."""
    report = version.preflight
    digest = version.status.artifact.digest if version.status.artifact else ""
    found = gates.of_preflight(report) if report else []
    if report is None:
        good, words = False, f"preflight could not be tried in {PREFLIGHT_TRIES} jobs"
        found.append(GateVerdict(name="preflight", verdict="Inconclusive", message=words))
    elif report.digest != digest:
        good, words = False, f"preflight: the files hash to {report.digest}, the card says {digest}: they were changed after training"
        found.append(GateVerdict(name="preflight-digest", verdict="Failed", message=words))
    elif report.passed:
        good, words = True, f"preflight: {report.requests} requests, p99 {report.p99_ms:.2f} ms"
    else:
        failed = [f"{name} {seen}" for name, seen in report.checks.items() if seen.startswith("failed")]
        good, words = False, f"preflight failed: {'; '.join(failed)}"
    judged = [*version.status.gates, *found][:MOST_VERDICTS]
    written = _now(version, VersionPhase.CANDIDATE if good else VersionPhase.REJECTED, words, gates=judged)
    return written, _told(version, "PreflightPassed" if good else "PreflightFailed", words, good=good)


def attempt_trial(observed: Observed, version: VersionState) -> tuple[Action, ...]:
    """Try the version in a process apart, before any user sees it."""
    attempt = trials_failed(observed, version)
    if job_of(observed, "preflight", version, attempt) is not None or version.status.artifact is None:
        return ()
    job = PreflightJob(
        model=identity(observed.model),
        version=version.name,
        digest=version.status.artifact.digest,
        storage_uri=version.spec.storage_uri,
        timeout_ms=observed.model.spec.serving.timeout_milliseconds,
    )
    return (SubmitJob(id=f"{run_prefix('preflight', observed.model, version.name)}{attempt}", job=job),)
