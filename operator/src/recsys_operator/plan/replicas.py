"""Where more replicas of a topic's partitions go. Pure: replicas are only ever added, and those that are there keep their place.

Two things are wanted, in this order: each partition on as many racks as it can be, and the brokers' numbers of replicas as even as
what is there allows. The second takes more than giving each partition the brokers that have fewest: a broker may be full by the time
the one partition comes that has no other choice. So a first choice is bettered along chains, as in a flow: a replica goes from one
broker to the next, another from there to a third, as long as that takes two or more from a broker's lead over another.
"""

from collections import Counter, deque
from collections.abc import Mapping

Layout = dict[int, list[int]]
"""Partition → brokers in order; the first is to lead."""


def raised(present: Mapping[int, tuple[int, ...]], replicas: int, racks: Mapping[int, str]) -> dict[int, tuple[int, ...]]:
    """The brokers of each partition once it has `replicas` of them; it keeps those that it has, in their order, before the others.

    Args:
        present: partition → its brokers in order.
        replicas: how many each is to have; a partition with as many or more stays as it is.
        racks: the brokers that may take replicas → their racks; empty where none is known.

    Returns:
        All partitions. One that finds too few brokers stays as it is.
    """
    layout = {number: list(brokers) for number, brokers in sorted(present.items())}
    load = Counter(dict.fromkeys(racks, 0))
    load.update(broker for brokers in layout.values() for broker in brokers if broker in racks)
    for number, brokers in layout.items():
        if len(set(racks) - set(brokers)) >= replicas - len(brokers):
            _fill(brokers, replicas, racks, load, first=number)
    _even_out(layout, {number: len(brokers) for number, brokers in present.items()}, racks, load)
    return {number: tuple(brokers) for number, brokers in layout.items()}


def _fill(brokers: list[int], replicas: int, racks: Mapping[int, str], load: Counter[int], *, first: int) -> None:
    """Add brokers one by one: of a rack that has none yet, of those the one with fewest replicas."""
    while len(brokers) < replicas:
        held = Counter(racks.get(broker, "") for broker in brokers)
        free = sorted(set(racks) - set(brokers))
        # Where all are equal each partition begins at another broker, as Kafka does it.
        free = free[first % len(free) :] + free[: first % len(free)]
        chosen = min(free, key=lambda broker: (held[racks[broker]], load[broker]))
        brokers.append(chosen)
        load[chosen] += 1


def _even_out(layout: Layout, kept: Mapping[int, int], racks: Mapping[int, str], load: Counter[int]) -> None:
    """Move what was added along chains of brokers until no chain takes two or more from a lead."""
    stuck: set[int] = set()
    while True:
        high = max((broker for broker in load if broker not in stuck), key=lambda broker: (load[broker], -broker), default=None)
        if high is None:
            return
        chain = _chain(layout, kept, racks, load, high)
        if chain is None:
            stuck.add(high)
            continue
        for number, before, after in chain:
            place = layout[number].index(before, kept[number])
            layout[number][place] = after
        load[high] -= 1
        load[chain[-1][2]] += 1
        stuck.clear()


def _chain(
    layout: Layout, kept: Mapping[int, int], racks: Mapping[int, str], load: Counter[int], high: int
) -> list[tuple[int, int, int]] | None:
    """The shortest chain from a broker to one that has two fewer: (partition, from, to), each partition at most once."""
    reached: dict[int, list[tuple[int, int, int]]] = {high: []}
    ahead = deque([high])
    while ahead:
        broker = ahead.popleft()
        so_far = reached[broker]
        for number, brokers in layout.items():
            if broker not in brokers[kept[number] :] or any(number == used for used, _, _ in so_far):
                continue
            for other in sorted(set(racks) - set(brokers) - reached.keys()):
                if not _as_spread(brokers, broker, other, racks):
                    continue
                reached[other] = [*so_far, (number, broker, other)]
                if load[other] <= load[high] - 2:
                    return reached[other]
                ahead.append(other)
    return None


def _as_spread(brokers: list[int], before: int, after: int, racks: Mapping[int, str]) -> bool:
    """Whether a partition is on as many racks as before when one broker takes another's place."""
    others = {racks.get(broker, "") for broker in brokers if broker != before}
    return len(others | {racks[after]}) >= len(others | {racks.get(before, "")})
