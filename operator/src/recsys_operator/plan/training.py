"""Training: when a version is due, the run that makes it, the trial that it must pass before any user sees it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from recsys_operator.plan import gates
from recsys_operator.plan.names import identity, run_prefix, version_name
from recsys_operator.plan.topics import HOLDING, Topics
from recsys_operator.state.actions import Action, CreateVersion, PublishEvent, StopJob, SubmitJob, WriteVersionStatus
from recsys_operator.state.observed import JobState, JobWord, Observed, Unavailable, VersionState
from recsys_operator.state.plan import Fact, Part
from recsys_schemas.snapshot import SnapshotManifest
from recsys_schemas.train_job import PreflightJob, TrainJob
from recsys_schemas.v1alpha1.conditions import ConditionType
from recsys_schemas.v1alpha1.version import (
    Artifact,
    Cause,
    MetricValue,
    ModelReference,
    SnapshotReference,
    VersionPhase,
    VersionSpec,
    VersionStatus,
)
from recsys_schemas.version_card import VersionCard

_PREFLIGHT_TRIES = 3


class Training(StrEnum):
    """The state of training in one word."""

    SUSPENDED = "Suspended"
    UNAVAILABLE = "Unavailable"
    NOT_DUE = "NotDue"
    HELD = "Held"
    DUE = "Due"
    SUBMITTING = "Submitting"
    RUNNING = "Running"
    OVERDUE = "Overdue"
    BACKING_OFF = "BackingOff"
    FAILED_ONCE = "FailedOnce"
    GIVEN_UP = "GivenUp"
    TRAINED = "Trained"
    TRYING = "Trying"
    TRIED = "Tried"


MOVES: dict[Training, frozenset[Training]] = {
    Training.SUSPENDED: frozenset(Training),
    Training.UNAVAILABLE: frozenset(Training),
    Training.NOT_DUE: frozenset({Training.HELD, Training.DUE}),
    Training.HELD: frozenset({Training.NOT_DUE, Training.DUE}),
    Training.DUE: frozenset({Training.SUBMITTING, Training.HELD}),
    Training.SUBMITTING: frozenset({Training.RUNNING, Training.TRAINED, Training.FAILED_ONCE, Training.GIVEN_UP}),
    Training.RUNNING: frozenset({Training.TRAINED, Training.OVERDUE, Training.FAILED_ONCE, Training.GIVEN_UP, Training.SUBMITTING}),
    Training.OVERDUE: frozenset({Training.FAILED_ONCE, Training.GIVEN_UP, Training.TRAINED}),
    Training.BACKING_OFF: frozenset({Training.SUBMITTING, Training.TRAINED}),
    Training.FAILED_ONCE: frozenset({Training.BACKING_OFF, Training.SUBMITTING}),
    Training.GIVEN_UP: frozenset({Training.NOT_DUE, Training.HELD, Training.DUE}),
    Training.TRAINED: frozenset({Training.TRYING, Training.NOT_DUE, Training.HELD, Training.DUE}),
    Training.TRYING: frozenset({Training.TRIED, Training.TRYING}),
    Training.TRIED: frozenset({Training.NOT_DUE, Training.HELD, Training.DUE}),
}
"""What may follow what, while neither suspended nor unavailable: those two may come between any."""

IN_PROGRESS = frozenset({VersionPhase.PENDING, VersionPhase.TRAINING, VersionPhase.PREFLIGHT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Why a version is due."""

    cause: Cause
    manifest: SnapshotManifest


def in_progress(observed: Observed) -> VersionState | None:
    """The version that is being trained or tried; there is at most one."""
    return next((version for version in observed.versions if version.status.phase in IN_PROGRESS), None)


def rolling_out(observed: Observed) -> bool:
    """Whether a version that passed its trial has not yet become champion or been sent back."""
    return any(version.status.phase is VersionPhase.CANDIDATE for version in observed.versions)


