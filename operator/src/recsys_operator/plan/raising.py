"""Raising: an existing topic of ours with fewer replicas than the spec asks gets more, a few partitions at a time, under a throttle.

Each pass takes the one step that is next, from what the brokers say and from what `status.replication.raising` remembers:

    nothing under way → write the next partitions into the status → throttle, then ask for the moves → wait → unthrottle → next

What is to be asked is written down a pass before it is asked, so a crash between any two of these leaves nothing that is not known to
be ours, and each step is done again when it does not show. A move or a throttle that is not written down is someone else's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from recsys_operator.plan import throttle
from recsys_operator.plan.once import once
from recsys_operator.plan.replicas import raised
from recsys_operator.plan.wanted_topics import ours, out_of_sync, wanted
from recsys_operator.state.actions import Action, PublishEvent, ReassignReplicas
from recsys_operator.state.observed import MovesState, Observed, PartitionState, TopicsState, TopicState, Unavailable
from recsys_schemas.kafka_access import GRANT
from recsys_schemas.v1alpha1.replication import MovingPartition, Raising, RaisingTopic
from recsys_schemas.v1alpha1.topics import Topic

AT_ONCE = 10
"""Partitions under way at a time: the rest of the cluster's traffic goes on beside them, and a stop takes effect after them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one pass does about replicas, and what is remembered and said of it."""

    raising: Raising | None = None
    """For the status."""
    actions: tuple[Action, ...] = ()
    waits: str = ""
    """Why nothing more is begun, in plain words; empty when there is no reason."""
    denied: bool = False
    """The brokers do not grant us the rights."""


@once
def step(observed: Observed) -> Step:
    """The step that is next."""
    seen, before = observed.topics, remembered(observed)
    if isinstance(seen, Unavailable):
        return Step(raising=before)
    low = _low(observed, seen)
    if before is None and not low:
        return Step()
    moves = seen.moves
    if isinstance(moves, Unavailable):
        return Step(raising=before, waits=moves.message, denied=moves.refused)
    if moves is None:
        return Step(raising=before, waits=_infeasible(low, seen))
    if moves.lacking:
        rights = " and ".join(moves.lacking)
        what = "finish it" if before else "raise it"
        return Step(raising=before, denied=True, waits=f"to {what} takes {rights} on the cluster, which the brokers do not grant: {GRANT}")
    if before is not None and before.moving:
        return _go_on(observed, seen, moves, before)
    return _begin(observed, seen, moves, before)


def leave(observed: Observed) -> tuple[Action, ...] | None:
    """The model is deleted: take our throttle away. Replicas that are being added are added all the same, as fast as they can be.

    Returns:
        What is left to do; None while the brokers cannot be asked, or do not let us.
    """
    seen, before = observed.topics, remembered(observed)
    if before is None:
        return ()
    if isinstance(seen, Unavailable) or not isinstance(seen.moves, MovesState) or seen.moves.lacking:
        return None
    return throttle.take_off(seen, seen.moves, before)


def remembered(observed: Observed) -> Raising | None:
    """What earlier passes have written down."""
    replication = observed.model.status.replication
    return replication.raising if replication else None


def lag(observed: Observed, seen: TopicsState, topic: str, partition: PartitionState) -> frozenset[int]:
    """Brokers whose replica of this partition is only being added, whoever asked for it."""
    return frozenset(_own(observed, topic, partition.id)) | frozenset(_under_way(seen, topic, partition.id))


def established(observed: Observed, seen: TopicsState, topic: str, partition: PartitionState) -> int:
    """How many replicas a partition has, not counting those that are being added.

    While the brokers do not tell what is under way, one of ours counts once it is in sync.
    """
    coming = set(_under_way(seen, topic, partition.id)) | (set(_own(observed, topic, partition.id)) - set(partition.synced))
    return partition.replicas - len(coming & set(partition.assigned))


