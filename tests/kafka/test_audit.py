"""The audit topic on real brokers: what is appended is read back in order, by whom it concerns, and harm to it is named."""

import asyncio
import random
from collections.abc import Callable
from functools import partial

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tests.kafka.patience import answered, refused

from recsys_dev.kafka import Brokers
from recsys_dev.ports import free_ports
from recsys_operator.plan.audit import chain
from recsys_operator.world import audit_topic
from recsys_operator.world.audit_topic import append, heard, read
from recsys_operator.world.connection import Connection
from recsys_operator.world.errors import UnavailableError
from worlds.simulated import World

LIMIT_S = 120.0


@pytest.fixture
def topic(admin: AdminClient, topic_names: Callable[[str], str]) -> str:
    name = topic_names("decisions")
    for made in admin.create_topics([NewTopic(name, num_partitions=3, replication_factor=3)]).values():
        made.result(timeout=LIMIT_S)
    return name


@pytest.fixture(scope="module")
def written() -> list[bytes]:
    """The records of a first version that serves, and of a second that is rolled back."""
    world = World(chance=random.Random(4))
    world.run_until(lambda w: len(w.rollouts) == 2)
    world.error_rate["movies-000002"] = 0.5
    world.run_until(lambda w: str(w.rollouts["movies-000002"].status.phase) == "RolledBack")
    world.run_until(lambda w: w.status.audit is not None and w.status.audit.waiting == 0)
    return world.decisions


def test_what_is_appended_is_read_back_in_order_and_decides_the_same_again(
    brokers: Brokers, topic: str, written: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A record that was not acknowledged in time would be written again by whoever calls: here each is to be there as often as it is said.
    monkeypatch.setattr(audit_topic, "APPEND_S", LIMIT_S)
    at = Connection(bootstrap_servers=tuple(brokers.bootstrap_servers.split(",")))
    for value in (written[0], *written):  # the first is written twice, as after a crash
        append(at, topic, "uid", value)
    append(at, topic, "another", b"not ours")
    found = answered(lambda: read(at, topic, "uid"))
    assert [value for _, value in found] == [written[0], *written]
    audit = chain.check(found)
    assert audit.faults == []
    assert (len(audit.records), sum(link.repeat for link in audit.links)) == (len(written), 1)
    harmed = [each for each in found if each[1] != written[1]]
    assert any("dropped: record 1" in fault for fault in chain.check(harmed).faults)


def test_a_topic_that_is_not_there_is_said_to_be_missing(brokers: Brokers) -> None:
    at = Connection(bootstrap_servers=tuple(brokers.bootstrap_servers.split(",")))
    refused(lambda: read(at, "nobody-made-me", "uid"), UnavailableError, "nobody-made-me.*nknown topic")


@pytest.mark.parametrize("ask", [partial(append, value=b"{}"), read])
def test_where_no_broker_answers_the_field_the_addresses_and_the_mend_are_told(ask: Callable[..., object]) -> None:
    (port,) = free_ports(1)
    at = Connection(bootstrap_servers=(f"127.0.0.1:{port}",))
    words = f"spec.kafka.bootstrapServers: no broker answers at 127.0.0.1:{port} .*Connection refused.*; start the brokers or correct"
    refused(lambda: asyncio.run(heard(at, partial(ask, at, "decisions", "uid"))), UnavailableError, words)
