"""Upkeep: one short job at a time, when it is due; what it has done is told, and what it found gone too."""

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum

from recsys_operator.plan import shares
from recsys_operator.plan.names import identity, upkeep_prefix
from recsys_operator.state.actions import Action, ForgetJob, PublishEvent, StopJob, SubmitJob, WriteVersionStatus
from recsys_operator.state.observed import JobState, JobWord, Observed, RayState, Unavailable
from recsys_operator.state.plan import Part
from recsys_schemas.train_job import UpkeepJob
from recsys_schemas.upkeep import UpkeepReport
from recsys_schemas.v1alpha1.model_status import LastUpkeep

COMMITS = 200
"""After so many commits, each of which may have added a file to a table,"""
EVERY = timedelta(days=1)
"""or after so long, for retention."""
PAUSE = timedelta(minutes=5)
"""Not more often than this, however fast commits come."""
DEADLINE = timedelta(hours=6)
"""A run that takes longer is stopped; the next one goes on where it was."""
_LONGEST_BACK_OFF = timedelta(hours=1)


class Upkeep(StrEnum):
    """The state of upkeep in one word."""

    ENGINE_UNAVAILABLE = "EngineUnavailable"
    STORE_UNAVAILABLE = "StoreUnavailable"
    SUSPENDED = "Suspended"
    NOT_DUE = "NotDue"
    DUE = "Due"
    RUNNING = "Running"
    OVERDUE = "Overdue"
    BACKING_OFF = "BackingOff"


MOVES: dict[Upkeep, frozenset[Upkeep]] = {word: frozenset(Upkeep) for word in Upkeep}
"""Any word may follow any other: the cluster and the store may vanish and come back at any time."""


def judge(observed: Observed) -> Upkeep:
    """The state of upkeep in one word."""
    ray = observed.ray
    if isinstance(ray, Unavailable):
        return Upkeep.ENGINE_UNAVAILABLE
    if observed.model.spec.suspend:
        return Upkeep.SUSPENDED
    if isinstance(observed.manifest, Unavailable):
        return Upkeep.STORE_UNAVAILABLE
    jobs = _jobs(observed, ray)
    running = [job for _, job in jobs if not job.word.ended]
    if running:
        late = any(observed.now >= (job.started_at or observed.now) + DEADLINE for job in running)
        return Upkeep.OVERDUE if late else Upkeep.RUNNING
    if not _due(observed):
        return Upkeep.NOT_DUE
    again_at = _again_at(observed, jobs)
    return Upkeep.BACKING_OFF if again_at is not None and observed.now < again_at else Upkeep.DUE


def _jobs(observed: Observed, ray: RayState) -> list[tuple[int, JobState]]:
    """Runs that the cluster knows, by their numbers."""
    prefix = upkeep_prefix(observed.model)
    found = [(id_.removeprefix(prefix), job) for id_, job in ray.jobs.items() if id_.startswith(prefix)]
    return sorted(((int(number), job) for number, job in found if number.isdigit()), key=lambda pair: pair[0])


def _due(observed: Observed) -> bool:
    """Whether there have been many commits since the last run, or a day has gone by."""
    manifest, report = observed.manifest, observed.upkeep
    if manifest is None or isinstance(manifest, Unavailable):
        return False
    if report is None:
        aged = any(observed.now >= version.created_at + EVERY for version in observed.versions)
        return manifest.sequence >= COMMITS or aged
    many = manifest.sequence - report.sequence >= COMMITS
    return observed.now >= report.ended_at + (PAUSE if many else EVERY)


def _unreported(observed: Observed, jobs: list[tuple[int, JobState]]) -> list[tuple[int, JobState]]:
    """Ended runs after the last one that left a report."""
    done = observed.upkeep.run if observed.upkeep else -1
    return [(number, job) for number, job in jobs if number > done and job.word.ended]


def _again_at(observed: Observed, jobs: list[tuple[int, JobState]]) -> datetime | None:
    """When to try again after runs that left no report; also one that succeeded may have ended after its report was looked for."""
    failed = _unreported(observed, jobs)
    if not failed:
        return None
    last_number, last = failed[-1]
    first = observed.upkeep.run + 1 if observed.upkeep else 0
    wait = min(_LONGEST_BACK_OFF, timedelta(seconds=30 * 2 ** min(last_number - first, 10)))
    return (last.ended_at or observed.now) + wait


