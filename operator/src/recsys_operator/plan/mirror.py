"""Mirror: one short job at a time brings an MLflow server to what is wanted. Nothing else waits for it, whatever becomes of it."""

import hashlib
from datetime import timedelta
from enum import StrEnum

from recsys_operator.plan import shares
from recsys_operator.plan.names import identity, mirror_prefix
from recsys_operator.state.actions import Action, ForgetJob, StopJob, SubmitJob
from recsys_operator.state.observed import JobState, Observed, RayState, Unavailable
from recsys_operator.state.plan import Fact, Part
from recsys_schemas.kafka_access import SecretKeyName
from recsys_schemas.mirror import Alias, MirroredVersion, MirrorJob
from recsys_schemas.v1alpha1.conditions import ConditionType
from recsys_schemas.v1alpha1.version import VersionPhase

EVERY = timedelta(hours=1)
"""After so long all is looked at again: a server may have lost what it was shown."""
DEADLINE = timedelta(minutes=10)
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=15), timedelta(minutes=30)
_SHOWN = frozenset({VersionPhase.REJECTED, VersionPhase.CANDIDATE, VersionPhase.CHAMPION, VersionPhase.RETIRED, VersionPhase.ROLLED_BACK})
"""Phases of versions that have been judged; one that was rejected has a run, and is not registered."""


class Mirror(StrEnum):
    """The state of the mirror in one word."""

    NOT_ASKED = "NotAsked"
    UNAVAILABLE = "Unavailable"
    MIRRORED = "UpToDate"
    DUE = "Due"
    RUNNING = "Running"
    OVERDUE = "Overdue"
    BACKING_OFF = "MirrorFailed"


MOVES: dict[Mirror, frozenset[Mirror]] = {word: frozenset(Mirror) for word in Mirror}
"""Any word may follow any other: server, cluster and store may vanish and come back at any time."""


def wanted(observed: Observed) -> MirrorJob | None:
    """What is to be shown; None when no mirror is asked for. Its `wanted` is the digest of all the rest, but for the number of the run."""
    asked, model = observed.model.spec.registry.mlflow, observed.model
    if asked is None:
        return None
    champion, active = shares.champion(observed), shares.active(observed)
    named: dict[Alias, str] = {"champion": champion.name} if champion else {}
    named |= {"challenger": active.spec.candidate.name} if active and champion else {}
    default = f"{model.key.namespace}.{model.key.name}"
    ref = asked.token_secret_ref
    job = MirrorJob(
        model=identity(model),
        storage_uri=model.storage_uri,
        run=0,
        wanted="",
        tracking_uri=asked.tracking_uri,
        experiment=asked.experiment or default,
        model_name=asked.model_name or default,
        token=SecretKeyName(secret=ref.name, key=ref.key) if ref else None,
        copy_artifacts=asked.copy_artifacts,
        versions=_versions(observed),
        aliases=named,
    )
    return job.model_copy(update={"wanted": hashlib.sha256(job.model_dump_json().encode()).hexdigest()})


def _versions(observed: Observed) -> list[MirroredVersion]:
    return [
        MirroredVersion(
            version=version.name,
            digest=version.status.artifact.digest,
            phase=str(version.status.phase),
            registered=version.status.phase is not VersionPhase.REJECTED,
            gates={gate.name: gate.verdict for gate in version.status.gates},
        )
        for version in observed.versions
        if version.status.artifact is not None and version.status.phase in _SHOWN and version.spec.storage_uri == observed.model.storage_uri
    ]


def judge(observed: Observed) -> Mirror:
    """The state of the mirror in one word."""
    asked, ray = wanted(observed), observed.ray
    if asked is None:
        return Mirror.NOT_ASKED
    if isinstance(ray, Unavailable) or isinstance(observed.manifest, Unavailable):
        return Mirror.UNAVAILABLE
    jobs = _jobs(observed, ray)
    running = [job for _, job in jobs if not job.word.ended]
    if running:
        late = any(observed.now >= (job.started_at or observed.now) + DEADLINE for job in running)
        return Mirror.OVERDUE if late else Mirror.RUNNING
    report = observed.mirror
    fresh = report is not None and report.wanted == asked.wanted
    if report is not None and fresh and report.good:
        return Mirror.DUE if observed.now >= report.ended_at + EVERY else Mirror.MIRRORED
    if not asked.versions and report is None:
        return Mirror.MIRRORED
    number, last = jobs[-1] if jobs else (-1, None)
    good_run = report.good_run if report is not None else -1
    if last is None or number <= good_run:
        return Mirror.DUE
    return Mirror.BACKING_OFF if observed.now < (last.ended_at or observed.now) + _pause(number - good_run) else Mirror.DUE


def _pause(failures: int) -> timedelta:
    """15, 30, 60 s and so on, to half an hour at most."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(failures - 1, 10))


def _jobs(observed: Observed, ray: RayState) -> list[tuple[int, JobState]]:
    """Runs that the cluster knows, by their numbers."""
    prefix = mirror_prefix(observed.model)
    found = [(id_.removeprefix(prefix), job) for id_, job in ray.jobs.items() if id_.startswith(prefix)]
    return sorted(((int(number), job) for number, job in found if number.isdigit()), key=lambda pair: pair[0])


def act(word: Mirror, observed: Observed) -> Part:
    """What to do about it, and what to say of it. A mirror under way is no reason to hurry."""
    actions: list[Action] = []
    asked = wanted(observed)
    if not isinstance(observed.ray, Unavailable):
        jobs = _jobs(observed, observed.ray)
        if word in (Mirror.OVERDUE, Mirror.NOT_ASKED):
            actions += [StopJob(id=job.id) for _, job in jobs if not job.word.ended]
        if word is Mirror.DUE and asked is not None:
            number = max([observed.mirror.run if observed.mirror else -1, *(number for number, _ in jobs)]) + 1
            actions.append(SubmitJob(id=f"{mirror_prefix(observed.model)}{number}", job=asked.model_copy(update={"run": number})))
        actions += [ForgetJob(id=job.id) for _, job in jobs[:-1] if job.word.ended]
    return Part(actions=tuple(actions), facts=() if asked is None else (_fact(word, observed, asked),))


def _fact(word: Mirror, observed: Observed, asked: MirrorJob) -> Fact:
    report, server = observed.mirror, asked.tracking_uri
    if word is Mirror.UNAVAILABLE:
        return Fact(type=ConditionType.MIRRORED, holds=None, reason=str(word), message="waits for the store and the Ray cluster")
    if word is Mirror.MIRRORED and report is None:
        return Fact(type=ConditionType.MIRRORED, holds=None, reason="NothingToShow", message=f"no version yet that {server} could show")
    current = report is not None and report.wanted == asked.wanted
    if report is not None and current and report.good:
        return Fact(type=ConditionType.MIRRORED, holds=True, reason=str(Mirror.MIRRORED), message=f"{server}: {report.message}"[:2000])
    if report is not None and not report.good:
        words = f"{report.message}; training, rollout and serving do not wait for it; tried again by itself"
        return Fact(type=ConditionType.MIRRORED, holds=False, reason=str(Mirror.BACKING_OFF), message=words[:2000])
    if word is Mirror.BACKING_OFF and not isinstance(observed.ray, Unavailable):
        said = _jobs(observed, observed.ray)[-1][1]
        words = f"the job that shows versions in {server} left no report ({said.word}: {said.message}); tried again by itself"
        return Fact(type=ConditionType.MIRRORED, holds=False, reason=str(word), message=words[:2000])
    return Fact(type=ConditionType.MIRRORED, holds=None, reason="Mirroring", message=f"{server} is being brought up to date")
