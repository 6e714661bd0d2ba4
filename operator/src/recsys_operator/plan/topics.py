"""Topics: wanted × described → create, grow, raise, configure; never shrink, never delete. What is someone else's is only looked at."""

from enum import StrEnum

from recsys_operator.plan import raising
from recsys_operator.plan.once import once
from recsys_operator.plan.wanted_topics import ours, out_of_sync, wanted
from recsys_operator.state.actions import Action, ConfigureTopic, CreateTopic, GrowTopic
from recsys_operator.state.observed import Observed, TopicsState, Unavailable
from recsys_operator.state.plan import Fact, Part
from recsys_schemas.v1alpha1.conditions import ConditionType
from recsys_schemas.v1alpha1.topics import Topic


class Topics(StrEnum):
    """The state of a model's topics in one word: the first that fits."""

    UNREACHABLE = "Unreachable"
    INFEASIBLE = "Infeasible"
    NOT_OURS_TO_MAKE = "NotOursToMake"
    MISSING = "Missing"
    DIFFERENT = "Different"
    NOT_OURS_TO_CHANGE = "NotOursToChange"
    RAISING = "Raising"
    THIN = "Thin"
    UNDER_REPLICATED = "UnderReplicated"
    HEALTHY = "Healthy"


MOVES: dict[Topics, frozenset[Topics]] = {word: frozenset(Topics) for word in Topics}
"""Any word may follow any other: brokers come and go as they like."""

USABLE = frozenset({Topics.NOT_OURS_TO_CHANGE, Topics.RAISING, Topics.THIN, Topics.UNDER_REPLICATED, Topics.HEALTHY})
"""Words in which events can be read."""

HOLDING = frozenset({Topics.UNREACHABLE, Topics.UNDER_REPLICATED})
"""Words that hold training and promotion: what is judged now may rest on events that are about to be lost.
A replica that is only being added is not out of sync: nothing rests on it yet, and a raise may take hours."""

NEEDS_RIGHTS = ("RaisingReplication", "RaiseDenied")
"""Reasons of a condition with which the brokers must grant us rights on the cluster, or should."""


_LEAST = "min.insync.replicas"


COMPACTED = ("Preferences", "Items")
"""Roles of topics that keep the newest record of each key, whatever its age."""


def _config(topic: Topic) -> dict[str, str]:
    kept = {"cleanup.policy": "compact"} if topic.role in COMPACTED else {"retention.ms": str(topic.retention_hours * 3_600_000)}
    return {_LEAST: str(topic.min_insync_replicas)} | kept


def _differs(observed: Observed, topic: Topic, seen: TopicsState) -> bool:
    return bool(_differences(observed, topic, seen))


def _differences(observed: Observed, topic: Topic, seen: TopicsState) -> list[str]:
    """What is seen and what is asked, one text for each that differs."""
    state = seen.topics[topic.name]
    fewer = [f"{len(state.partitions)} partitions, {topic.partitions} asked"] if len(state.partitions) < topic.partitions else []
    return fewer + [f"{key} {state.config.get(key, 'unset')}, {value} asked" for key, value in _other(observed, topic, seen).items()]


def _other(observed: Observed, topic: Topic, seen: TopicsState) -> dict[str, str]:
    """The settings that differ and may be changed now.

    `min.insync.replicas` is never lowered: events are acknowledged on its promise. It is raised once the replicas are there, or
    nothing could be written.
    """
    state = seen.topics[topic.name]
    other = {key: value for key, value in _config(topic).items() if state.config.get(key) != value}
    if _LEAST not in other:
        return other
    least, now = int(other[_LEAST]), int(state.config.get(_LEAST, "1"))
    early = raising.thin(observed, topic, seen) or any(partition.in_sync < least for partition in state.partitions)
    if least < now or early:
        del other[_LEAST]
    return other


def _out_of_sync(observed: Observed, seen: TopicsState) -> int:
    states = ((name, each) for name, state in seen.topics.items() for each in state.partitions)
    return sum(out_of_sync(each, raising.lag(observed, seen, name, each)) for name, each in states)


@once
def judge(observed: Observed) -> Topics:
    """The state of the topics in one word."""
    seen = observed.topics
    if isinstance(seen, Unavailable):
        return Topics.UNREACHABLE
    topics = wanted(observed)
    missing = [topic for topic in topics if topic.name not in seen.topics]
    if any(topic.replicas > seen.live_brokers for topic in missing if ours(topic)):
        return Topics.INFEASIBLE
    if missing:
        return Topics.MISSING if all(ours(topic) for topic in missing) else Topics.NOT_OURS_TO_MAKE
    if any(_differs(observed, topic, seen) for topic in topics if ours(topic)):
        return Topics.DIFFERENT
    if _out_of_sync(observed, seen):
        return Topics.UNDER_REPLICATED
    if raising.step(observed).raising is not None:
        return Topics.RAISING
    if any(_differs(observed, topic, seen) for topic in topics):
        return Topics.NOT_OURS_TO_CHANGE
    if any(raising.thin(observed, topic, seen) for topic in topics):
        return Topics.THIN
    return Topics.HEALTHY