def _own(observed: Observed, topic: str, partition: int) -> list[int]:
    before = remembered(observed)
    if before is None or not before.moving:
        return []
    return [broker for each in before.moving if (each.topic, each.partition) == (topic, partition) for broker in each.adding]


def _under_way(seen: TopicsState, topic: str, partition: int) -> tuple[int, ...]:
    if not isinstance(seen.moves, MovesState):
        return ()
    found = seen.moves.under_way.get((topic, partition))
    return found.adding if found else ()


def thin(observed: Observed, topic: Topic, seen: TopicsState) -> bool:
    """Whether a partition of the topic has fewer replicas than the spec asks."""
    state = seen.topics.get(topic.name)
    return state is not None and any(established(observed, seen, topic.name, each) < topic.replicas for each in state.partitions)


@once
def _low(observed: Observed, seen: TopicsState) -> list[Topic]:
    return [topic for topic in wanted(observed) if ours(topic) and thin(observed, topic, seen)]


def _infeasible(low: Iterable[Topic], seen: TopicsState) -> str:
    short = [topic for topic in low if topic.replicas > seen.live_brokers]
    names = ", ".join(f"spec.kafka.topics[{topic.name}].replicas: {topic.replicas}" for topic in short)
    return f"{names}, but {seen.live_brokers} brokers are live: lower replicas or add brokers" if short else ""


def _go_on(observed: Observed, seen: TopicsState, moves: MovesState, before: Raising) -> Step:
    """Partitions are under way: ask for those that do not show yet; when all are done take the throttle away, and look that it is gone."""
    live = {broker.id for broker in moves.brokers}
    asked = {topic.name for topic in _low(observed, seen)}
    waiting = [each for each in before.moving if set(_under_way(seen, each.topic, each.partition)) & set(each.adding)]
    missing = [each for each in before.moving if each.topic in asked and not _shows(seen, moves, each) and live >= set(each.adding)]
    if (waiting or missing) and not before.unthrottling:
        known = throttle.seen_unset(moves, before)
        told = before.model_copy(update={"topics": _progress(observed, seen), "throttled_brokers": known})
        down = sorted({broker for each in waiting for broker in each.adding} - live)
        waits = f"brokers {', '.join(map(str, down))} are down: bring them back, or cancel with Kafka's reassignment tool" if down else ""
        return Step(raising=told, actions=(*throttle.put_on(seen, moves, before), *_ask(missing)), waits=waits)
    left = throttle.take_off(seen, moves, before)
    if left or not before.unthrottling:
        told = before.model_copy(update={"topics": _progress(observed, seen), "unthrottling": True})
        # At first without looking: what a broker says of its settings may be older than our own change of them.
        return Step(raising=told, actions=left or throttle.take_off(seen, moves, before, blindly=True))
    if hidden := throttle.out_of_reach(seen, moves, before):
        waits = f"the throttle of brokers {', '.join(map(str, hidden))}, which are down, is taken away once they are back"
        return Step(raising=before, waits=waits)
    done = before.model_copy(update={"moving": [], "throttled_brokers": [], "unthrottling": False})
    return _begin(observed, seen, moves, done)


def _shows(seen: TopicsState, moves: MovesState, each: MovingPartition) -> bool:
    """Whether a move is under way (ours, or another of the same partition), or done."""
    if (each.topic, each.partition) in moves.under_way:
        return True
    state = seen.topics.get(each.topic)
    found = next((partition for partition in state.partitions if partition.id == each.partition), None) if state else None
    return found is None or set(each.replicas) <= set(found.assigned) or found.assigned != tuple(each.replicas[: len(found.assigned)])


def _ask(missing: list[MovingPartition]) -> list[Action]:
    topics = dict.fromkeys(each.topic for each in missing)
    return [
        ReassignReplicas(topic=topic, partitions={each.partition: tuple(each.replicas) for each in missing if each.topic == topic})
        for topic in topics
    ]