def due(observed: Observed) -> Due | None:
    """Whether a version is due, and why: each trigger fires at most once for one snapshot."""
    manifest = observed.manifest
    if manifest is None or isinstance(manifest, Unavailable):
        return None
    spec, last = observed.model.spec, observed.versions[-1] if observed.versions else None
    if last is None:
        if manifest.rows < spec.training.initial_records:
            return None
        detail = f"{manifest.rows} rows, at least spec.training.initialRecords {spec.training.initial_records}"
        return Due(cause=Cause(trigger="Initial", detail=detail), manifest=manifest)
    asked = (spec.model.algorithm, spec.model.hyperparameters, spec.model.seed, tuple(spec.model.baselines))
    made = (last.spec.algorithm, last.spec.hyperparameters, last.spec.seed, tuple(last.spec.baselines))
    fresh = manifest.rows - last.spec.snapshot.rows
    if asked != made:
        detail = f"spec.model asks for {spec.model.algorithm} with seed {spec.model.seed}; {last.name} was made otherwise"
        return Due(cause=Cause(trigger="SpecChanged", detail=detail), manifest=manifest)
    if fresh >= spec.training.new_records:
        detail = f"{fresh} new rows since {last.name}, at least spec.training.newRecords {spec.training.new_records}"
        return Due(cause=Cause(trigger="NewData", detail=detail), manifest=manifest)
    return None


def _held_until(observed: Observed) -> datetime | None:
    """End of the cooldown after the last run, or after the last roll-back."""
    spec = observed.model.spec
    ends = [version.created_at + timedelta(seconds=spec.training.cooldown_seconds) for version in observed.versions[-1:]]
    pause = timedelta(seconds=spec.rollout.on_failure.cooldown_seconds)
    back = [r.status.ended_at for r in observed.rollouts[-1:] if r.status.phase in ("RolledBack", "Aborted")]
    return max([*ends, *(ended + pause for ended in back if ended)], default=None)


def judge(observed: Observed, topics: Topics) -> Training:
    """The state of training in one word."""
    if observed.model.spec.suspend:
        return Training.SUSPENDED
    if isinstance(observed.ray, Unavailable) or isinstance(observed.manifest, Unavailable):
        return Training.UNAVAILABLE
    version = in_progress(observed)
    if version is not None:
        return _judge_trial(observed, version) if version.status.phase is VersionPhase.PREFLIGHT else _judge_run(observed, version)
    if due(observed) is None:
        return Training.NOT_DUE
    until = _held_until(observed)
    held = topics in HOLDING or _too_many_dead_letters(observed) or rolling_out(observed) or (until is not None and observed.now < until)
    return Training.HELD if held else Training.DUE


def _too_many_dead_letters(observed: Observed) -> bool:
    manifest = observed.manifest
    if manifest is None or isinstance(manifest, Unavailable):
        return False
    total = manifest.rows + manifest.dead_letters
    return manifest.dead_letters > total * observed.model.spec.data.snapshot.max_dead_letter_fraction


def _job(observed: Observed, kind: str, version: VersionState, attempt: int) -> JobState | None:
    assert not isinstance(observed.ray, Unavailable)
    return observed.ray.jobs.get(f"{run_prefix(kind, observed.model, version.name)}{attempt}")


def _judge_run(observed: Observed, version: VersionState) -> Training:
    if version.card is not None:
        return Training.TRAINED
    job = _job(observed, "train", version, version.status.attempt)
    spec = observed.model.spec.training
    if job is None:
        since = version.status.started_at
        waiting = version.status.phase is VersionPhase.PENDING and since is not None and observed.now < since
        return Training.BACKING_OFF if waiting else Training.SUBMITTING
    if job.word.ended:
        return Training.FAILED_ONCE if version.status.attempt < spec.backoff_limit else Training.GIVEN_UP
    started = job.started_at or version.status.started_at or observed.now
    if version.status.phase is VersionPhase.PENDING:
        return Training.SUBMITTING
    return Training.OVERDUE if observed.now >= started + timedelta(seconds=spec.active_deadline_seconds) else Training.RUNNING


def _judge_trial(observed: Observed, version: VersionState) -> Training:
    return Training.TRIED if version.preflight is not None or _trials_failed(observed, version) >= _PREFLIGHT_TRIES else Training.TRYING


def _trials_failed(observed: Observed, version: VersionState) -> int:
    jobs = [_job(observed, "preflight", version, attempt) for attempt in range(_PREFLIGHT_TRIES)]
    return sum(job is not None and job.word.ended for job in jobs)


def act(word: Training, observed: Observed) -> Part:
    """What to do about it, and what to say of it."""
    version = in_progress(observed)
    actions: tuple[Action, ...]
    match word:
        case Training.DUE:
            actions = _create(observed)
        case Training.SUBMITTING | Training.OVERDUE | Training.FAILED_ONCE | Training.GIVEN_UP | Training.TRAINED:
            assert version is not None
            actions = _step_run(word, observed, version)
        case Training.TRYING | Training.TRIED:
            assert version is not None
            actions = _step_trial(word, observed, version)
        case _:
            actions = ()
    busy = word not in (Training.NOT_DUE, Training.HELD, Training.SUSPENDED, Training.UNAVAILABLE)
    return Part(actions=actions, facts=_facts(word, observed, version), busy=busy)


