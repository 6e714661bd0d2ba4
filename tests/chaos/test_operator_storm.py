"""The storm over the operator, short: killed after each thing that it makes, its calls answered falsely; and nothing is made twice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.operator_runs import TWINS, WORST

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "chaos" / "operator_storm.py"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_operator_killed_before_each_answer_comes_to_the_same_end_and_a_broken_twin_is_caught() -> None:
    command = [sys.executable, str(SCRIPT), "--short", "--twins"]
    ended = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT / "tests")}, check=False, timeout=1700, text=True, stdout=subprocess.PIPE
    )
    assert ended.returncode == 0, ended.stdout
    report = json.loads((ROOT / "build" / "reports" / "chaos-operator.json").read_text())
    runs = report["operator"]["figures"]
    crashes = runs["crash before its answer"]
    assert crashes["hit"] == len(WORST), ended.stdout
    # Two calls that are under way at once die with one operator.
    assert crashes["starts"] == crashes["killed"] + 1, "it never ended by itself"
    assert len(WORST) / 2 < crashes["killed"] <= len(WORST)
    assert runs["answered 503"]["hit"] >= 25, ended.stdout
    assert report["operator: claims"]["figures"][f"broken twin caught: {TWINS[0]}"]["held"]
