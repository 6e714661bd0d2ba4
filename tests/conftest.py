"""Real parts that more than one folder of tests uses; each starts when the first test asks for it and ends with the session."""

from collections.abc import Iterator

import pytest

from recsys_dev import kafka


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka.Brokers]:
    """Three real Kafka brokers of this session's own."""
    cluster = kafka.start(tmp_path_factory.mktemp("kafka"))
    yield cluster
    cluster.stop()
