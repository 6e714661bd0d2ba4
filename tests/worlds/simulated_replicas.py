"""The replicas of the simulated world's topics: who has which, what is being added, how fast. SAFETY is asserted at every action."""

import random
from dataclasses import dataclass, field
from functools import lru_cache

from recsys_operator.state.actions import ReassignReplicas, ThrottleReplication, UnthrottleReplication
from recsys_operator.state.observed import BrokerState, MovesState, PartitionState, UnderWay

RATES = ("leader.replication.throttled.rate", "follower.replication.throttled.rate")
MOST = 10


@dataclass
class Replicas:
    """What the brokers know of replicas, and what the controller is asked."""

    layout: dict[str, list[list[int]]] = field(default_factory=dict[str, list[list[int]]])
    """Topic → its partitions' brokers, those included that are being added."""
    adding: dict[tuple[str, int], list[int]] = field(default_factory=dict[tuple[str, int], list[int]])
    lists: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """Topic → its throttled replicas."""
    rates: dict[int, dict[str, str]] = field(default_factory=dict[int, dict[str, str]])
    racks: dict[int, str] = field(default_factory=dict[int, str])
    rights: tuple[str, ...] = ("Alter", "AlterConfigs")
    slow: bool = False
    """Nothing that is being added gets done."""
    others: set[str] = field(default_factory=set[str])
    """What someone else has set or asked for: topics, brokers (as text), or topic:partition."""
    most_under_way: int = 0

    def grow(self, name: str, partitions: int, replicas: int, brokers: int) -> None:
        """Partitions that are new get brokers in turn."""
        there = self.layout.setdefault(name, [])
        wanted = len(there[0]) if there else replicas
        for number in range(len(there), partitions):
            there.append([(number + place) % brokers + 1 for place in range(min(wanted, brokers))])

    def partitions(self, name: str, *, out_of_sync: bool, end_offset: int) -> tuple[PartitionState, ...]:
        """As the brokers describe them."""
        found: list[PartitionState] = []
        for number, assigned in enumerate(self.layout[name]):
            synced = self.established(name, number)
            synced = synced[: len(synced) - out_of_sync]
            state = _described(number, tuple(assigned), tuple(synced), end_offset)
            found.append(state)
        return tuple(found)

    def established(self, name: str, number: int) -> list[int]:
        """Without those that are being added."""
        return [broker for broker in self.layout[name][number] if broker not in self.adding.get((name, number), [])]

    def moves(self, brokers: int) -> MovesState:
        """As the operator reads them."""
        lacking = tuple(right for right in ("Alter", "AlterConfigs") if right not in self.rights)
        if lacking:
            return MovesState(lacking=lacking)
        live = (BrokerState(id=n, rack=self.racks.get(n, ""), rates=dict(self.rates.get(n, {}))) for n in range(1, brokers + 1))
        return MovesState(
            lacking=(),
            brokers=tuple(live),
            under_way={where: UnderWay(adding=tuple(added)) for where, added in self.adding.items()},
        )

    def throttle(self, action: ThrottleReplication) -> None:
        """Rates and lists are set where there are none, or the same again."""
        for broker, rate in action.rates.items():
            there = self.rates.setdefault(broker, {})
            assert all(value == str(rate) for value in there.values()), "a rate that someone set was changed"
            assert str(broker) not in self.others, "a rate that someone set was changed"
            there.update(dict.fromkeys(RATES, str(rate)))
        for topic, keys in action.topics.items():
            there = self.lists.setdefault(topic, {})
            assert all(there.get(key, value) == value for key, value in keys.items()), "a throttle that someone set was changed"
            there.update(keys)

    def reassign(self, action: ReassignReplicas, brokers: int) -> None:
        """I6: replicas are added, none is taken away, and the leaders stay."""
        for number, wanted in action.partitions.items():
            there = self.established(action.topic, number)
            assert list(wanted[: len(there)]) == there, "I6: replicas are only added, and leaders stay"
            assert len(set(wanted)) == len(wanted), "one broker twice"
            assert all(1 <= broker <= brokers for broker in wanted[len(there) :]), "a replica on a broker that is not there"
            before = self.adding.get((action.topic, number))
            assert before is None or before == list(wanted[len(there) :]), "a move that is under way was replaced"
            self._check_throttled(action.topic, number, wanted, there)
            self.layout[action.topic][number] = list(wanted)
            if len(wanted) > len(there):
                self.adding[action.topic, number] = list(wanted[len(there) :])
        own = [where for where in self.adding if f"{where[0]}:{where[1]}" not in self.others]
        self.most_under_way = max(self.most_under_way, len(own))
        assert len(own) <= MOST, "more partitions under way than agreed"

    def _check_throttled(self, topic: str, number: int, wanted: tuple[int, ...], there: list[int]) -> None:
        keys = self.lists.get(topic, {})
        sending = keys.get("leader.replication.throttled.replicas", "").split(",")
        receiving = keys.get("follower.replication.throttled.replicas", "").split(",")
        assert all(f"{number}:{broker}" in sending for broker in there), "copied without a throttle"
        assert all(f"{number}:{broker}" in receiving for broker in wanted[len(there) :]), "copied without a throttle"
        assert all(len(self.rates.get(broker, {})) == 2 for broker in wanted), "copied without a throttle"

    def unthrottle(self, action: UnthrottleReplication) -> None:
        """Only what is ours, and only when nothing of ours is being copied."""
        own = [where for where in self.adding if f"{where[0]}:{where[1]}" not in self.others]
        assert not [topic for topic, _ in own if topic in action.topics], "unthrottled while it is copied"
        assert not self.others & {*action.topics, *map(str, action.brokers)}, "a throttle that someone set was removed"
        for topic in action.topics:
            self.lists.pop(topic, None)
        for broker in action.brokers:
            self.rates.pop(broker, None)

    def left(self) -> set[str]:
        """Throttles that are not someone else's."""
        there = {name for name, keys in self.lists.items() if keys} | {str(broker) for broker, keys in self.rates.items() if keys}
        return there - self.others

    def copy(self, chance: random.Random, brokers: int) -> None:
        """Time goes by: a replica whose broker is there gets done some time."""
        for where, added in list(self.adding.items()):
            if not self.slow and all(broker <= brokers for broker in added) and chance.random() < 0.4:
                del self.adding[where]


@lru_cache(maxsize=4096)
def _described(number: int, assigned: tuple[int, ...], synced: tuple[int, ...], end_offset: int) -> PartitionState:
    """The same partition is described the same in pass after pass."""
    return PartitionState(id=number, replicas=len(assigned), in_sync=len(synced), end_offset=end_offset, assigned=assigned, synced=synced)