def _create(observed: Observed) -> tuple[Action, ...]:
    reason = due(observed)
    assert reason is not None
    model, spec, name = observed.model, observed.model.spec, version_name(observed)
    made = VersionSpec(
        model_ref=ModelReference(name=model.key.name, uid=model.uid),
        cause=reason.cause,
        snapshot=SnapshotReference(sequence=reason.manifest.sequence, rows=reason.manifest.rows),
        storage_uri=model.storage_uri,
        algorithm=spec.model.algorithm,
        hyperparameters=spec.model.hyperparameters,
        baselines=list(spec.model.baselines),
        seed=spec.model.seed,
        num_workers=spec.training.num_workers,
        parent=champion_name(observed),
    )
    words = f"{name} is trained on snapshot {reason.manifest.sequence}: {reason.cause.detail}"
    return CreateVersion(name=name, spec=made), PublishEvent(reason="TrainingDue", message=words)


def champion_name(observed: Observed) -> str | None:
    """The version that serves: the candidate of the newest rollout that succeeded."""
    names = [rollout.spec.candidate.name for rollout in observed.rollouts if rollout.status.phase == "Successful"]
    return names[-1] if names else None


def _train_job(observed: Observed, version: VersionState) -> TrainJob:
    spec = version.spec
    chosen = spec.hyperparameters.model_dump(exclude_none=True)
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
    )


def _status(version: VersionState, status: VersionStatus) -> WriteVersionStatus:
    return WriteVersionStatus(name=version.name, status=status)


def _step_run(word: Training, observed: Observed, version: VersionState) -> tuple[Action, ...]:
    status, attempt = version.status, version.status.attempt
    job_id = f"{run_prefix('train', observed.model, version.name)}{attempt}"
    job = _job(observed, "train", version, attempt)
    match word:
        case Training.SUBMITTING:
            words = f"training run {job_id} on snapshot {version.spec.snapshot.sequence}"
            written = status.model_copy(update={"phase": VersionPhase.TRAINING, "started_at": observed.now, "message": words})
            submit = () if job is not None else (SubmitJob(id=job_id, job=_train_job(observed, version)),)
            return *submit, _status(version, written)
        case Training.OVERDUE:
            return (StopJob(id=job_id),)
        case Training.TRAINED:
            assert version.card is not None
            return _gate(observed, version, version.card)
        case Training.FAILED_ONCE:
            assert job is not None
            again = (job.ended_at or observed.now) + timedelta(seconds=5 * 2**attempt)
            words = f"attempt {attempt} {_why(job)}; attempt {attempt + 1} follows"
            written = status.model_copy(
                update={"phase": VersionPhase.PENDING, "attempt": attempt + 1, "started_at": again, "message": words[:900]}
            )
            return _status(version, written), PublishEvent(reason="TrainingFailed", message=words[:900], severity="Warning")
        case _:
            assert job is not None
            words = f"given up after {attempt + 1} attempts; the last {_why(job)}"
            written = status.model_copy(update={"phase": VersionPhase.FAILED, "message": words[:900]})
            return _status(version, written), PublishEvent(reason="TrainingGivenUp", message=words[:900], severity="Warning")


def _why(job: JobState) -> str:
    if job.word is JobWord.SUCCEEDED:
        return "ended without a version card"
    return f"was stopped: {job.message}" if job.word is JobWord.STOPPED else f"failed: {job.message}"


def _gate(observed: Observed, version: VersionState, card: VersionCard) -> tuple[Action, ...]:
    found = gates.verdicts(observed.model.spec.gates, card)
    good = gates.passed(found)
    refused = [f"{verdict.name}: {verdict.message}" for verdict in found if verdict.verdict in ("Failed", "Inconclusive")]
    words = f"{version.name} passed {len(found)} gates" if good else f"{version.name} stopped by {'; '.join(refused)}"
    status = version.status.model_copy(
        update={
            "phase": VersionPhase.PREFLIGHT if good else VersionPhase.REJECTED,
            "artifact": Artifact(digest=card.digest, size_bytes=sum(file.size_bytes for file in card.files.values())),
            "metrics": _metrics(card),
            "gates": found,
            "message": words[:900],
        }
    )
    event = PublishEvent(reason="GatesPassed" if good else "GateFailed", message=words[:900], severity="Normal" if good else "Warning")
    return _status(version, status), event