def _begin(observed: Observed, seen: TopicsState, moves: MovesState, before: Raising | None) -> Step:
    """Choose the next partitions and write them down; nothing is asked for yet. Or all is done."""
    low = _low(observed, seen)
    if not low:
        counts = ", ".join(f"{topic.name} {topic.partitions}" for topic in _progress(observed, seen, before))
        message = f"every partition has the replicas that the spec asks ({counts})"
        event = PublishEvent(reason="ReplicationRaised", message=message)
        return Step(actions=(event,) if before else ())
    chosen, waits = _next(observed, seen, moves, low)
    if not chosen:
        return Step(raising=before, waits=waits)
    told = Raising(
        since=before.since if before else observed.now,
        topics=_progress(observed, seen, before),
        bytes_per_second=observed.model.spec.kafka.replication_throttle_bytes_per_second,
        moving=chosen,
    )
    told = told.model_copy(update={"throttled_brokers": throttle.seen_unset(moves, told)})
    if before:
        return Step(raising=told, waits=waits)
    event = PublishEvent(reason="RaisingReplication", message=words(told))
    return Step(raising=told, actions=(event,), waits=waits)


def _next(observed: Observed, seen: TopicsState, moves: MovesState, low: list[Topic]) -> tuple[list[MovingPartition], str]:
    """The next partitions, and why others are left out."""
    states = ((name, partition) for name, state in seen.topics.items() for partition in state.partitions)
    if any(out_of_sync(partition, lag(observed, seen, name, partition)) for name, partition in states):
        return [], "no more are begun while a replica is out of sync"
    racks = _racks(moves)
    chosen: list[MovingPartition] = []
    why: list[str] = [_infeasible(low, seen)]
    for topic in low:
        state = seen.topics[topic.name]
        if topic.replicas > len(racks):
            continue
        if theirs := throttle.keys_set(state):
            why.append(f"{topic.name}: {' and '.join(theirs)} set by someone else; remove it (kafka-reassign-partitions.sh --verify does)")
            continue
        others = [each.id for each in state.partitions if (topic.name, each.id) in moves.under_way]
        if others:
            why.append(f"{topic.name}: partitions {', '.join(map(str, others))} are being reassigned by someone else, and left alone")
        chosen += _moves(topic, state, racks, without=set(others))
    return chosen[:AT_ONCE], "; ".join(filter(None, why))


def _moves(topic: Topic, state: TopicState, racks: Mapping[int, str], without: set[int]) -> list[MovingPartition]:
    present = {each.id: each.assigned for each in state.partitions}
    return [
        MovingPartition(topic=topic.name, partition=number, replicas=list(brokers), adding=list(brokers[len(present[number]) :]))
        for number, brokers in raised(present, topic.replicas, racks).items()
        if number not in without and len(brokers) > len(present[number])
    ]


def _racks(moves: MovesState) -> dict[int, str]:
    """Racks count only when every live broker names one, as with Kafka itself."""
    known = all(broker.rack for broker in moves.brokers)
    return {broker.id: broker.rack if known else "" for broker in moves.brokers}


def _progress(observed: Observed, seen: TopicsState, before: Raising | None = None) -> list[RaisingTopic]:
    """How far each topic is that was or is to be raised."""
    earlier = before or remembered(observed)
    names = {topic.name for topic in earlier.topics} if earlier else set[str]()
    found: list[RaisingTopic] = []
    for topic in wanted(observed):
        state = seen.topics.get(topic.name)
        if state is None or not ours(topic) or not (topic.name in names or thin(observed, topic, seen)):
            continue
        done = sum(established(observed, seen, topic.name, each) >= topic.replicas for each in state.partitions)
        found.append(RaisingTopic(name=topic.name, partitions=len(state.partitions), partitions_done=done))
    return found


def words(raising: Raising) -> str:
    """How far it is, in one line."""
    each = ", ".join(f"{topic.name} {topic.partitions_done} of {topic.partitions} partitions done" for topic in raising.topics)
    return f"replicas are being added: {each}; no broker copies more than {raising.bytes_per_second} bytes/s"
