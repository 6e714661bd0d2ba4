"""What the operator's metrics say of one model after a pass. Pure, and bounded: a model has so many series and no more."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from recsys_operator.plan.lag import Behind, behind
from recsys_operator.plan.quality import put_aside
from recsys_operator.state.observed import Key, Observed, Unavailable
from recsys_schemas import metric_names
from recsys_schemas.metric_names import Metric
from recsys_schemas.v1alpha1.model_status import Ingestion, ModelStatus

NAMED_PARTITIONS = 100
"""Of each topic so many have series of their own; the others have one together."""
OTHERS = "others"
"""Label of those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One sample: a metric, its labels' values in their order, and the value."""

    metric: Metric
    labels: tuple[str, ...]
    value: float


def figures(observed: Observed, status: ModelStatus) -> list[Figure]:
    """Everything that a pass has found out about a model.

    Args:
        observed: what was seen.
        status: what was decided to say of it.
    """
    model = (observed.model.key.namespace, observed.model.key.name)
    ready = any(condition.type == "Ready" and condition.status == "True" for condition in status.conditions)
    limit = observed.model.spec.data.snapshot.max_dead_letter_fraction
    found = [
        Figure(metric=metric_names.MODEL_READY, labels=model, value=ready),
        Figure(metric=metric_names.DEAD_LETTER_LIMIT, labels=model, value=limit),
    ]
    for variant, arm in (("stable", status.champion), ("candidate", status.challenger)):
        found.append(Figure(metric=metric_names.ARM_SHARE, labels=(*model, variant), value=arm.weight if arm else 0))
    if status.ingestion is not None:
        found += _ingestion(observed, model, status.ingestion)
    if not isinstance(observed.topics, Unavailable):
        held = [each.held_since for topic in observed.topics.topics.values() for each in topic.partitions if each.held_since]
        seconds = max(((observed.now - since).total_seconds() for since in held), default=0.0)
        found.append(Figure(metric=metric_names.INGEST_HELD_SECONDS, labels=model, value=seconds))
    return found + _lag(observed, model)


def unread(key: Key) -> list[Figure]:
    """What is known of a model that cannot be read or decided on: it is not ready."""
    return [Figure(metric=metric_names.MODEL_READY, labels=(key.namespace, key.name), value=0)]


def _ingestion(observed: Observed, model: tuple[str, str], said: Ingestion) -> Iterable[Figure]:
    yield Figure(metric=metric_names.SNAPSHOT_TIME, labels=model, value=said.last_snapshot_time.timestamp())
    yield Figure(metric=metric_names.SNAPSHOT_ROWS, labels=model, value=said.rows)
    yield Figure(metric=metric_names.INGEST_CONSUMERS, labels=model, value=said.consumers)
    if observed.manifest is not None and not isinstance(observed.manifest, Unavailable):
        yield Figure(metric=metric_names.DEAD_LETTER_FRACTION, labels=model, value=put_aside(observed.manifest).fraction)
    if (kept := said.last_upkeep) is not None:
        yield Figure(metric=metric_names.UPKEEP_TIME, labels=model, value=kept.time.timestamp())
        yield Figure(metric=metric_names.TABLE_FILES, labels=model, value=kept.files)


def _lag(observed: Observed, model: tuple[str, str]) -> list[Figure]:
    """Nothing while nothing can be read: a number that stands still would say that all is well."""
    by_place: defaultdict[tuple[str, str], list[Behind]] = defaultdict(list)
    for each in behind(observed) or ():
        number = str(each.partition) if each.partition < NAMED_PARTITIONS else OTHERS
        by_place[each.topic, number].append(each)
    found: list[Figure] = []
    for place, parts in sorted(by_place.items()):
        oldest = min(part.since for part in parts)
        seconds = max(0.0, (observed.now - oldest).total_seconds())
        records = sum(part.records for part in parts)
        found.append(Figure(metric=metric_names.INGEST_LAG, labels=(*model, *place), value=records))
        found.append(Figure(metric=metric_names.INGEST_LAG_SECONDS, labels=(*model, *place), value=seconds))
    return found
