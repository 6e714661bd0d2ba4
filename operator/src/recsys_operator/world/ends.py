"""How far partitions can be read, with what was seen of them before."""

# The admin module offers these names, but does not list them as its own.
# pyright: reportPrivateImportUsage=false

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import ClusterMetadata, OffsetSpec

from recsys_operator.state.observed import Mark
from recsys_operator.world.kafka_client import CALL_S, Brokers
from recsys_operator.world.offsets_seen import OffsetsSeen

_Place = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Of one partition; empty of one that has never said."""

    readable: tuple[Mark, ...] = ()
    held_since: datetime | None = None


def read_ends(brokers: Brokers, metadata: ClusterMetadata, names: Sequence[str], now: datetime) -> dict[_Place, Ends]:
    """Ask all partitions of these topics; of one that cannot say now, what it said last.

    Raises:
        KafkaException: the question could not even be put.
    """
    asked = [
        TopicPartition(name, number)
        for name in names
        for number, seen in metadata.topics[name].partitions.items()
        if seen.leader in metadata.brokers
    ]
    if asked:
        # What can be read first: what is written between the two questions is taken for held back, and for no longer than a look.
        stable = _offsets(brokers, asked, IsolationLevel.READ_COMMITTED)
        high = _offsets(brokers, asked, IsolationLevel.READ_UNCOMMITTED)
    else:
        stable, high = dict[_Place, int](), dict[_Place, int]()
    with brokers.looking:  # models on the same brokers share this client, each in a thread
        for place in stable.keys() & high.keys():
            brokers.ends.setdefault(place, OffsetsSeen()).see(now, stable=stable[place], high=high[place])
        return {
            place: Ends(readable=tuple(seen.marks), held_since=seen.held.at if seen.held else None)
            for place, seen in brokers.ends.items()
            if place[0] in names
        }


def _offsets(brokers: Brokers, asked: Iterable[TopicPartition], level: IsolationLevel) -> dict[_Place, int]:
    latest = cast("OffsetSpec", OffsetSpec.latest())
    found: dict[_Place, int] = {}
    answers = brokers.admin.list_offsets(dict.fromkeys(asked, latest), isolation_level=level, request_timeout=CALL_S)
    for partition, answer in answers.items():
        try:
            end = int(answer.result(timeout=CALL_S + 1).offset)
        except (KafkaException, TimeoutError):
            continue
        if end >= 0:
            found[partition.topic, partition.partition] = end
    return found
