"""Topics: wanted × described → create, grow, configure; never shrink, never delete. What is someone else's is only looked at."""

from enum import StrEnum

from recsys_operator.state.actions import Action, ConfigureTopic, CreateTopic, GrowTopic
from recsys_operator.state.observed import Observed, TopicsState, TopicState, Unavailable
from recsys_operator.state.plan import Fact, Part
from recsys_schemas.v1alpha1.conditions import ConditionType
from recsys_schemas.v1alpha1.model import Topic


class Topics(StrEnum):
    """The state of a model's topics in one word: the first that fits."""

    UNREACHABLE = "Unreachable"
    INFEASIBLE = "Infeasible"
    NOT_OURS_TO_MAKE = "NotOursToMake"
    MISSING = "Missing"
    DIFFERENT = "Different"
    NOT_OURS_TO_CHANGE = "NotOursToChange"
    THIN = "Thin"
    UNDER_REPLICATED = "UnderReplicated"
    HEALTHY = "Healthy"


MOVES: dict[Topics, frozenset[Topics]] = {word: frozenset(Topics) for word in Topics}
"""Any word may follow any other: brokers come and go as they like."""

USABLE = frozenset({Topics.NOT_OURS_TO_CHANGE, Topics.THIN, Topics.UNDER_REPLICATED, Topics.HEALTHY})
"""Words in which events can be read."""

HOLDING = frozenset({Topics.UNREACHABLE, Topics.UNDER_REPLICATED})
"""Words that hold training and promotion: what is judged now may rest on events that are about to be lost."""


def wanted(observed: Observed) -> list[Topic]:
    """The topics of the spec, and the dead-letter topic."""
    named = observed.model.spec.kafka.topics
    events = [topic for topic in named if topic.role in ("Watch", "Rate")]
    dead = Topic(
        name=observed.model.dead_letter_topic,
        role="Watch",
        partitions=1,
        replicas=max(topic.replicas for topic in events),
        min_insync_replicas=max(topic.min_insync_replicas for topic in events),
        retention_hours=max(topic.retention_hours for topic in events),
    )
    return [*named, dead]


def _config(topic: Topic) -> dict[str, str]:
    return {"min.insync.replicas": str(topic.min_insync_replicas), "retention.ms": str(topic.retention_hours * 3_600_000)}


def _differs(topic: Topic, seen: TopicState) -> bool:
    return bool(_differences(topic, seen))


def _differences(topic: Topic, seen: TopicState) -> list[str]:
    """What is seen and what is asked, one text for each that differs."""
    fewer = [f"{len(seen.partitions)} partitions, {topic.partitions} asked"] if len(seen.partitions) < topic.partitions else []
    other = {key: value for key, value in _config(topic).items() if seen.config.get(key) != value}
    return fewer + [f"{key} {seen.config.get(key, 'unset')}, {value} asked" for key, value in other.items()]


def _ours(topic: Topic) -> bool:
    return topic.management_policy == "Manage"


def _thin(topic: Topic, seen: TopicState) -> bool:
    return any(partition.replicas < topic.replicas for partition in seen.partitions)


def _out_of_sync(seen: TopicState) -> int:
    return sum(partition.in_sync < partition.replicas or not partition.has_leader for partition in seen.partitions)


def judge(observed: Observed) -> Topics:
    """The state of the topics in one word."""
    seen = observed.topics
    if isinstance(seen, Unavailable):
        return Topics.UNREACHABLE
    topics = wanted(observed)
    missing = [topic for topic in topics if topic.name not in seen.topics]
    if any(topic.replicas > seen.live_brokers for topic in missing if _ours(topic)):
        return Topics.INFEASIBLE
    if missing:
        return Topics.MISSING if all(_ours(topic) for topic in missing) else Topics.NOT_OURS_TO_MAKE
    pairs = [(topic, seen.topics[topic.name]) for topic in topics]
    if any(_differs(topic, state) for topic, state in pairs if _ours(topic)):
        return Topics.DIFFERENT
    if any(_out_of_sync(state) for _, state in pairs):
        return Topics.UNDER_REPLICATED
    if any(_differs(topic, state) for topic, state in pairs):
        return Topics.NOT_OURS_TO_CHANGE
    if any(_thin(topic, state) for topic, state in pairs):
        return Topics.THIN
    return Topics.HEALTHY


