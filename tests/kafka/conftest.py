"""What every test against real brokers needs; the brokers themselves are in `tests/conftest.py`."""

import uuid
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka.admin import AdminClient

from recsys_dev.kafka import Brokers


@pytest.fixture(scope="session")
def admin(brokers: Brokers) -> AdminClient:
    return AdminClient({"bootstrap.servers": brokers.bootstrap_servers})


@pytest.fixture
def topic_names(admin: AdminClient) -> Iterator[Callable[[str], str]]:
    """Names that no other test has, from a readable stem; such topics are deleted when the test ends."""
    run = uuid.uuid4().hex[:8]
    given: list[str] = []

    def name(stem: str) -> str:
        given.append(f"{stem}-{run}")
        return given[-1]

    yield name
    made = [topic for topic in given if topic in admin.list_topics(timeout=10).topics]
    for deleted in (admin.delete_topics(made) if made else {}).values():
        deleted.result(timeout=30)
