"""Ingest: exactly one long-running job with the arguments of the spec; what it has published is judged here."""

from datetime import datetime, timedelta
from enum import StrEnum

from recsys_operator.plan.lag import consumers, ingested_topics
from recsys_operator.plan.names import identity, ingest_prefix, uid8
from recsys_operator.plan.once import once
from recsys_operator.plan.quality import put_aside
from recsys_operator.plan.topics import USABLE, Topics
from recsys_operator.state.actions import Action, ForgetJob, PublishEvent, StopJob, SubmitJob
from recsys_operator.state.observed import JobState, JobWord, ModelState, Observed, RayState, Unavailable
from recsys_operator.state.plan import Fact, Part
from recsys_schemas.catalogue import CatalogueToRead
from recsys_schemas.event_fields import AddedField
from recsys_schemas.snapshot import SnapshotManifest
from recsys_schemas.train_job import IngestJob, TopicToRead
from recsys_schemas.v1alpha1.conditions import ConditionType
from recsys_schemas.v1alpha1.events import Events

RESTARTED = "IngestRestarted"
"""Reason of the Event when a job ended by itself and is submitted again."""
_KEPT_JOBS = 3
_LONGEST_WORDS = 500
_LONGEST_BACK_OFF = 60
_WELL_AFTER = timedelta(seconds=30)
"""A run that follows a failed one is taken for well after a commit, or when it has lasted so long."""


class Ingest(StrEnum):
    """The state of ingest in one word."""

    ENGINE_UNAVAILABLE = "EngineUnavailable"
    SUSPENDED = "Suspended"
    WAITING_FOR_TOPICS = "WaitingForTopics"
    REPLACING = "Replacing"
    ABSENT = "Absent"
    BACKING_OFF = "BackingOff"
    RUNNING = "Running"


MOVES: dict[Ingest, frozenset[Ingest]] = {word: frozenset(Ingest) for word in Ingest}
"""Any word may follow any other: the cluster may vanish and come back at any time."""


@once
def wanted(observed: Observed) -> IngestJob:
    """The job that the spec asks for, with as many consumers as the lag asks for."""
    now = job_of(observed.model, consumers(observed, None))
    attempts = [] if isinstance(observed.ray, Unavailable) else _attempts(observed.ray, ingest_prefix(observed.model, now))
    since = attempts[-1][1].started_at if attempts and not attempts[-1][1].word.ended else None
    return now.model_copy(update={"consumers": consumers(observed, since)})


def job_of(model: ModelState, count: int) -> IngestJob:
    """The job of a model with so many consumers."""
    roll = model.spec.data.snapshot.roll
    return IngestJob(
        model=identity(model),
        bootstrap_servers=list(model.spec.kafka.bootstrap_servers),
        topics=[TopicToRead(topic=topic, event_type=event_type) for topic, event_type in ingested_topics(model).items()],
        dead_letter_topic=model.dead_letter_topic,
        storage_uri=model.storage_uri,
        roll_max_records=roll.max_records,
        roll_max_seconds=roll.max_seconds,
        consumers=count,
        kafka_security=model.spec.kafka.security.by_name(model.key.namespace),
        schema_registry_url=model.spec.kafka.schema_registry_url,
        catalogue=CatalogueToRead.model_validate(asked.model_dump()) if (asked := model.spec.data.catalogue) else None,
        added_fields=_added_fields(model.spec.events),
        duplicate_window=model.spec.events.duplicate_window_records,
    )


def _added_fields(events: Events) -> dict[str, list[AddedField]]:
    """By event type, only those that have some: a job without any has the arguments that it always had."""
    types = {"watch": events.watch.fields, "rate": events.rate.fields}
    return {name: [AddedField.model_validate(field.model_dump()) for field in fields] for name, fields in types.items() if fields}


def _attempts(ray: RayState, prefix: str) -> list[tuple[int, JobState]]:
    found = [(int(id_.removeprefix(prefix)), job) for id_, job in ray.jobs.items() if id_.removeprefix(prefix).isdigit()]
    return sorted(found, key=lambda pair: pair[0])


def _others(observed: Observed, ray: RayState, prefix: str) -> list[JobState]:
    model = observed.model
    mine = f"ingest-{model.key.name}-{uid8(model)}-"
    return [job for id_, job in ray.jobs.items() if id_.startswith(mine) and not id_.startswith(prefix)]