def act(word: Topics, observed: Observed) -> Part:
    """What to do about it, and what to say of it."""
    seen = observed.topics
    if isinstance(seen, Unavailable):
        return Part(facts=_facts(False, "KafkaRefused", seen.message) if seen.refused else _facts(None, "KafkaUnreachable", seen.message))
    actions: list[Action] = []
    for topic in filter(_ours, wanted(observed)):
        state = seen.topics.get(topic.name)
        if state is None:
            if topic.replicas <= seen.live_brokers:
                actions.append(CreateTopic(name=topic.name, partitions=topic.partitions, replicas=topic.replicas, config=_config(topic)))
            continue
        if len(state.partitions) < topic.partitions:
            actions.append(GrowTopic(name=topic.name, partitions=topic.partitions))
        config = {key: value for key, value in _config(topic).items() if state.config.get(key) != value}
        if config:
            actions.append(ConfigureTopic(name=topic.name, config=config))
    return Part(actions=tuple(actions), facts=_say(word, observed, seen), busy=bool(actions))


def _facts(holds: bool | None, reason: str, message: str) -> tuple[Fact, ...]:
    return (
        Fact(type=ConditionType.TOPICS_READY, holds=holds, reason=reason, message=message),
        Fact(type=ConditionType.REPLICATION_HEALTHY, holds=holds, reason=reason, message=message),
    )


def _say(word: Topics, observed: Observed, seen: TopicsState) -> tuple[Fact, ...]:
    topics = wanted(observed)
    match word:
        case Topics.INFEASIBLE:
            # The dead-letter topic is made like the others and stands in no spec: to mend theirs is to mend its own.
            asked = [
                t for t in observed.model.spec.kafka.topics if t.name not in seen.topics and _ours(t) and t.replicas > seen.live_brokers
            ]
            names = [f"spec.kafka.topics[{t.name}].replicas: {t.replicas}" for t in asked or topics if t.replicas > seen.live_brokers]
            message = f"{', '.join(names)}, but {seen.live_brokers} brokers are live: lower replicas or add brokers"
            return _facts(False, "ReplicasInfeasible", message)
        case Topics.NOT_OURS_TO_MAKE:
            names = ", ".join(f"spec.kafka.topics[{t.name}]" for t in topics if t.name not in seen.topics and not _ours(t))
            mend = "have its owner make it, or set managementPolicy to Manage"
            message = f"{names}: not on the brokers (or not shown to us), and not ours to make (managementPolicy Observe): {mend}"
            return _facts(False, "ObservedTopicMissing", message)
        case Topics.NOT_OURS_TO_CHANGE:
            found = {t.name: _differences(t, seen.topics[t.name]) for t in topics}
            words = "; ".join(f"spec.kafka.topics[{name}]: {', '.join(each)}" for name, each in found.items() if each)
            message = f"{words}: not ours to change (managementPolicy Observe); have its owner change it, or ask for what there is"
            in_sync = f"{len(topics)} topics, every replica in sync"
            return (
                Fact(type=ConditionType.TOPICS_READY, holds=False, reason="ObservedTopicDiffers", message=message),
                Fact(type=ConditionType.REPLICATION_HEALTHY, holds=True, reason="AllInSync", message=in_sync),
            )
        case Topics.MISSING | Topics.DIFFERENT:
            return _facts(None, "Creating", "topics are being made or changed")
        case Topics.UNDER_REPLICATED:
            count = sum(_out_of_sync(state) for state in seen.topics.values())
            message = f"{count} partitions have a replica out of sync: training and promotion wait; bring the broker back"
        case Topics.THIN:
            thin = [f"{t.name} has fewer than {t.replicas} replicas" for t in topics if _thin(t, seen.topics[t.name])]
            message = f"{'; '.join(thin)}: raise them with Kafka's reassignment tool, or lower spec.kafka.topics[].replicas"
        case Topics.UNREACHABLE | Topics.HEALTHY:
            message = f"{len(topics)} topics, every replica in sync"
    healthy = word is Topics.HEALTHY
    reason = {Topics.UNDER_REPLICATED: "UnderReplicated", Topics.THIN: "ReplicationTooLow"}.get(word, "AllInSync")
    return (
        Fact(type=ConditionType.TOPICS_READY, holds=True, reason="Verified", message=f"{len(topics)} topics are as the spec asks"),
        Fact(type=ConditionType.REPLICATION_HEALTHY, holds=healthy, reason=reason, message=message),
    )
