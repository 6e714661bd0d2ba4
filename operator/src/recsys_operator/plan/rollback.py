"""Going back to a version that served before: tried once more, then given to all users by a rollout of its own.

While `spec.rollout.rollbackTo` is set it pins: its version serves, what is under way for another is ended, and candidates wait. A switch
that was asked for through the API goes the same way once, and without the trial: its version is kept loaded in the replicas.
"""

from datetime import timedelta
from enum import StrEnum

from recsys_operator.plan import shares
from recsys_operator.plan.names import again_name, identity, run_prefix
from recsys_operator.plan.wishes import Wish, wish
from recsys_operator.state.actions import Action, CreateRollout, PublishEvent, SubmitJob
from recsys_operator.state.observed import JobState, JobWord, Observed, RolloutState, Unavailable, VersionState
from recsys_operator.state.plan import Part
from recsys_schemas.train_job import PreflightJob
from recsys_schemas.v1alpha1.rollout import Control, Pinned, RolloutPhase, RolloutSpec
from recsys_schemas.v1alpha1.strategy import Step
from recsys_schemas.v1alpha1.version import ModelReference
from recsys_schemas.version_card import PreflightReport

SETTLE = timedelta(seconds=10)
"""Jobs and files are read at slightly different moments."""
AGAIN = timedelta(minutes=10)
"""After so long a trial that failed is made again: its files may have been brought back."""


class Rollback(StrEnum):
    """The state of going back in one word."""

    NOT_ASKED = "NotAsked"
    PINNED = "Pinned"
    UNAVAILABLE = "Unavailable"
    REFUSED = "RollbackRefused"
    ENDING_ANOTHER = "EndingAnother"
    TRIAL_DUE = "TrialDue"
    TRYING = "Trying"
    TRIAL_FAILED = "TrialFailed"
    READY = "Ready"
    RETURNING = "Returning"


MOVES: dict[Rollback, frozenset[Rollback]] = {word: frozenset(Rollback) for word in Rollback}
"""Any word may follow any other: a person may ask for another version, or for none, at any time, and files may go and come back."""


def judge(observed: Observed) -> Rollback:
    """The state of going back in one word."""
    asked = wish(observed)
    if asked is None:
        return Rollback.NOT_ASKED
    rollout, champion = shares.active(observed), shares.champion(observed)
    if rollout is not None and rollout.lead.name == asked.version:
        return Rollback.RETURNING
    if isinstance(observed.manifest, Unavailable) or isinstance(observed.ray, Unavailable):
        return Rollback.UNAVAILABLE
    if refusal(observed) is not None:
        return Rollback.REFUSED
    if rollout is not None:
        return Rollback.ENDING_ANOTHER
    if champion is not None and champion.name == asked.version:
        return Rollback.PINNED
    return _judge_trial(observed, _version(observed, asked.version)) if asked.pins else Rollback.READY


def _judge_trial(observed: Observed, version: VersionState | None) -> Rollback:
    assert version is not None
    job = _last_trial(observed, version.name)
    if job is None:
        return Rollback.TRIAL_DUE
    if not job.word.ended:
        return Rollback.TRYING
    report, ended = _report(version, job), job.ended_at or observed.now
    if report is not None and not faults(version, report):
        return Rollback.READY
    if report is None and job.word is JobWord.SUCCEEDED and observed.now < ended + SETTLE:
        return Rollback.TRYING
    return Rollback.TRIAL_FAILED if observed.now < ended + AGAIN else Rollback.TRIAL_DUE


def refusal(observed: Observed) -> str | None:
    """Why there is no going back to the version that is asked for, with the mend; None when there is, or nothing is asked."""
    asked = wish(observed)
    if asked is None:
        return None
    version, words = _version(observed, asked.version), asked.words
    mend = (
        f"name one of {', '.join(_served(observed)) or 'the versions that will have served'}{', or remove the field' if asked.pins else ''}"
    )
    if version is None:
        return (
            f"{words} has no object any more (spec.revisionHistoryLimit {observed.model.spec.revision_history_limit}), or never had; {mend}"
        )
    if asked.version not in _served(observed):
        return f"{words} has never served (it is {version.status.phase}), so no user's answers speak for it; {mend}"
    if version.card is None:
        return f"{words}: its card is gone from {version.spec.storage_uri}; bring its files back from a backup, or {mend}"
    made = version.status.artifact
    if made is None or version.card.digest != made.digest:
        recorded = made.digest if made else "none"
        return f"{words}: its card says {version.card.digest}, recorded is {recorded}: it was exchanged; bring the true one back, or {mend}"
    if not asked.pins and made.digest not in {pin.digest for pin in shares.kept_loaded(observed)}:
        return f"{words} is not kept loaded (spec.rollout.keepLoaded {observed.model.spec.rollout.keep_loaded}), or was sent back; {mend}"
    return None


def _version(observed: Observed, name: str) -> VersionState | None:
    return next((version for version in observed.versions if version.name == name), None)


def _served(observed: Observed) -> list[str]:
    """Versions that have an object and took all users once."""
    there = {version.name for version in observed.versions}
    done = (walk.lead.name for walk in observed.rollouts if walk.status.phase is RolloutPhase.SUCCESSFUL)
    return [name for name in dict.fromkeys(done) if name in there]