def act(word: Topics, observed: Observed) -> Part:
    """What to do about it, and what to say of it."""
    seen = observed.topics
    if isinstance(seen, Unavailable):
        return Part(facts=_facts(False, "KafkaRefused", seen.message) if seen.refused else _facts(None, "KafkaUnreachable", seen.message))
    actions: list[Action] = []
    for topic in filter(ours, wanted(observed)):
        state = seen.topics.get(topic.name)
        if state is None:
            if topic.replicas <= seen.live_brokers:
                actions.append(CreateTopic(name=topic.name, partitions=topic.partitions, replicas=topic.replicas, config=_config(topic)))
            continue
        if len(state.partitions) < topic.partitions:
            actions.append(GrowTopic(name=topic.name, partitions=topic.partitions))
        if config := _other(observed, topic, seen):
            actions.append(ConfigureTopic(name=topic.name, config=config))
    return Part(actions=tuple(actions), facts=_say(word, observed, seen), busy=bool(actions))


def _facts(holds: bool | None, reason: str, message: str) -> tuple[Fact, ...]:
    return (
        Fact(type=ConditionType.TOPICS_READY, holds=holds, reason=reason, message=message),
        Fact(type=ConditionType.REPLICATION_HEALTHY, holds=holds, reason=reason, message=message),
    )


def _say(word: Topics, observed: Observed, seen: TopicsState) -> tuple[Fact, ...]:
    topics = wanted(observed)
    in_sync = f"{len(observed.model.spec.kafka.topics)} topics, every replica in sync"
    match word:
        case Topics.INFEASIBLE:
            # The dead-letter topic is made like the others and stands in no spec: to mend theirs is to mend its own.
            asked = [
                t for t in observed.model.spec.kafka.topics if t.name not in seen.topics and ours(t) and t.replicas > seen.live_brokers
            ]
            names = [f"spec.kafka.topics[{t.name}].replicas: {t.replicas}" for t in asked or topics if t.replicas > seen.live_brokers]
            message = f"{', '.join(names)}, but {seen.live_brokers} brokers are live: lower replicas or add brokers"
            return _facts(False, "ReplicasInfeasible", message)
        case Topics.NOT_OURS_TO_MAKE:
            names = ", ".join(f"spec.kafka.topics[{t.name}]" for t in topics if t.name not in seen.topics and not ours(t))
            mend = "have its owner make it, or set managementPolicy to Manage"
            message = f"{names}: not on the brokers (or not shown to us), and not ours to make (managementPolicy Observe): {mend}"
            return _facts(False, "ObservedTopicMissing", message)
        case Topics.NOT_OURS_TO_CHANGE:
            found = {t.name: _differences(observed, t, seen) for t in topics}
            words = "; ".join(f"spec.kafka.topics[{name}]: {', '.join(each)}" for name, each in found.items() if each)
            message = f"{words}: not ours to change (managementPolicy Observe); have its owner change it, or ask for what there is"
            return (
                Fact(type=ConditionType.TOPICS_READY, holds=False, reason="ObservedTopicDiffers", message=message),
                Fact(type=ConditionType.REPLICATION_HEALTHY, holds=True, reason="AllInSync", message=in_sync),
            )
        case Topics.MISSING | Topics.DIFFERENT:
            return _facts(None, "Creating", "topics are being made or changed")
        case Topics.RAISING | Topics.THIN:
            return _say_raising(word, observed, seen)
        case Topics.UNDER_REPLICATED:
            count = _out_of_sync(observed, seen)
            message = f"{count} partitions have a replica out of sync: training and promotion wait; bring the broker back"
        case Topics.UNREACHABLE | Topics.HEALTHY:
            message = in_sync
    healthy = word is Topics.HEALTHY
    verified = f"{len(observed.model.spec.kafka.topics)} topics are as the spec asks"
    return (
        Fact(type=ConditionType.TOPICS_READY, holds=True, reason="Verified", message=verified),
        Fact(
            type=ConditionType.REPLICATION_HEALTHY,
            holds=healthy,
            reason="AllInSync" if healthy else "UnderReplicated",
            message=message,
        ),
    )


def _say_raising(word: Topics, observed: Observed, seen: TopicsState) -> tuple[Fact, ...]:
    """Replicas are being added, or should be: neither holds anything up."""
    now = raising.step(observed)
    if word is Topics.RAISING and now.raising is not None:
        message = raising.words(now.raising) + (f"; {now.waits}" if now.waits else "")
        return _facts(False if now.denied else None, "RaiseDenied" if now.denied else "RaisingReplication", message)
    low = [topic for topic in wanted(observed) if raising.thin(observed, topic, seen)]
    own, others = ", ".join(t.name for t in low if ours(t)), ", ".join(t.name for t in low if not ours(t))
    said = [f"{own}: fewer replicas than the spec asks; {now.waits}"] if own else []
    if others:
        said.append(
            f"{others}: fewer replicas than the spec asks, and not ours to change (managementPolicy Observe): have its owner raise them"
        )
    return _facts(False, "RaiseDenied" if now.denied else "ReplicationTooLow", "; ".join(said))
