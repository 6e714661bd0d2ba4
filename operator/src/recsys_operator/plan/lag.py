"""How far the newest snapshot is behind the topics, and how many consumers that asks for."""

from datetime import datetime, timedelta

from recsys_operator.plan.names import topics_by_role
from recsys_operator.state.observed import ModelState, Observed, Unavailable

GROW_AFTER = timedelta(seconds=60)
"""A consumer that was just started has what was written before it to read: that is no sign yet."""
SHRINK_AFTER = timedelta(hours=1)
_LEAST_BEHIND_S = 30


def event_topics(model: ModelState) -> dict[str, str]:
    """Event type of each topic that is ingested."""
    roles = topics_by_role(model)
    return {roles[role].name: role.lower() for role in ("Watch", "Rate") if role in roles}


def lag_records(observed: Observed) -> int:
    """Committed records on the event topics that the newest snapshot does not cover."""
    manifest = observed.manifest
    if isinstance(observed.topics, Unavailable) or manifest is None or isinstance(manifest, Unavailable):
        return observed.model.status.ingestion.lag_records if observed.model.status.ingestion else 0
    covered = {(offset.topic, offset.partition): offset.next_offset for offset in manifest.offsets}
    topics = [observed.topics.topics[name] for name in event_topics(observed.model) if name in observed.topics.topics]
    return sum(max(0, p.end_offset - covered.get((topic.name, p.id), 0)) for topic in topics for p in topic.partitions)


def lag_seconds(observed: Observed) -> int:
    """Age of the newest record covered, as long as some are not covered; else 0."""
    manifest = observed.manifest
    if manifest is None or isinstance(manifest, Unavailable) or manifest.newest_event_at is None or not lag_records(observed):
        return 0
    return max(0, int((observed.now - manifest.newest_event_at).total_seconds()))


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
    if running_since is None or isinstance(observed.topics, Unavailable) or isinstance(observed.manifest, Unavailable):
        return now
    lived, roll = observed.now - running_since, observed.model.spec.data.snapshot.roll
    # Less than two rolls of lag is what rolling brings about by itself.
    behind = lag_records(observed) > 2 * roll.max_records and lag_seconds(observed) > max(_LEAST_BEHIND_S, 2 * roll.max_seconds)
    if behind and lived >= GROW_AFTER:
        return min(now + 1, most)
    idle = lag_records(observed) < roll.max_records and lag_seconds(observed) <= max(_LEAST_BEHIND_S, 2 * roll.max_seconds)
    return max(now - 1, least) if idle and lived >= SHRINK_AFTER else now
