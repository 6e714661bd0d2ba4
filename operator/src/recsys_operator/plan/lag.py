"""How far the newest snapshot is behind the topics, and how many consumers that asks for."""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime, timedelta

from recsys_operator.plan.names import topics_by_role
from recsys_operator.plan.once import once
from recsys_operator.state.observed import ModelState, Observed, PartitionState, Unavailable
from recsys_schemas.event_fields import EVENTS
from recsys_schemas.v1alpha1.model_status import FurthestBehind
from recsys_schemas.v1alpha1.topics import INGESTED

GROW_AFTER = timedelta(seconds=60)
"""A consumer that was just started has what was written before it to read: that is no sign yet."""
SHRINK_AFTER = timedelta(hours=1)
_LEAST_BEHIND_S = 30


def ingested_topics(model: ModelState) -> dict[str, str]:
    """Table of each topic that is ingested: events, and answers."""
    roles = topics_by_role(model)
    return {roles[role].name: role.lower() for role in INGESTED if role in roles}


def event_topics(model: ModelState) -> dict[str, str]:
    """Event type of each topic of events."""
    return {topic: table for topic, table in ingested_topics(model).items() if table in EVENTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """How far the newest snapshot is behind one partition of an ingested topic."""

    topic: str
    partition: int
    records: int
    """Offsets that can be read and are not covered. Markers of transactions, aborted records and gaps of compaction are among
    them, so no fewer records; ingest covers what it passed over on a quiet topic, so 0 when there are none."""
    since: datetime
    """Since when the oldest of them could be read, as far as it was watched; the time of the pass without any."""


@once
def behind(observed: Observed) -> tuple[Behind, ...] | None:
    """Every partition of the ingested topics that exist; None while the brokers or the store cannot be read.

    Before the first snapshot nothing is covered: ingest that never came up must show, too.
    """
    manifest = observed.manifest
    if isinstance(observed.topics, Unavailable) or isinstance(manifest, Unavailable):
        return None
    offsets = manifest.offsets if manifest else ()
    covered = {(offset.topic, offset.partition): offset.next_offset for offset in offsets}
    topics = [observed.topics.topics[name] for name in ingested_topics(observed.model) if name in observed.topics.topics]
    return tuple(
        _behind(observed, topic.name, each, covered.get((topic.name, each.id), 0)) for topic in topics for each in topic.partitions
    )


def _behind(observed: Observed, topic: str, seen: PartitionState, covered: int) -> Behind:
    records = max(0, seen.end_offset - covered)
    since = _since(observed, seen, covered) if records else observed.now
    return Behind(topic=topic, partition=seen.id, records=records, since=since)


def _since(observed: Observed, seen: PartitionState, covered: int) -> datetime:
    """When the first offset that is not covered could be read: the first mark beyond it tells.

    The first mark of all says only that it could be read by then. What another operator watched before stands in the status: as
    long as it said that something was not covered, this may be as old.
    """
    first = bisect_right(seen.readable, covered, key=lambda mark: mark.offset)
    known = seen.readable[first].at if first < len(seen.readable) else observed.now
    before = observed.model.status.ingestion
    if 0 < first < len(seen.readable) or before is None or before.furthest_behind is None:
        return known
    return min(known, before.furthest_behind.since)


def furthest(observed: Observed) -> FurthestBehind | None:
    """The partition whose oldest uncovered record has waited longest; None without lag, what was known last while nothing can be read."""
    before = observed.model.status.ingestion
    seen = behind(observed)
    if seen is None:
        return before.furthest_behind if before else None
    lagging = [each for each in seen if each.records]
    if not lagging:
        return None
    worst = min(lagging, key=lambda each: (each.since, -each.records))
    return FurthestBehind(topic=worst.topic, partition=worst.partition, records=worst.records, since=worst.since)


def lag_records(observed: Observed) -> int:
    """Records on the ingested topics that can be read and that the newest snapshot does not cover (see `Behind.records`)."""
    seen = behind(observed)
    if seen is None:
        return observed.model.status.ingestion.lag_records if observed.model.status.ingestion else 0
    return sum(each.records for each in seen)


def lag_seconds(observed: Observed) -> int:
    """How long the oldest of them could have been read by now; 0 without any."""
    worst = furthest(observed)
    return max(0, int((observed.now - worst.since).total_seconds())) if worst else 0


def consumers(observed: Observed, running_since: datetime | None) -> int:
    """How many consumers are wanted now: what was wanted before, one more, or one less.

    Args:
        observed: what was seen; its status says what was wanted before.
        running_since: when the job with that many was started; None while none runs.
    """
    asked, before = observed.model.spec.data.snapshot.consumers, observed.model.status.ingestion
    partitions = sum(topic.partitions for topic in observed.model.spec.kafka.topics if topic.role in ("Watch", "Rate"))
    most = max(1, min(asked.max, partitions))
    least = min(asked.min, most)
    now = min(max(before.consumers if before else least, least), most)
    # Before the first snapshot another consumer helps nobody: what keeps the one from publishing would keep two.
    if running_since is None or observed.manifest is None or behind(observed) is None:
        return now
    lived, roll = observed.now - running_since, observed.model.spec.data.snapshot.roll
    # Less than two rolls of lag is what rolling brings about by itself.
    late = lag_records(observed) > 2 * roll.max_records and lag_seconds(observed) > max(_LEAST_BEHIND_S, 2 * roll.max_seconds)
    if late and lived >= GROW_AFTER:
        return min(now + 1, most)
    idle = lag_records(observed) < roll.max_records and lag_seconds(observed) <= max(_LEAST_BEHIND_S, 2 * roll.max_seconds)
    return max(now - 1, least) if idle and lived >= SHRINK_AFTER else now