def wanted(observed: Observed, number: int) -> UpkeepJob:
    """One run: it keeps what every version that is there was trained on."""
    model = observed.model
    mine = {version.spec.snapshot.sequence for version in observed.versions if version.spec.storage_uri == model.storage_uri}
    return UpkeepJob(
        model=identity(model),
        storage_uri=model.storage_uri,
        run=number,
        retention_days=model.spec.data.snapshot.retention_days,
        keep_sequences=sorted(mine),
        keep_versions=sorted({version.name for version in observed.versions} | shares.retained(observed)),
    )


def act(word: Upkeep, observed: Observed) -> Part:
    """What to do about it, and what to say of the last run."""
    actions: list[Action] = []
    if not isinstance(observed.ray, Unavailable):
        jobs = _jobs(observed, observed.ray)
        if word in (Upkeep.SUSPENDED, Upkeep.OVERDUE):
            actions += [StopJob(id=job.id) for _, job in jobs if not job.word.ended]
        if word is Upkeep.DUE:
            number = max([observed.upkeep.run if observed.upkeep else -1, *(number for number, _ in jobs)]) + 1
            actions.append(SubmitJob(id=f"{upkeep_prefix(observed.model)}{number}", job=wanted(observed, number)))
            failed = [job for _, job in _unreported(observed, jobs) if job.word is not JobWord.SUCCEEDED]
            if failed:
                words = f"upkeep run ended ({failed[-1].word}) and is tried again as run {number}: {failed[-1].message}"
                actions.append(PublishEvent(reason="UpkeepFailed", message=words[:900], severity="Warning"))
        actions += [ForgetJob(id=job.id) for _, job in jobs[:-1] if job.word.ended]
    return Part(actions=(*actions, *_told(observed)))


def _told(observed: Observed) -> tuple[Action, ...]:
    report, before = observed.upkeep, observed.model.status.ingestion
    if report is None or (before is not None and before.last_upkeep is not None and before.last_upkeep.run >= report.run):
        return ()
    return (PublishEvent(reason="UpkeepDone", message=words_of(report)),)


def words_of(report: UpkeepReport) -> str:
    """What a run has done, in words."""
    tables = ", ".join(f"{table.event_type} {table.files_before} → {table.files_after} files" for table in report.tables)
    gone = (
        f"{report.manifests_removed} snapshots and {report.files_removed} files ({report.bytes_removed} bytes) past their retention removed"
    )
    files = f"; files of {report.versions_removed} versions removed" if report.versions_removed else ""
    return f"run {report.run}: {tables}; {gone}{files}"[:900]


def lost(observed: Observed, written: Collection[str]) -> tuple[Action, ...]:
    """Say at each version whose snapshot is gone that it is; those whose status is being written otherwise wait for the next pass."""
    report = observed.upkeep
    gone = set(report.missing_sequences) if report else set[int]()
    actions: list[Action] = []
    for version in observed.versions:
        mine = version.spec.storage_uri == observed.model.storage_uri and version.spec.snapshot.sequence in gone
        if mine and not version.status.snapshot_removed and version.name not in written:
            words = f"{version.name}: snapshot {version.spec.snapshot.sequence}, on which it was trained, is gone from the store"
            status = version.status.model_copy(update={"snapshot_removed": True})
            actions += [WriteVersionStatus(name=version.name, status=status)]
            actions += [PublishEvent(reason="SnapshotRemoved", message=f"{words}: it cannot be trained again from it", severity="Warning")]
    return tuple(actions)


def last(observed: Observed) -> LastUpkeep | None:
    """The last run, for the model's status."""
    report = observed.upkeep
    if report is None:
        return observed.model.status.ingestion.last_upkeep if observed.model.status.ingestion else None
    return LastUpkeep(
        run=report.run,
        time=report.ended_at,
        files=sum(table.files_after for table in report.tables),
        size_bytes=sum(table.size_bytes for table in report.tables),
        oldest_sequence=report.oldest_sequence,
        message=words_of(report),
    )
