"""The throttle of copied replicas (KIP-73): a rate on brokers, and a list of replicas on topics that it holds for.

Ours is told from others' by what `status.replication.raising` remembers: on a topic, the very lists that its partitions make; on a
broker, that there was none before, and that the rate is the one that we set. Whatever differs from that is someone else's and stays.
"""

from collections.abc import Mapping

from recsys_operator.state.actions import Action, ThrottleReplication, UnthrottleReplication
from recsys_operator.state.observed import BrokerState, MovesState, TopicsState, TopicState
from recsys_schemas.v1alpha1.replication import Raising

LEADER, FOLLOWER = "leader.replication.throttled.replicas", "follower.replication.throttled.replicas"
LISTS = (LEADER, FOLLOWER)
RATES = ("leader.replication.throttled.rate", "follower.replication.throttled.rate")


def lists(raising: Raising) -> dict[str, dict[str, str]]:
    """Topic → its throttled replicas: those that are there send, those that are added receive."""
    found: dict[str, dict[str, str]] = {}
    for topic in dict.fromkeys(each.topic for each in raising.moving):
        moving = [each for each in raising.moving if each.topic == topic]
        sending = [f"{each.partition}:{broker}" for each in moving for broker in each.replicas if broker not in each.adding]
        receiving = [f"{each.partition}:{broker}" for each in moving for broker in each.adding]
        found[topic] = {LEADER: ",".join(sending), FOLLOWER: ",".join(receiving)}
    return found


def keys_set(state: TopicState) -> list[str]:
    """Which of the two lists a topic has."""
    return [key for key in LISTS if state.config.get(key)]


def seen_unset(moves: MovesState, raising: Raising) -> list[int]:
    """Brokers of these partitions whose throttle is ours to set: those that had none when we looked, then or now."""
    involved = {broker for each in raising.moving for broker in each.replicas}
    unset = {broker.id for broker in moves.brokers if broker.id in involved and not broker.rates}
    return sorted(unset | set(raising.throttled_brokers))


def put_on(seen: TopicsState, moves: MovesState, raising: Raising) -> tuple[Action, ...]:
    """Set what is not set yet. A rate or a list that differs from ours was set by someone since, and stays."""
    rates = {broker.id: raising.bytes_per_second for broker in moves.brokers if _half_set(broker, raising)}
    topics: dict[str, Mapping[str, str]] = {}
    for name, keys in lists(raising).items():
        state = seen.topics.get(name)
        unset = {key: value for key, value in keys.items() if state is not None and not state.config.get(key)}
        if unset:
            topics[name] = unset
    return (ThrottleReplication(rates=rates, topics=topics),) if rates or topics else ()


def _half_set(broker: BrokerState, raising: Raising) -> bool:
    """Ours to set, and not set, or (after a crash) one of two."""
    return broker.id in raising.throttled_brokers and len(broker.rates) < len(RATES) and _ours(broker, raising)


def _ours(broker: BrokerState, raising: Raising) -> bool:
    return all(rate == str(raising.bytes_per_second) for rate in broker.rates.values())


def take_off(seen: TopicsState, moves: MovesState, raising: Raising, *, blindly: bool = False) -> tuple[Action, ...]:
    """Take ours away where it is seen; blindly: also where none is seen."""
    live = {broker.id: broker for broker in moves.brokers}
    brokers = tuple(
        number
        for number in raising.throttled_brokers
        if number in live and _ours(live[number], raising) and (blindly or live[number].rates)
    )
    topics: list[str] = []
    for name, keys in lists(raising).items():
        state = seen.topics.get(name)
        if state is None:
            continue
        there = {key: state.config.get(key, "") for key in LISTS}
        if all(value in ("", keys[key]) for key, value in there.items()) and (blindly or any(there.values())):
            topics.append(name)
    return (UnthrottleReplication(brokers=brokers, topics=tuple(topics)),) if brokers or topics else ()


def out_of_reach(seen: TopicsState, moves: MovesState, raising: Raising) -> list[int]:
    """Brokers that are down with our throttle, and that still hold replicas of the model: only they themselves can take it away."""
    holding = {broker for state in seen.topics.values() for each in state.partitions for broker in each.assigned}
    return sorted((set(raising.throttled_brokers) & holding) - {broker.id for broker in moves.brokers})
