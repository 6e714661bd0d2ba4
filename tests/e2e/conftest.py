"""One line for the tests that say what the demo does not show: real parts, and an operator with its ServiceAccount's rights only."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.sight import Sight
from recsys_dev import objects, runs
from recsys_dev.eyes import open_eyes
from recsys_dev.line import Line, install_chart, make_ray_secret, start_parts

RUNS = Path(__file__).resolve().parents[2] / "build" / "run" / "tests"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The demo has a line of its own: it is over before the one that the other files share begins, for two are too much for one machine."""
    items.sort(key=lambda item: item.path.parent == Path(__file__).parent and item.path.name != "test_demo.py")


@pytest.fixture(scope="session")
def line(ray_turn: None) -> Iterator[Line]:  # noqa: ARG001
    """Control plane, three brokers, Ray, chart and operator; object stores are looked for where nothing answers until a test starts one."""
    run_dir = runs.claim(RUNS / f"line-{os.getpid()}")
    started = None
    with pytest.MonkeyPatch.context() as patch:
        # What `start_parts` sets for its children is not for the tests of other folders.
        for name in ("PATH", "RAY_worker_niceness", "RECSYS_VERSION_CACHE"):
            patch.setenv(name, os.environ.get(name, "0"))
        store = objects.start(object_store_dir(run_dir), progress=print)
        store.stop()
        for name, value in store.env().items():
            patch.setenv(name, value)
        try:
            started = start_parts(run_dir, print, audit=True)
            install_chart(started)
            make_ray_secret(started)
            started.start_operator()
            yield started
        finally:
            if started is not None:
                started.stop()
            runs.discard(run_dir)


def object_store_dir(run_dir: Path) -> Path:
    """Where the line's S3 server keeps its objects."""
    return run_dir / "objects"


@pytest.fixture(scope="session")
def sight(line: Line) -> Iterator[Sight]:
    """What anyone can see of that line."""
    eyes = open_eyes(line)
    try:
        yield Sight(line=line, eyes=replace(eyes))
    finally:
        eyes.close()
