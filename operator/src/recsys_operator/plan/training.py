"""Training: when a version is due, the run that makes it, the trial that it must pass before any user sees it."""

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum

from recsys_operator.plan import gates, runs, triggers
from recsys_operator.plan.due import create, due, held
from recsys_operator.plan.topics import Topics
from recsys_operator.state.actions import Action
from recsys_operator.state.observed import Observed, Unavailable, VersionState
from recsys_operator.state.plan import Fact, Part
from recsys_schemas.snapshot import SnapshotManifest
from recsys_schemas.v1alpha1.conditions import ConditionType
from recsys_schemas.v1alpha1.version import VersionPhase

IN_PROGRESS = frozenset({VersionPhase.PENDING, VersionPhase.TRAINING, VersionPhase.PREFLIGHT})


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


def in_progress(observed: Observed) -> VersionState | None:
    """The version that is being trained or tried; there is at most one."""
    return next((version for version in observed.versions if version.status.phase in IN_PROGRESS), None)


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
    return Training.HELD if held(observed, topics) else Training.DUE


def _judge_run(observed: Observed, version: VersionState) -> Training:
    if version.card is not None:
        return Training.TRAINED
    job = runs.job_of(observed, "train", version, version.status.attempt)
    spec = observed.model.spec.training
    if job is None:
        since = version.status.started_at
        waiting = version.status.phase is VersionPhase.PENDING and since is not None and observed.now < since
        return Training.BACKING_OFF if waiting else Training.SUBMITTING
    if runs.over(job, observed):
        return Training.FAILED_ONCE if version.status.attempt < spec.backoff_limit else Training.GIVEN_UP
    started = job.started_at or version.status.started_at or observed.now
    if version.status.phase is VersionPhase.PENDING:
        return Training.SUBMITTING
    if job.word.ended:
        return Training.RUNNING
    return Training.OVERDUE if observed.now >= started + timedelta(seconds=spec.active_deadline_seconds) else Training.RUNNING


def _judge_trial(observed: Observed, version: VersionState) -> Training:
    return (
        Training.TRIED
        if version.preflight is not None or runs.trials_failed(observed, version) >= runs.PREFLIGHT_TRIES
        else Training.TRYING
    )


_STEPS: dict[Training, Callable[[Observed, VersionState], tuple[Action, ...]]] = {
    Training.SUBMITTING: runs.submit,
    Training.RUNNING: lambda _, version: runs.follow(version),
    Training.OVERDUE: runs.stop,
    Training.FAILED_ONCE: runs.again,
    Training.GIVEN_UP: runs.give_up,
    Training.TRAINED: runs.accept,
    Training.TRYING: runs.attempt_trial,
    Training.TRIED: lambda _, version: runs.conclude_trial(version),
}
"""What each deciding word does to the version in progress; the other words only wait."""

_AT_REST = frozenset({Training.NOT_DUE, Training.HELD, Training.SUSPENDED, Training.UNAVAILABLE})


def act(word: Training, observed: Observed, topics: Topics) -> Part:
    """What to do about it, and what to say of it."""
    version = in_progress(observed)
    actions: tuple[Action, ...] = create(observed) if word is Training.DUE else ()
    if word in _STEPS and version is not None:
        actions = _STEPS[word](observed, version)
    newest = observed.versions[-1] if observed.versions else None
    waits = held(observed, topics) if word is Training.HELD else None
    facts = (_trained(word, version or newest, observed, waits), triggers.fact(observed), _gated(newest))
    return Part(actions=actions, facts=facts, busy=word not in _AT_REST)


def _trained(word: Training, version: VersionState | None, observed: Observed, waits: str | None) -> Fact:
    def fact(holds: bool | None, reason: str, message: str) -> Fact:
        return Fact(type=ConditionType.TRAINED, holds=holds, reason=reason, message=message)

    if version is None:
        if waits:
            return fact(None, "Held", f"the first run is due, and held: {waits}")
        rows = observed.manifest.rows if isinstance(observed.manifest, SnapshotManifest) else 0
        return fact(None, "InsufficientData", f"{rows} rows of the {observed.model.spec.training.initial_records} that the first run needs")
    if version.status.phase in (VersionPhase.PENDING, VersionPhase.TRAINING):
        return fact(
            None, "Running" if word is Training.RUNNING else str(word), f"{version.name}: {version.status.message}{_how_far(version)}"
        )
    if version.status.phase is VersionPhase.FAILED:
        return fact(False, "BackoffLimitExceeded", f"{version.name}: {version.status.message}")
    more = f"; another is due, and held: {waits}" if waits else ""
    return fact(True, "Succeeded", f"{version.name} is trained on {version.spec.snapshot.rows} rows{more}")


def _how_far(version: VersionState) -> str:
    progress = version.status.progress
    if progress is None:
        return ""
    left = "" if progress.seconds_left is None else f", about {progress.seconds_left} s left"
    return f": step {progress.step} of {progress.of}{left}"


def _gated(version: VersionState | None) -> Fact:
    if version is None or not version.status.gates:
        return Fact(type=ConditionType.GATES_PASSED, holds=None, reason="NotEvaluated", message="no version has been measured yet")
    stopped = gates.stopping(version.status.gates)
    if stopped:
        reason = "GateFailed" if any(verdict.verdict == "Failed" for verdict in stopped) else "GateInconclusive"
        message = f"{version.name}: {'; '.join(f'{verdict.name}: {verdict.message}' for verdict in stopped)}"
        return Fact(type=ConditionType.GATES_PASSED, holds=False, reason=reason, message=message[:2000])
    told = [f"{verdict.name}: {verdict.message}" for verdict in version.status.gates if verdict.verdict != "Abstained"]
    message = f"{version.name}: {'; '.join(told)}"
    return Fact(type=ConditionType.GATES_PASSED, holds=True, reason="AllPassed", message=message[:2000])
