import os
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TARGETS = ("setup", "tools", "demo", "test", "test-unit", "test-kube", "test-kafka", "test-ray", "test-e2e", "chaos-line", "chaos-ingest")


def test_help_tells_what_every_target_is_for():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=180)
    told = dict(re.findall(r"^  make (\S+) +(\S.*)$", done.stdout, re.MULTILINE))
    phony = re.findall(r"^\.PHONY: (\S+)$", ROOT.joinpath("Makefile").read_text(), re.MULTILINE)
    assert set(told) == set(phony)
    assert set(told) >= {"help", *TARGETS, "images", "e2e-node"}


def test_ci_runs_what_the_readme_tells_a_person_to_run():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().splitlines()[-1] == "make test"


def test_the_unit_tests_need_no_tool_of_linux_to_count_processors(bare_path: Path):
    make = shutil.which("make")
    assert make is not None
    done = subprocess.run(
        [make, "--old-file=.venv/.installed", "test-unit", "ARGS=--version"],
        cwd=ROOT,
        env={"PATH": str(bare_path), "HOME": os.environ.get("HOME", "")},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("pytest ")


def test_no_recipe_says_the_same_twice_in_a_row():
    lines = ROOT.joinpath("Makefile").read_text().splitlines()
    assert [line for line, following in pairwise(lines) if line.startswith("\t") and line == following] == []


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH with what a shell script needs and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "dirname", "env", "cut", "mkdir", "touch"):
        found = shutil.which(name)
        assert found is not None
        folder.joinpath(name).symlink_to(found)
    return folder


@pytest.mark.parametrize(("version", "seen"), [("Python 3.10.13", "3.10.13"), (None, "missing|not found")])
def test_without_a_python_that_fits_the_mend_is_told(bare_path: Path, tmp_path: Path, version: str | None, seen: str):
    if version is not None:
        python = bare_path / "python3"
        python.write_text(f'#!/usr/bin/env bash\n[ "$1" = --version ] && echo "{version}"\nexit 1\n')
        python.chmod(0o755)
    clone = tmp_path / "clone"
    clone.joinpath("dev").mkdir(parents=True)
    shutil.copy(ROOT / "dev" / "bootstrap.sh", clone / "dev")
    done = subprocess.run(
        ["bash", clone / "dev" / "bootstrap.sh"],
        env={"PATH": str(bare_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 2
    assert re.search(f"error: Python: no interpreter from 3.11 up to 3.13 .*({seen})", done.stderr)
    assert "Install one" in done.stderr
