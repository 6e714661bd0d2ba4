"""The brokers that the demo and the tests run on keep Kafka's promises."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from recsys_dev import kafka
from recsys_dev.errors import Unmet
from recsys_dev.kafka import Brokers
from recsys_dev.process_table import marked

DEADLINE_S = 120.0


def make_topic(admin: AdminClient, name: str, partitions: int = 1) -> None:
    admin.create_topics([NewTopic(name, num_partitions=partitions, replication_factor=3)])[name].result(timeout=DEADLINE_S)


def in_sync(admin: AdminClient, topic: str) -> set[int]:
    # Not describe_topics: with its broker killed it retries that one until its deadline (librdkafka 2.16).
    first = admin.list_topics(topic, timeout=DEADLINE_S).topics[topic].partitions.get(0)
    return set(first.isrs) if first is not None else set()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def produce(brokers: Brokers, topic: str, values: list[bytes]) -> list[bytes]:
    """Return the values that the brokers acknowledged."""
    acknowledged: list[bytes] = []

    def told(error: KafkaError | None, message: Message) -> None:
        if error is None:
            acknowledged.append(message.value() or b"")

    producer = Producer({"bootstrap.servers": brokers.bootstrap_servers, "acks": "all", "enable.idempotence": True})
    for value in values:
        producer.produce(topic, value, on_delivery=told)
    assert producer.flush(DEADLINE_S) == 0
    return acknowledged


def consume(brokers: Brokers, topic: str, count: int) -> list[bytes]:
    settings: dict[str, str | bool] = {"bootstrap.servers": brokers.bootstrap_servers, "group.id": topic, "auto.offset.reset": "earliest"}
    consumer = Consumer(settings)
    consumer.subscribe([topic])
    values: list[bytes] = []
    end = time.monotonic() + DEADLINE_S
    while len(values) < count and time.monotonic() < end:
        values += [message.value() or b"" for message in consumer.consume(count, timeout=0.5) if message.error() is None]
    consumer.close()
    return values


def test_records_of_a_topic_with_three_replicas_come_back_in_order(brokers: Brokers, admin: AdminClient, topic_names: Callable[[str], str]):
    topic = topic_names("order")
    make_topic(admin, topic)
    wait_for(lambda: in_sync(admin, topic) == set(brokers.ids))
    values = [str(number).encode() for number in range(1000)]
    assert produce(brokers, topic, values) == values
    assert consume(brokers, topic, len(values)) == values


def test_a_topic_that_nobody_made_does_not_come_to_be(admin: AdminClient, topic_names: Callable[[str], str]):
    topic = topic_names("unmade")
    with pytest.raises(KafkaException) as raised:
        admin.describe_topics(TopicCollection([topic]))[topic].result(timeout=DEADLINE_S)
    assert raised.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_killed_broker_loses_no_acknowledged_record_and_rejoins(brokers: Brokers, admin: AdminClient, topic_names: Callable[[str], str]):
    topic, victim = topic_names("killed"), brokers.ids[1]
    make_topic(admin, topic)
    before = produce(brokers, topic, [f"before-{number}".encode() for number in range(500)])
    brokers.kill(victim)
    try:
        assert victim not in brokers.alive()
        during = produce(brokers, topic, [f"during-{number}".encode() for number in range(500)])
        wait_for(lambda: in_sync(admin, topic) == set(brokers.ids) - {victim})
    finally:
        brokers.restart(victim)
    wait_for(lambda: in_sync(admin, topic) == set(brokers.ids))
    assert len(before) == len(during) == 500
    assert consume(brokers, topic, 1000) == before + during


def test_a_stopped_cluster_leaves_no_process_and_starts_again_with_its_data(tmp_path: Path):
    first = kafka.start(tmp_path, brokers=1)
    admin = AdminClient({"bootstrap.servers": first.bootstrap_servers})
    admin.create_topics([NewTopic("kept", num_partitions=1)])["kept"].result(timeout=DEADLINE_S)
    assert produce(first, "kept", [b"one"]) == [b"one"]
    first.stop()
    assert first.alive() == ()
    assert marked(tmp_path) == []
    again = kafka.start(tmp_path)
    try:
        assert again == first
        assert consume(again, "kept", 1) == [b"one"]
        assert kafka.existing(again.bootstrap_servers) == Brokers(bootstrap_servers=again.bootstrap_servers)
    finally:
        again.stop()


def test_a_broker_of_an_existing_cluster_cannot_be_killed_by_us(brokers: Brokers):
    theirs = kafka.existing(brokers.bootstrap_servers)
    assert theirs is not None
    with pytest.raises(Unmet, match="not one of ours"):
        theirs.kill(1)
    assert brokers.alive() == brokers.ids
