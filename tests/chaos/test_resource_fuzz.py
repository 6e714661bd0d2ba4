"""Changes of models on a real API server, in short: right, wrong and undone; `make fuzz-resources` is the long form."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.resource_fuzz import Asked, fuzz, is_caught
from recsys_dev import kubernetes, runs
from recsys_dev.kubernetes import Cluster

TRANSITIONS = 150


@pytest.fixture(scope="module")
def own() -> Iterator[Cluster]:
    run_dir = runs.claim(Path(__file__).resolve().parents[2] / "build" / "run" / "tests" / f"fuzz-short-{os.getpid()}")
    try:
        yield kubernetes.start(run_dir, progress=print)
    finally:
        runs.discard(run_dir)


def test_whatever_is_written_into_a_model_is_refused_by_its_path_or_answered_and_can_be_undone(own: Cluster):
    tally = fuzz(own, Asked(transitions=TRANSITIONS, seed=7))
    assert tally.transitions >= TRANSITIONS
    assert min(tally.refused, tally.answered, tally.undone) > 0


def test_an_operator_that_trips_over_one_value_is_caught(own: Cluster):
    words = is_caught(own, Asked(transitions=30, twin=True, only=("revisionHistoryLimit",)))
    assert "spec.revisionHistoryLimit = 1" in words
