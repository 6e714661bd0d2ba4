"""Calls that change what others get, told on a real topic: who, what, and how it ended; also those that were not allowed."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import httpx
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ray_apps.serving.api import Api
from recsys_dev.kafka import Brokers
from recsys_dev.processes import wait_until
from recsys_schemas.events import AuditEvent
from unit.ray_apps.serving.conftest import TOKENS, Caller, make_replica, record

LIMIT_S = 120.0


@pytest.fixture
def topic(admin: AdminClient, topic_names: Callable[[str], str]) -> str:
    name = topic_names("audit")
    admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=3)])[name].result(LIMIT_S)
    return name


@pytest.fixture
def caller(brokers: Brokers, topic: str) -> Iterator[Caller]:
    replica = make_replica(acknowledge_seconds=LIMIT_S, servers=brokers.bootstrap_servers)
    told = replace(replica, arguments=replica.arguments.model_copy(update={"audit_topic": topic}))
    made = Caller(told)
    made.serve(record(1, ("good", 100)))
    yield made
    replica.close()


def told(brokers: Brokers, topic: str, count: int) -> list[tuple[bytes, AuditEvent]]:
    """Key and value of the first records of a topic."""
    consumer = Consumer({"bootstrap.servers": brokers.bootstrap_servers, "group.id": "look", "enable.auto.commit": False})
    found: list[tuple[bytes, AuditEvent]] = []
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])

        def enough() -> bool:
            for message in consumer.consume(100, 0.5):
                if message.error() is not None:  # a broker that has not heard of the topic yet
                    continue
                key: bytes = message.key()  # pyright: ignore[reportAssignmentType] - without a deserialiser it is bytes
                found.append((key, AuditEvent.model_validate_json(message.value() or b"")))
            return len(found) >= count

        wait_until(enough, what=f"{count} records of audit", deadline_s=LIMIT_S)
    finally:
        consumer.close()
    return found


CALLS = [
    ("POST", "/v1/model:switch", TOKENS["admin"], {"version": "nobody"}),
    ("POST", "/v1/model:switch", TOKENS["reader"], {"version": "good"}),
    ("DELETE", "/v1/items/a", TOKENS["operator"], None),
    ("POST", "/v1/recommendations", TOKENS["reader"], {"user_id": "ann"}),
    ("GET", "/v1/model", TOKENS["admin"], None),
    ("POST", "/v1/model:switch", "nobody's", {"version": "good"}),
    ("POST", "/v1/model:switch", TOKENS["admin"], {"version": "good"}),
]
"""An admin's, those of two who may not, a stranger's, and calls that change nothing."""


async def call_all(api: Api) -> None:
    """One after another on one loop, until the records are acknowledged."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://replica") as client:
        for method, path, token, body in CALLS:
            await client.request(method, path, headers={"Authorization": f"Bearer {token}"}, json=body)
    await asyncio.gather(*api._audit._waiting)


def test_audited_calls_are_told_in_order_with_who_made_them_and_nothing_else_is(brokers: Brokers, topic: str, caller: Caller):
    asyncio.run(call_all(caller.api))
    found = told(brokers, topic, 4)
    assert sorted((event.method, event.path, event.status) for _, event in found) == [
        ("DELETE", "/v1/items/a", 403),
        ("POST", "/v1/model:switch", 200),
        ("POST", "/v1/model:switch", 403),
        ("POST", "/v1/model:switch", 409),
    ]
    assert all(key.decode() == event.client and event.client.startswith("key:") for key, event in found)
    assert len({event.audit_id for _, event in found}) == 4
    assert len({event.client for _, event in found}) == 3
    text = json.dumps([event.model_dump() for _, event in found])
    assert not [token for token in TOKENS.values() if token in text]


def test_without_brokers_the_log_tells_what_is_not_on_the_topic(caplog: pytest.LogCaptureFixture):
    replica = make_replica(acknowledge_seconds=0.2)
    api = Caller(replace(replica, arguments=replica.arguments.model_copy(update={"audit_topic": "audit"})))
    api.serve(record(1, ("good", 100)))
    with caplog.at_level("INFO", "ray_apps.serving.audit"):
        asyncio.run(call_all(api.api))
    replica.close()
    said = [entry.__dict__["event"] for entry in caplog.records if entry.name == "ray_apps.serving.audit"]
    assert (said.count("Audit"), said.count("AuditNotWritten")) == (4, 4)