def overrules(observed: Observed, rollout: RolloutState) -> bool:
    """Whether a rollout is under way for another version than the one that all users are to have."""
    asked = wish(observed)
    return asked is not None and rollout.lead.name != asked.version and judge(observed) is Rollback.ENDING_ANOTHER


def _last_trial(observed: Observed, name: str) -> JobState | None:
    assert not isinstance(observed.ray, Unavailable)
    prefix = run_prefix("preflight", observed.model, again_name(observed, name))
    found = {int(id_.removeprefix(prefix)): job for id_, job in observed.ray.jobs.items() if id_.startswith(prefix)}
    return found[max(found)] if found else None


def _report(version: VersionState, job: JobState) -> PreflightReport | None:
    """What this very trial has left: the one before the first rollout does not count."""
    return version.preflight if version.preflight is not None and version.preflight.run == job.id else None


def faults(version: VersionState, report: PreflightReport) -> list[str]:
    """What speaks against the version, in words."""
    pinned = version.status.artifact.digest if version.status.artifact else ""
    found = [f"its files hash to {report.digest}, recorded is {pinned}"] if report.digest != pinned else []
    found += [f"{name} {seen}" for name, seen in report.checks.items() if seen.startswith("failed")]
    return found or ([] if report.passed else ["it did not pass"])


def act(word: Rollback, observed: Observed) -> Part:
    """What to do about it; what to say of it is `told`."""
    asked = wish(observed)
    version = _version(observed, asked.version) if asked else None
    actions: tuple[Action, ...] = ()
    if word is Rollback.TRIAL_DUE and version is not None:
        actions = _try(observed, version)
    elif word is Rollback.READY and version is not None and asked is not None:
        actions = _begin(observed, asked, version)
    elif word in (Rollback.REFUSED, Rollback.TRIAL_FAILED):
        _, words = told(word, observed)
        actions = (PublishEvent(reason="RollbackRefused", message=words[:900], severity="Warning"),)
    return Part(actions=actions, busy=word not in (Rollback.NOT_ASKED, Rollback.PINNED, Rollback.REFUSED, Rollback.TRIAL_FAILED))


def _try(observed: Observed, version: VersionState) -> tuple[Action, ...]:
    """Load it in a process apart once more: what passed months ago may have been changed since."""
    prefix = run_prefix("preflight", observed.model, again_name(observed, version.name))
    last = _last_trial(observed, version.name)
    run = f"{prefix}{int(last.id.removeprefix(prefix)) + 1 if last else 0}"
    assert version.status.artifact is not None
    job = PreflightJob(
        model=identity(observed.model),
        version=version.name,
        digest=version.status.artifact.digest,
        storage_uri=version.spec.storage_uri,
        timeout_ms=observed.model.spec.serving.timeout_milliseconds,
        run=run,
    )
    return (SubmitJob(id=run, job=job),)


def _begin(observed: Observed, wished: Wish, version: VersionState) -> tuple[Action, ...]:
    asked, digest = observed.model.spec.rollout, version.status.artifact.digest if version.status.artifact else ""
    stable = shares.champion(observed)
    name = wished.rollout
    spec = RolloutSpec(
        model_ref=ModelReference(name=observed.model.key.name, uid=observed.model.uid),
        purpose="Return",
        stable=stable,
        candidate=Pinned(name=version.name, digest=digest),
        steps=[Step(set_weight=99)],
        analysis=asked.analysis,
        progress_deadline_seconds=asked.progress_deadline_seconds,
        control=Control(requested_by=wished.by, reason=wished.reason),
    )
    words = f"{name}: back to {version.name} from {stable.name if stable else 'nothing'}; {wished.words}"
    return CreateRollout(name=name, spec=spec), PublishEvent(reason="RollbackBegan", message=words)


def told(word: Rollback, observed: Observed) -> tuple[str, str]:
    """Reason and words for the condition while no rollout is under way."""
    asked = wish(observed)
    if asked is None:
        return "NotAsked", "nothing is asked"
    match word:
        case Rollback.REFUSED:
            return str(word), refusal(observed) or ""
        case Rollback.TRIAL_FAILED:
            return str(Rollback.REFUSED), f"{asked.words} did not pass its trial: {_why(observed)}; tried again in {AGAIN}"
        case Rollback.UNAVAILABLE:
            return "RollbackWaits", f"{asked.words} waits for the store and the Ray cluster"
        case Rollback.PINNED:
            return "Pinned", f"{asked.version} is pinned by spec.rollout.rollbackTo: candidates wait until the field is removed"
        case _:
            return "Returning", f"{asked.words}: it is tried once more before all users get it back" if asked.pins else asked.words


def _why(observed: Observed) -> str:
    asked = wish(observed)
    version = _version(observed, asked.version) if asked else None
    job = _last_trial(observed, version.name) if version else None
    if version is None or job is None:
        return "it is gone"
    report = _report(version, job)
    return "; ".join(faults(version, report)) if report else f"the job left no report ({job.word}: {job.message})"
