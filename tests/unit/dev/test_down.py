import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys_dev import processes, runs
from recsys_dev.down import down
from recsys_dev.processes import Child, Command


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "run"
    processes.stop_all(tmp_path, deadline_s=1)


def sleeper(run_dir: Path) -> Child:
    return processes.start(run_dir, "sleeper", Command(argv=["sleep", "300"]))


def test_down_stops_every_run_and_removes_its_state(root: Path):
    demo, kafka = sleeper(root / "demo"), sleeper(root / "demo" / "kafka")
    said = down(root, spare_tests=True)
    assert not demo.is_alive()
    assert not kafka.is_alive()
    assert not root.exists()
    assert len(said) == 2


def test_down_spares_a_run_whose_test_still_lives_unless_forced(root: Path):
    child = sleeper(runs.claim(root / "tests" / "mine"))
    said = down(root, spare_tests=True)
    assert child.is_alive()
    assert f"pid {os.getpid()} is testing with it" in said[0]
    down(root, spare_tests=False)
    assert not child.is_alive()
    assert not root.exists()


def test_down_ends_the_run_of_a_test_that_was_killed(root: Path):
    run_dir = runs.claim(root / "tests" / "orphan")
    child = sleeper(run_dir)
    run_dir.joinpath(runs.OWNER).write_text(json.dumps({"pid": os.getpid(), "started": "another process"}))
    down(root, spare_tests=True)
    assert not child.is_alive()
    assert not root.exists()


def test_down_on_a_clean_machine_says_nothing(root: Path):
    assert down(root, spare_tests=True) == []
