"""What the operator sees of real brokers, and the few changes that it makes there."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest
from confluent_kafka import Producer
from tests.kafka.patience import LIMIT_S, asked, refused

from recsys_dev.kafka import Brokers
from recsys_operator.state.observed import TopicsState
from recsys_operator.world.connection import Connection
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.kafka import Kafka

T = TypeVar("T")
CONFIG = {"min.insync.replicas": "2", "retention.ms": "3600000"}


class Seen:
    """The operator's client of the brokers, one call at a time."""

    def __init__(self, brokers: Brokers) -> None:
        self.kafka = Kafka()
        self.addresses = brokers.bootstrap_servers.split(",")
        self.at = Connection(bootstrap_servers=tuple(self.addresses))

    def run(self, call: Callable[[Kafka, Connection], Coroutine[Any, Any, T]]) -> T:
        return asked(lambda: call(self.kafka, self.at))

    def read(self, *names: str) -> TopicsState:
        return self.run(lambda kafka, at: kafka.read(at, names, ends_of=names, now=datetime.now(UTC)))

    def create(self, name: str, *, partitions: int = 3, replicas: int = 3) -> None:
        self.run(lambda kafka, at: kafka.create(at, name, partitions, replicas, CONFIG))

    def until(self, name: str, true: Callable[[TopicsState], bool]) -> TopicsState:
        """Metadata reach all brokers a moment after a change; after a broker's death the others may be silent for some seconds."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            seen = self.read(name)
            if name in seen.topics and true(seen):
                return seen
            time.sleep(0.1)
        pytest.fail(f"not seen in time: {self.read(name)}")


@pytest.fixture
def seen(brokers: Brokers) -> Seen:
    return Seen(brokers)


def test_a_topic_made_twice_is_as_it_was_first_asked(seen: Seen, topic_names: Callable[[str], str]) -> None:
    name = topic_names("made")
    seen.create(name, partitions=2)
    seen.create(name, partitions=7)
    state = seen.until(name, lambda now: [(each.in_sync, each.has_leader) for each in now.topics[name].partitions] == [(3, True)] * 2)
    assert [(each.replicas, each.in_sync, each.has_leader) for each in state.topics[name].partitions] == [(3, 3, True)] * 2
    assert dict(state.topics[name].config) == CONFIG | {"cleanup.policy": "delete"}
    assert (state.live_brokers, bool(state.cluster_id)) == (3, True)


def test_looking_at_a_topic_does_not_make_it(seen: Seen, topic_names: Callable[[str], str]) -> None:
    name = topic_names("absent")
    assert name not in seen.read(name).topics
    assert name not in seen.read(name).topics


def test_partitions_grow_and_never_shrink(seen: Seen, topic_names: Callable[[str], str]) -> None:
    name = topic_names("growing")
    seen.create(name, partitions=2)
    for wanted in (3, 3, 2):
        seen.run(lambda kafka, at, wanted=wanted: kafka.grow(at, name, wanted))
    seen.until(name, lambda now: len(now.topics[name].partitions) == 3)


def test_settings_change_one_by_one_and_are_seen_at_once(seen: Seen, topic_names: Callable[[str], str]) -> None:
    name = topic_names("configured")
    seen.create(name)
    seen.until(name, lambda now: now.topics[name].config["retention.ms"] == "3600000")
    seen.run(lambda kafka, at: kafka.configure(at, name, {"retention.ms": "7200000"}))
    seen.until(name, lambda now: now.topics[name].config["retention.ms"] == "7200000")
    seen.until(name, lambda now: now.topics[name].config["min.insync.replicas"] == "2")


def test_end_offsets_are_the_first_that_cannot_be_read_yet(seen: Seen, topic_names: Callable[[str], str]) -> None:
    name = topic_names("counted")
    seen.create(name, partitions=2)
    producer = Producer({"bootstrap.servers": ",".join(seen.addresses), "acks": "all"})
    for number in range(5):
        producer.produce(name, str(number), partition=number % 2)
    assert producer.flush(60) == 0
    state = seen.until(name, lambda now: sum(each.end_offset for each in now.topics[name].partitions) == 5)
    assert [each.end_offset for each in state.topics[name].partitions] == [3, 2]


def test_a_value_that_the_brokers_refuse_comes_back_in_their_words(seen: Seen, topic_names: Callable[[str], str]) -> None:
    name = topic_names("refused")
    with pytest.raises(RefusedError, match=r"retention\.ms.*Not a number"):
        seen.run(lambda kafka, at: kafka.create(at, name, 1, 1, {"retention.ms": "soon"}))


def test_more_replicas_than_brokers_may_become_possible_later(seen: Seen, topic_names: Callable[[str], str]) -> None:
    name = topic_names("wide")
    refused(lambda: asyncio.run(seen.kafka.create(seen.at, name, 3, 5, CONFIG)), UnavailableError, "replication factor of 5")


def test_addresses_where_nobody_listens_are_told_apart(seen: Seen) -> None:
    nobody = Connection(bootstrap_servers=("127.0.0.1:1", "127.0.0.1:2"))
    refused(
        lambda: asyncio.run(Kafka().read(nobody, ["watch"], ends_of=[], now=datetime.now(UTC))),
        UnavailableError,
        r"^spec\.kafka\.bootstrapServers: no broker answers at 127\.0\.0\.1:1, 127\.0\.0\.1:2 \(.*"
        r"127\.0\.0\.1:1: Connection refused; 127\.0\.0\.1:2: Connection refused.*start the brokers or correct the addresses$",
    )
    assert seen.read().live_brokers == 3


def test_a_dead_broker_leaves_the_others_readable_and_its_replicas_out_of_sync(
    brokers: Brokers, seen: Seen, topic_names: Callable[[str], str]
) -> None:
    name = topic_names("degraded")
    seen.create(name)
    seen.until(name, lambda now: all(each.in_sync == 3 for each in now.topics[name].partitions))
    brokers.kill(brokers.ids[-1])
    try:
        state = seen.until(
            name,
            lambda now: now.live_brokers == 2 and all((each.in_sync, each.has_leader) == (2, True) for each in now.topics[name].partitions),
        )
        assert all(each.replicas == 3 for each in state.topics[name].partitions)
    finally:
        brokers.restart(brokers.ids[-1])
    seen.until(name, lambda now: now.live_brokers == 3 and all(each.in_sync == 3 for each in now.topics[name].partitions))