def _metrics(card: VersionCard) -> list[MetricValue]:
    return [
        MetricValue(model=model.name, metric=name, value=f"{e.value:.4f}", low=f"{e.low:.4f}", high=f"{e.high:.4f}")
        for model in card.evaluations
        for name, e in sorted(model.metrics.items())
    ][:64]


def _step_trial(word: Training, observed: Observed, version: VersionState) -> tuple[Action, ...]:
    if word is Training.TRYING:
        return _try(observed, version)
    report = version.preflight
    digest = version.status.artifact.digest if version.status.artifact else ""
    if report is None:
        good, words = False, f"preflight could not be tried in {_PREFLIGHT_TRIES} jobs"
    elif report.digest != digest:
        good, words = False, f"preflight: the files hash to {report.digest}, the card says {digest}: they were changed after training"
    else:
        failed = [f"{name} {seen}" for name, seen in report.checks.items() if seen.startswith("failed")]
        good = report.passed
        words = f"preflight: {report.requests} requests, p99 {report.p99_ms:.2f} ms" if good else f"preflight failed: {'; '.join(failed)}"
    status = version.status.model_copy(update={"phase": VersionPhase.CANDIDATE if good else VersionPhase.REJECTED, "message": words[:900]})
    event = PublishEvent(
        reason="PreflightPassed" if good else "PreflightFailed",
        message=f"{version.name}: {words}"[:900],
        severity="Normal" if good else "Warning",
    )
    return _status(version, status), event


def _try(observed: Observed, version: VersionState) -> tuple[Action, ...]:
    attempt = _trials_failed(observed, version)
    if _job(observed, "preflight", version, attempt) is not None or version.status.artifact is None:
        return ()
    job = PreflightJob(
        model=identity(observed.model),
        version=version.name,
        digest=version.status.artifact.digest,
        storage_uri=version.spec.storage_uri,
        timeout_ms=observed.model.spec.serving.timeout_milliseconds,
    )
    return (SubmitJob(id=f"{run_prefix('preflight', observed.model, version.name)}{attempt}", job=job),)


def _facts(word: Training, observed: Observed, version: VersionState | None) -> tuple[Fact, ...]:
    newest = observed.versions[-1] if observed.versions else None
    return _trained(word, version or newest, observed), _gated(newest)


def _trained(word: Training, version: VersionState | None, observed: Observed) -> Fact:
    def fact(holds: bool | None, reason: str, message: str) -> Fact:
        return Fact(type=ConditionType.TRAINED, holds=holds, reason=reason, message=message)

    if version is None:
        rows = observed.manifest.rows if isinstance(observed.manifest, SnapshotManifest) else 0
        return fact(None, "InsufficientData", f"{rows} rows of the {observed.model.spec.training.initial_records} that the first run needs")
    if version.status.phase in (VersionPhase.PENDING, VersionPhase.TRAINING):
        return fact(None, "Running" if word is Training.RUNNING else str(word), f"{version.name}: {version.status.message}")
    if version.status.phase is VersionPhase.FAILED:
        return fact(False, "BackoffLimitExceeded", f"{version.name}: {version.status.message}")
    held = ""
    if word is Training.HELD:
        held = "; another is due, and held by a cooldown, a rollout, replicas out of sync or too many dead letters"
    return fact(True, "Succeeded", f"{version.name} is trained on {version.spec.snapshot.rows} rows{held}")


def _gated(version: VersionState | None) -> Fact:
    if version is None or not version.status.gates:
        return Fact(type=ConditionType.GATES_PASSED, holds=None, reason="NotEvaluated", message="no version has been measured yet")
    stopped = [verdict for verdict in version.status.gates if verdict.verdict in ("Failed", "Inconclusive")]
    if stopped:
        reason = "GateFailed" if any(verdict.verdict == "Failed" for verdict in stopped) else "GateInconclusive"
        message = f"{version.name}: {'; '.join(f'{verdict.name}: {verdict.message}' for verdict in stopped)}"
        return Fact(type=ConditionType.GATES_PASSED, holds=False, reason=reason, message=message[:2000])
    message = f"{version.name}: {'; '.join(f'{verdict.name}: {verdict.message}' for verdict in version.status.gates)}"
    return Fact(type=ConditionType.GATES_PASSED, holds=True, reason="AllPassed", message=message[:2000])
