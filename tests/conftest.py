"""Real parts that more than one folder of tests uses; each starts when the first test asks for it and ends with the session."""

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import HealthCheck, settings

from recsys_dev import kafka, objects, runs
from recsys_dev.locks import locked

# How long an example takes or how many are thrown away says how busy the machine is and what was drawn, not whether the code is right.
# The same examples each time, so that a test that fails can be looked at; others with CHANCE=1.
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=os.environ.get("CHANCE") != "1",
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
settings.load_profile("steady")

RUNS = Path(__file__).resolve().parents[1] / "build" / "run" / "tests"


@pytest.fixture(scope="session")
def ray_turn() -> Iterator[None]:
    """The machine's turn to run a Ray head for tests: two sessions at once only make each other late."""
    lock = Path(tempfile.gettempdir()) / "recsys-tests-ray.lock"
    with locked(lock, "testing on a Ray head", print, deadline_s=3600):
        yield


@pytest.fixture(scope="session")
def brokers() -> Iterator[kafka.Brokers]:
    """Three real Kafka brokers of this session's own."""
    run_dir = runs.claim(RUNS / f"kafka-{os.getpid()}")
    cluster = None
    try:
        cluster = kafka.start(run_dir, progress=print)
        yield cluster
    finally:
        if cluster is not None:
            cluster.stop()
        runs.discard(run_dir)


@pytest.fixture(scope="session")
def admin(brokers: kafka.Brokers) -> AdminClient:
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
    made = [topic for topic in given if topic in admin.list_topics(timeout=60).topics]
    for deleted in (admin.delete_topics(made, request_timeout=60) if made else {}).values():
        deleted.result(timeout=90)


@pytest.fixture(scope="session")
def s3() -> Iterator[objects.ObjectStore]:
    """A real S3 server of this session's own, which asks for credentials."""
    run_dir = runs.claim(RUNS / f"objects-{os.getpid()}")
    store = None
    try:
        store = objects.start(run_dir, progress=print)
        yield store
    finally:
        if store is not None:
            store.stop()
        runs.discard(run_dir)
