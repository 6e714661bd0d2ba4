"""A model's topics as the brokers describe them, beside what the spec asks."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from kubectl_recsys.table import table
from kubectl_recsys.views import find_model
from recsys_operator.plan.wanted_topics import ours, out_of_sync
from recsys_operator.state.observed import MovesState, TopicsState, TopicState, Unavailable
from recsys_operator.world.connection import read_connection
from recsys_operator.world.kafka import Kafka
from recsys_operator.world.kube import Kube
from recsys_operator.world.observe import asked_replicas
from recsys_schemas.v1alpha1.topics import Topic


async def verify_topics(kube: Kube, namespace: str, name: str) -> int:
    """Print each topic with its verdict; 1 unless all are as the spec asks, with every replica in sync."""
    model = await find_model(kube, namespace, name)
    wanted = model.spec.kafka.topics
    at = await read_connection(kube, model)
    seen = await Kafka().read(at, [topic.name for topic in wanted], ends_of=[], now=datetime.now(UTC), asked=asked_replicas(model))
    rows = [_row(topic, seen.topics.get(topic.name), _under_way(seen, topic.name)) for topic in wanted]
    print(f"cluster {seen.cluster_id}, {seen.live_brokers} brokers live")
    print(table(("TOPIC", "ROLE", "PARTITIONS", "RF", "ISR", "MIN.ISR", "VERDICT"), rows))
    if isinstance(seen.moves, Unavailable):
        print(f"whether replicas are being added cannot be seen: {seen.moves.message}")
    return 0 if all(row[-1] == "ok" for row in rows) else 1


def _under_way(seen: TopicsState, topic: str) -> Mapping[int, Sequence[int]]:
    """Partition → brokers that its replicas are being added to."""
    if not isinstance(seen.moves, MovesState):
        return {}
    return {number: move.adding for (name, number), move in seen.moves.under_way.items() if name == topic and move.adding}


def _row(topic: Topic, seen: TopicState | None, adding: Mapping[int, Sequence[int]]) -> tuple[object, ...]:
    if seen is None:
        who = "the operator makes it; see `kubectl recsys status`" if topic.management_policy == "Manage" else "its owner must make it"
        return (topic.name, topic.role, None, None, None, None, f"missing: {who}")
    counts = [partition.replicas - len(set(adding.get(partition.id, ())) & set(partition.assigned)) for partition in seen.partitions]
    in_sync = min((partition.in_sync for partition in seen.partitions), default=0)
    least = seen.config.get("min.insync.replicas")
    said = _verdict(topic, seen, counts, adding)
    return (topic.name, topic.role, len(seen.partitions), min(counts, default=0), in_sync, least, said)


def _verdict(topic: Topic, seen: TopicState, counts: Sequence[int], adding: Mapping[int, Sequence[int]]) -> str:
    if not all(partition.has_leader for partition in seen.partitions):
        return "offline: a partition has no leader; bring its brokers back"
    if any(out_of_sync(partition, frozenset(adding.get(partition.id, ()))) for partition in seen.partitions):
        return "under-replicated: a replica is out of sync; bring its broker back"
    if adding:
        done = sum(count >= topic.replicas for count in counts)
        return f"raising: {done} of {len(counts)} partitions have {topic.replicas} replicas, {len(adding)} under way"
    if min(counts, default=0) < topic.replicas:
        who = "the operator adds them" if ours(topic) else "its owner must add them"
        return f"{topic.replicas} replicas asked: {who}; see `kubectl recsys status`"
    if len(seen.partitions) < topic.partitions:
        return f"{topic.partitions} partitions asked"
    if seen.config.get("min.insync.replicas") != str(topic.min_insync_replicas):
        return f"min.insync.replicas {topic.min_insync_replicas} asked"
    return "ok"
