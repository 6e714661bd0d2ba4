"""A model's topics as the brokers describe them, beside what the spec asks."""

from datetime import UTC, datetime

from kubectl_recsys.table import table
from kubectl_recsys.views import find_model
from recsys_operator.state.observed import TopicState
from recsys_operator.world.connection import read_connection
from recsys_operator.world.kafka import Kafka
from recsys_operator.world.kube import Kube
from recsys_schemas.v1alpha1.model import Topic


async def verify_topics(kube: Kube, namespace: str, name: str) -> int:
    """Print each topic with its verdict; 1 unless all are as the spec asks, with every replica in sync."""
    model = await find_model(kube, namespace, name)
    wanted = model.spec.kafka.topics
    at = await read_connection(kube, model)
    seen = await Kafka().read(at, [topic.name for topic in wanted], ends_of=[], now=datetime.now(UTC))
    rows = [_row(topic, seen.topics.get(topic.name)) for topic in wanted]
    print(f"cluster {seen.cluster_id}, {seen.live_brokers} brokers live")
    print(table(("TOPIC", "ROLE", "PARTITIONS", "RF", "ISR", "MIN.ISR", "VERDICT"), rows))
    return 0 if all(row[-1] == "ok" for row in rows) else 1


def _row(topic: Topic, seen: TopicState | None) -> tuple[object, ...]:
    if seen is None:
        who = "the operator makes it; see `kubectl recsys status`" if topic.management_policy == "Manage" else "its owner must make it"
        return (topic.name, topic.role, None, None, None, None, f"missing: {who}")
    replicas = min((partition.replicas for partition in seen.partitions), default=0)
    in_sync = min((partition.in_sync for partition in seen.partitions), default=0)
    least = seen.config.get("min.insync.replicas")
    said = _verdict(topic, seen, replicas, in_sync)
    return (topic.name, topic.role, len(seen.partitions), replicas, in_sync, least, said)


def _verdict(topic: Topic, seen: TopicState, replicas: int, in_sync: int) -> str:
    if not all(partition.has_leader for partition in seen.partitions):
        return "offline: a partition has no leader; bring its brokers back"
    if in_sync < replicas:
        return "under-replicated: a replica is out of sync; bring its broker back"
    if replicas < topic.replicas:
        return f"{topic.replicas} replicas asked: raise them with Kafka's reassignment tool"
    if len(seen.partitions) < topic.partitions:
        return f"{topic.partitions} partitions asked"
    if seen.config.get("min.insync.replicas") != str(topic.min_insync_replicas):
        return f"min.insync.replicas {topic.min_insync_replicas} asked"
    return "ok"
