"""A model whose snapshots are behind: what one pass has seen of it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from recsys_operator.state.observed import Mark, Observed, PartitionState, TopicsState, TopicState, Unavailable
from recsys_operator.world.objects import read_model
from recsys_schemas.snapshot import PartitionOffset, SnapshotManifest

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROLES = {"watch": "Watch", "rate": "Rate", "asked": "Requests", "answered": "Responses"}


def partition(number: int, *marks: tuple[datetime, int], held_since: datetime | None = None) -> PartitionState:
    """A partition that was seen readable up to these offsets at these times."""
    seen = tuple(Mark(at=at, offset=offset) for at, offset in marks)
    end = seen[-1].offset if seen else 0
    return PartitionState(id=number, replicas=3, in_sync=3, end_offset=end, readable=seen, held_since=held_since)


def manifest(covered: Mapping[tuple[str, int], int], *, bad: int = 0) -> SnapshotManifest:
    return SnapshotManifest(
        sequence=3,
        cluster_id="c",
        tables=[],
        offsets=[PartitionOffset(topic=topic, partition=number, next_offset=offset) for (topic, number), offset in covered.items()],
        rows=90,
        dead_letters=10,
        recent_records=100,
        recent_dead_letters=bad,
        committed_at=NOW,
    )


def observed(
    topics: Mapping[str, Sequence[PartitionState]] | None,
    covered: Mapping[tuple[str, int], int] | None,
    *,
    now: datetime = NOW,
    status: dict[str, Any] | None = None,
    bad: int = 0,
) -> Observed:
    """A world without Ray.

    Args:
        topics: by name; None while no broker answers.
        covered: the next offset of each partition in the newest snapshot; None before the first one.
        now: the time of the pass.
        status: what was said of ingestion before.
        bad: dead letters among the newest 100 records.
    """
    asked = [{"name": name, "role": role} for name, role in ROLES.items()]
    spec = {"ray": {"dashboardURL": "http://127.0.0.1:1"}, "kafka": {"bootstrapServers": ["127.0.0.1:1"], "topics": asked}}
    body = {"metadata": {"name": "movies", "namespace": "shop", "uid": "0123456789"}, "spec": spec}
    model = read_model(body | ({"status": {"ingestion": status}} if status else {}), "file:///x")
    nothing = Unavailable(message="not looked at")
    there = {name: TopicState(name=name, partitions=tuple(each), config={}) for name, each in (topics or {}).items()}
    return Observed(
        now=now,
        model=model,
        tokens={},
        topics=nothing if topics is None else TopicsState(cluster_id="c", live_brokers=3, topics=there),
        ray=nothing,
        manifest=None if covered is None else manifest(covered, bad=bad),
        evidence=None,
    )