@once
def judge(observed: Observed, topics: Topics) -> Ingest:
    """The state of ingest in one word."""
    ray = observed.ray
    if isinstance(ray, Unavailable):
        return Ingest.ENGINE_UNAVAILABLE
    if observed.model.spec.suspend:
        return Ingest.SUSPENDED
    prefix = ingest_prefix(observed.model, wanted(observed))
    if any(not job.word.ended for job in _others(observed, ray, prefix)):
        return Ingest.REPLACING
    attempts = _attempts(ray, prefix)
    if attempts and not attempts[-1][1].word.ended:
        return Ingest.RUNNING
    if topics not in USABLE:
        return Ingest.WAITING_FOR_TOPICS
    if attempts and observed.now < _again_at(attempts, observed):
        return Ingest.BACKING_OFF
    return Ingest.ABSENT


def _again_at(attempts: list[tuple[int, JobState]], observed: Observed) -> datetime:
    number, last = attempts[-1]
    lived = last.ended_at - last.started_at if last.ended_at and last.started_at else timedelta(0)
    wait = 0 if lived > timedelta(minutes=5) else min(_LONGEST_BACK_OFF, 2 ** min(number, 6))
    return (last.ended_at or observed.now) + timedelta(seconds=wait)


def act(word: Ingest, observed: Observed) -> Part:
    """What to do about it, and what to say of the snapshots."""
    actions: list[Action] = []
    ray = observed.ray
    if not isinstance(ray, Unavailable):
        prefix = ingest_prefix(observed.model, wanted(observed))
        attempts = _attempts(ray, prefix)
        stop = _others(observed, ray, prefix)
        if word is Ingest.SUSPENDED:
            stop += [job for _, job in attempts]
        actions += [StopJob(id=job.id) for job in stop if not job.word.ended]
        if word is Ingest.ABSENT:
            number = attempts[-1][0] + 1 if attempts else 0
            actions.append(SubmitJob(id=f"{prefix}{number}", job=wanted(observed)))
            if number:
                words = f"ingest job ended ({attempts[-1][1].word}); started again as attempt {number}: {attempts[-1][1].message}"
                actions.append(PublishEvent(reason=RESTARTED, message=words[:900], severity="Warning"))
        ended = [job for job in (*_others(observed, ray, prefix), *(job for _, job in attempts[:-_KEPT_JOBS])) if job.word.ended]
        actions += [ForgetJob(id=job.id) for job in ended]
    return Part(actions=tuple(actions), facts=(_fact(word, observed),), busy=word in (Ingest.ABSENT, Ingest.REPLACING))


def _fact(word: Ingest, observed: Observed) -> Fact:
    def fact(holds: bool | None, reason: str, message: str) -> Fact:
        return Fact(type=ConditionType.SNAPSHOT_READY, holds=holds, reason=reason, message=message)

    manifest = observed.manifest
    if isinstance(manifest, Unavailable):
        return fact(None, "StorageUnreachable", manifest.message)
    if (failed := _failing(word, observed, manifest)) is not None:
        words = failed.message[-_LONGEST_WORDS:] or "no message"
        return fact(False, "IngestFailed", f"the ingest job ends by itself and is started again with growing pauses: {words}")
    if manifest is None or not manifest.rows + manifest.dead_letters:
        return fact(None, "InsufficientData", f"no snapshot yet (ingest: {word})")
    aside, limit = put_aside(manifest), observed.model.spec.data.snapshot.max_dead_letter_fraction
    if aside.above(limit):
        message = (
            f"{aside.bad} of the newest {aside.records} records ({aside.fraction:.1%}) were put aside, more than "
            f"spec.data.snapshot.maxDeadLetterFraction {limit:.1%}: training is held until good ones outweigh them; "
            f"read {observed.model.dead_letter_topic}, which names each one's reason"
        )
        return fact(False, "DataQualityFailed", message)
    return fact(True, "Committed", f"snapshot {manifest.sequence} has {manifest.rows} rows; {manifest.dead_letters} records put aside")


def _failing(word: Ingest, observed: Observed, manifest: SnapshotManifest | None) -> JobState | None:
    """The run that failed last, as long as no later one has shown that it works: a new start alone mends nothing."""
    ray = observed.ray
    if isinstance(ray, Unavailable) or word not in (Ingest.BACKING_OFF, Ingest.ABSENT, Ingest.RUNNING):
        return None
    attempts = [job for _, job in _attempts(ray, ingest_prefix(observed.model, wanted(observed)))]
    failed = [job for job in attempts if job.word is JobWord.FAILED]
    if not failed or word is not Ingest.RUNNING:
        return failed[-1] if failed and failed[-1] is attempts[-1] else None
    began = attempts[-1].started_at or observed.now
    committed = manifest is not None and manifest.committed_at > began
    return failed[-1] if failed[-1] is attempts[-2] and not committed and observed.now < began + _WELL_AFTER else None
