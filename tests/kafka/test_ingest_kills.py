"""The chaos script, shortened: kills at random moments change nothing, and the same script catches a broken twin."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recsys_dev.kafka import Brokers

SCRIPT = Path(__file__).resolve().parents[1] / "chaos" / "ingest_kill.py"


def chaos(brokers: Brokers, told: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    environment = os.environ | {"KAFKA_BOOTSTRAP_SERVERS": brokers.bootstrap_servers}
    ended = subprocess.run([sys.executable, str(SCRIPT), *arguments, "--json", str(told)], env=environment, check=False, timeout=540)
    return ended.returncode, json.loads(told.read_text())


@pytest.mark.slow
def test_kills_at_random_moments_lose_and_repeat_nothing(brokers: Brokers, tmp_path: Path) -> None:
    status, figures = chaos(brokers, tmp_path / "figures.json", "--kills", "5", "--seed", "7")
    assert status == 0, figures
    assert figures["kills"] == 5
    assert figures["fenced"] == 1
    assert figures["rows"] + figures["dead_letters"] == figures["written"]


@pytest.mark.slow
def test_a_twin_that_stores_its_offsets_before_the_data_are_visible_is_caught(brokers: Brokers, tmp_path: Path) -> None:
    status, figures = chaos(brokers, tmp_path / "figures.json", "--kills", "5", "--seed", "7", "--twin")
    assert status == 0, figures
    assert figures["missing"] > 0
