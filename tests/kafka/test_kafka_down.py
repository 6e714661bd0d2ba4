"""While Kafka is away answers go on and events are refused; what was acknowledged is there when it comes back."""

from collections.abc import Generator, Sequence

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ray_apps.serving.event_writer import EventWriter
from recsys_dev import kafka
from recsys_dev.kafka import Brokers
from recsys_dev.processes import wait_until
from unit.ray_apps.serving.conftest import Caller, make_replica, record

LIMIT_S, ACKNOWLEDGE_S = 120.0, 2.0


class TellsAtOnce(EventWriter):
    """A twin that acknowledges what it has only queued."""

    async def write(self, topic: str, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        for key, value in records:
            self._producer.produce(topic, value, key)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Generator[Brokers]:
    """One broker of this file's own, which may be killed."""
    alone = kafka.start(tmp_path_factory.mktemp("kafka"), brokers=1)
    yield alone
    alone.stop()


class Writer:
    """Whoever sends events, and remembers which were acknowledged."""

    def __init__(self, caller: Caller) -> None:
        self.caller, self.acknowledged, self.refused = caller, list[str](), list[tuple[int, str]]()
        self._sent = 0

    def send(self, name: str) -> bool:
        self._sent += 1
        event_id = f"{name}-{self._sent}"
        told = {"event_id": event_id, "user_id": "user-1", "item_id": "item-9", "timestamp": self._sent}
        answered = self.caller.call("POST", "/v1/events", token="let-me-write", json={"event_type": "watch", "events": [told]})
        if answered.status_code == 200:
            self.acknowledged.append(event_id)
        else:
            self.refused.append((answered.status_code, answered.headers.get("retry-after", "")))
        return answered.status_code == 200


def there(broker: Brokers) -> set[str]:
    """Ids of the events on the topic."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "reader", "enable.auto.commit": False})
    place = TopicPartition("watch", 0, OFFSET_BEGINNING)
    found: set[str] = set()
    try:
        _, end = consumer.get_watermark_offsets(place, timeout=LIMIT_S)
        consumer.assign([place])

        def read() -> bool:
            messages = [message for message in consumer.consume(100, 0.5) if message.error() is None]
            found.update((message.value() or b"").decode().partition('"event_id":"')[2].partition('"')[0] for message in messages)
            return consumer.position([place])[0].offset >= end

        wait_until(read, what="the end of the topic", deadline_s=LIMIT_S)
    finally:
        consumer.close()
    return found


@pytest.mark.parametrize(("writer", "loses"), [(EventWriter, False), (TellsAtOnce, True)])
def test_nothing_acknowledged_is_lost_and_answers_go_on(broker: Brokers, writer: type[EventWriter], loses: bool):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    if "watch" not in admin.list_topics(timeout=LIMIT_S).topics:
        admin.create_topics([NewTopic("watch", num_partitions=1, replication_factor=1)])["watch"].result(timeout=LIMIT_S)
    replica = make_replica(ACKNOWLEDGE_S, broker.bootstrap_servers, writer)
    caller = Caller(replica)
    try:
        caller.serve(record(1, ("good", 100)))
        client = Writer(caller)
        wait_until(lambda: client.send("before"), what="an event is acknowledged", deadline_s=LIMIT_S)
        broker.kill(broker.ids[0])
        before = len(client.refused)
        for _ in range(3):
            client.send("meanwhile")
            assert caller.ask().json()["reason"] == "personal"
        assert loses or client.refused[before:] == [(503, "5")] * 3
        wait_until(lambda: not len(replica.events._producer._producer), what="nothing waits for Kafka any more", deadline_s=LIMIT_S)
        broker.restart(broker.ids[0])
        wait_until(lambda: client.send("after"), what="an event is acknowledged again", deadline_s=LIMIT_S)
        assert bool(set(client.acknowledged) - there(broker)) is loses
    finally:
        replica.close()
