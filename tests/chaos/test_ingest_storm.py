"""The storm over ingest in its short form: two hundred kills and every other blow change nothing, and each broken twin is caught."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "chaos" / "ingest_storm.py"
TWINS = (
    "offsets outside the commit",
    "published before it is synced",
    "no fencing",
    "named by start offset alone",
    "late offers are taken",
)


def storm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """It starts brokers of its own, for it kills them."""
    environment = {name: value for name, value in os.environ.items() if name != "KAFKA_BOOTSTRAP_SERVERS"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], env=environment, check=False, timeout=2100, text=True, stdout=subprocess.PIPE
    )


@pytest.mark.slow
@pytest.mark.timeout(2200)
def test_no_blow_loses_or_repeats_a_record_and_every_broken_twin_is_caught() -> None:
    ended = storm("--kills", "200", "--twins")
    assert ended.returncode == 0, "; ".join(re.findall(r"^\d+ s; .*", ended.stdout, re.MULTILINE)) + "\n" + ended.stdout
    report = json.loads((ROOT / "build" / "reports" / "chaos-ingest.json").read_text())
    figures = report["ingest"]["figures"]
    kinds = ("kill -9 at a system call", "kill -9 at random")
    assert sum(figures[kind]["executed"] for kind in kinds) == 200
    # One whose call does not come again within seconds is killed all the same, at another moment.
    assert sum(figures[kind]["took effect"] for kind in kinds) >= 150, ended.stdout
    for blow in ("takeover by more or fewer lanes", "lane killed", "lane woken after it was given up: refused", "conductor killed"):
        assert figures[blow]["took effect"] == figures[blow]["executed"] >= 2, ended.stdout
    assert all(f"broken twin: {twin}" in report for twin in TWINS)
