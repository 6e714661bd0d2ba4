"""A real Ray head for the tests of this folder; applications in `apps` can be deployed by name."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from recsys_dev import ray, runs
from recsys_dev.ray import RayHead

HERE = Path(__file__).resolve().parent
RUNS = HERE.parents[1] / "build" / "run" / "tests"


@pytest.fixture(scope="session")
def ray_head(ray_turn: None) -> Iterator[RayHead]:  # noqa: ARG001
    """One head for all tests of the session, with Serve running and no application."""
    run_dir = runs.claim(RUNS / f"ray-{os.getpid()}")
    head = None
    try:
        head = ray.start(run_dir, python_path=[HERE / "apps"], progress=print)
        yield head
    finally:
        if head is not None:
            head.stop()
        runs.discard(run_dir)


@pytest.fixture
def rest(ray_head: RayHead) -> Iterator[httpx.Client]:
    """The head's REST API, with the token."""
    with ray_head.client(timeout_s=60.0) as client:
        yield client


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with a head of their own come first, before the one that the others share: two at once make each other late."""
    items.sort(key=lambda item: "ray_head" in getattr(item, "fixturenames", ()))
