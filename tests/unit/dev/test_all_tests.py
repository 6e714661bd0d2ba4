"""What `make test` says of tests that fail, on a tree of small ones."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "dev" / "test-all.sh"
SESSIONS = ("unit", "properties", "worlds", "kube", "kafka", "chaos", "ray", "e2e", "contracts")
PASSES = "def test_it(): pass\n"
FAILS = "def test_it(): assert False\n"
FAILS_ONCE = """
from pathlib import Path

def test_it():
    seen = Path(__file__).with_suffix(".seen")
    first = not seen.exists()
    seen.touch()
    assert not first
"""
FAILS_ONCE_AND_LOGS = (
    FAILS_ONCE
    + """
def test_that_logs():
    seen = Path(__file__).with_suffix(".logged")
    first = not seen.exists()
    seen.touch()
    for number in range(9):
        __import__("logging").error("number %d", number)
    assert not first
"""
)
FAILS_AND_SKIPS = """
from pathlib import Path
import pytest

def test_it():
    seen = Path(__file__).with_suffix(".seen")
    if seen.exists():
        pytest.skip("not today")
    seen.touch()
    assert False
"""
FAILS_UNDER_ANOTHER_NAME = """
from pathlib import Path
import pytest

seen = Path(__file__).with_suffix(".seen")
first = not seen.exists()
seen.touch()

@pytest.mark.parametrize("first", [first], ids=str)
def test_it(first):
    assert not first
"""
KILLS_ITS_LANE = """
import os, signal

def test_it(): os.kill(os.getppid(), signal.SIGKILL)
"""


def run(root: Path, tests: dict[str, str], *words: str, **environment: str) -> tuple[int, str]:
    """Let the script run a tree whose folders hold one passing test each, and `tests` beside them; its status and last lines."""
    (root / "dev").mkdir()
    shutil.copy(SCRIPT, root / "dev" / SCRIPT.name)
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (root / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")
    for folder in SESSIONS:
        (root / "tests" / folder).mkdir(parents=True)
        (root / "tests" / folder / "test_calm.py").write_text(PASSES)
    for path, text in tests.items():
        (root / "tests" / path).write_text(text)
    done = subprocess.run(
        ["/bin/bash", root / "dev" / SCRIPT.name, "-p", "no:hypothesispytest", "-p", "no:schemathesis", *words],
        capture_output=True,
        text=True,
        timeout=1000,
        check=False,
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", **environment},
    )
    return done.returncode, done.stdout.rpartition("\nno real parts ")[2]


def test_what_fails_once_and_passes_alone_is_told_and_does_not_fail_the_run(tmp_path: Path):
    status, told = run(tmp_path, {"kube/test_once.py": FAILS_ONCE_AND_LOGS})
    assert status == 0, told
    assert "shaky, failed once and then passed alone: a real Kubernetes API\nFAILED tests/kube/test_once.py::test_it" in told
    assert "11 passed, 0 failed, 2 shaky, 0 skipped" in told


def test_what_fails_twice_fails_the_run(tmp_path: Path):
    status, told = run(tmp_path, {"contracts/test_never.py": FAILS, "kube/test_once.py": FAILS_ONCE})
    assert status == 1
    assert "failed: S3 and peers\nFAILED tests/contracts/test_never.py::test_it" in told
    assert "10 passed, 1 failed, 1 shaky, 0 skipped" in told


@pytest.mark.parametrize("folder", ["kafka", "chaos"])
def test_where_events_may_be_lost_there_is_no_second_time(tmp_path: Path, folder: str):
    status, told = run(tmp_path, {f"{folder}/test_once.py": FAILS_ONCE})
    assert status == 1
    assert "9 passed, 1 failed, 0 shaky, 0 skipped" in told


def test_more_than_a_few_have_no_second_time(tmp_path: Path):
    status, told = run(tmp_path, {f"unit/test_once_{n}.py": FAILS_ONCE for n in range(4)})
    assert status == 1
    assert "9 passed, 4 failed, 0 shaky, 0 skipped" in told


def test_what_is_not_run_again_under_its_name_has_not_passed(tmp_path: Path):
    status, told = run(tmp_path, {"kube/test_skips.py": FAILS_AND_SKIPS, "contracts/test_other.py": FAILS_UNDER_ANOTHER_NAME})
    assert status == 1
    assert "9 passed, 2 failed, 0 shaky, 0 skipped" in told


def test_a_session_that_was_broken_off_has_no_second_time(tmp_path: Path):
    status, told = run(tmp_path, {"kube/test_a_first.py": FAILS_ONCE}, "-x")
    assert status == 1
    assert "8 passed, 1 failed, 0 shaky, 0 skipped" in told


def test_sessions_that_never_ran_because_their_lane_was_killed_fail_the_run(tmp_path: Path):
    status, told = run(tmp_path, {"kafka/test_kills.py": KILLS_ITS_LANE})
    assert status == 1
    assert "failed: real Kafka brokers\nfailed: storms\n" in told


def test_a_strict_run_has_no_second_time(tmp_path: Path):
    status, told = run(tmp_path, {"unit/test_once.py": FAILS_ONCE}, STRICT="1")
    assert status == 1
    assert "9 passed, 1 failed, 0 shaky, 0 skipped" in told
