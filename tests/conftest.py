"""Real parts that more than one folder of tests uses; each starts when the first test asks for it and ends with the session."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys_dev import kafka, runs

RUNS = Path(__file__).resolve().parents[1] / "build" / "run" / "tests"


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
