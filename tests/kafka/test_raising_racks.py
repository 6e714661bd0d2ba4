"""New replicas on real brokers that stand on racks: a partition that is raised is on as many racks as it has replicas."""

import os
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tests.conftest import RUNS
from tests.kafka.test_raising import Operator, operator_of

from recsys_dev import kafka, runs
from recsys_dev.kafka import Brokers
from recsys_operator.plan import raising
from recsys_operator.state.observed import Unavailable

RACKS = {1: "east", 2: "east", 3: "north", 4: "south"}
BEGINS = [[1], [2], [1], [3]]
"""The one broker that has each partition at first."""


@pytest.fixture(scope="module")
def brokers() -> Iterator[Brokers]:
    """Four brokers of this module's own, two of them on one rack: with a rack for each, every choice would be right."""
    run_dir = runs.claim(RUNS / f"kafka-racks-{os.getpid()}")
    cluster = None
    try:
        cluster = kafka.start(run_dir, len(RACKS), racks=list(RACKS.values()), progress=print)
        yield cluster
    finally:
        if cluster is not None:
            cluster.stop()
        runs.discard(run_dir)


@pytest.fixture(scope="module")
def admin(brokers: Brokers) -> AdminClient:
    return AdminClient({"bootstrap.servers": brokers.bootstrap_servers})


@pytest.fixture
def operator(brokers: Brokers, admin: AdminClient, topic_names: Callable[[str], str]) -> Iterator[Operator]:
    names = {role: topic_names(role.lower()) for role in ("Watch", "Requests", "Responses")}
    old = NewTopic(names["Watch"], len(BEGINS), replica_assignment=BEGINS, config={"min.insync.replicas": "1"})
    admin.create_topics([old])[names["Watch"]].result(120)
    made = operator_of(topic_names("model"), brokers.bootstrap_servers.split(","), names)
    yield made
    dead = made.model.dead_letter_topic
    if dead in admin.list_topics(timeout=120).topics:
        admin.delete_topics([dead])[dead].result(120)


def check_spread(operator: Operator) -> None:
    """Each partition of each topic is on three racks, and the old one of the raised topic leads."""
    seen = operator.look().topics
    assert not isinstance(seen, Unavailable)
    raised = operator.model.spec.kafka.topics[0].name
    assert [[partition.assigned[0]] for partition in seen.topics[raised].partitions] == BEGINS
    for name, topic in seen.topics.items():
        for partition in topic.partitions:
            racks = [RACKS[broker] for broker in partition.assigned]
            assert len(set(racks)) == len(racks) == 3, f"{name}, partition {partition.id}, on racks {racks}"


def test_a_topic_raised_to_three_replicas_is_on_three_racks(operator: Operator) -> None:
    operator.run()
    check_spread(operator)


def test_a_spread_that_knows_no_racks_is_caught(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raising, "_racks", lambda moves: {broker.id: "" for broker in moves.brokers})
    operator.run()
    with pytest.raises(AssertionError, match="on racks"):
        check_spread(operator)
