"""The topics that a model asks for, and what is said of the replicas of those that are there."""

from recsys_operator.state.observed import Observed, PartitionState, Unavailable
from recsys_schemas.v1alpha1.topics import Topic


def wanted(observed: Observed) -> list[Topic]:
    """The topics of the spec; and the dead-letter topic, from the first time on that ingest may run.

    Until then nothing is put aside: thousands of models that wait suspended take no topic of the brokers.
    """
    named = observed.model.spec.kafka.topics
    name = observed.model.dead_letter_topic
    there = not isinstance(observed.topics, Unavailable) and name in observed.topics.topics
    if observed.model.spec.suspend and not there:
        return list(named)
    events = [topic for topic in named if topic.role in ("Watch", "Rate")]
    dead = Topic(
        name=name,
        role="Watch",
        partitions=1,
        replicas=max(topic.replicas for topic in events),
        min_insync_replicas=max(topic.min_insync_replicas for topic in events),
        retention_hours=max(topic.retention_hours for topic in events),
    )
    return [*named, dead]


def ours(topic: Topic) -> bool:
    """Whether we make and change it; else it is someone else's and only looked at."""
    return topic.management_policy == "Manage"


def out_of_sync(partition: PartitionState, adding: frozenset[int]) -> bool:
    """Whether a partition lacks a replica that it had: one that is only being added does not count, however far it is."""
    coming = adding & (set(partition.assigned) - set(partition.synced))
    return partition.replicas - partition.in_sync > len(coming) or not partition.has_leader
