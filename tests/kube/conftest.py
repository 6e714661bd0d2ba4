"""A real control plane for the tests of this folder, and a namespace of its own for each test."""

import os
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from recsys_dev import kubernetes, runs
from recsys_dev.kubernetes import Cluster

RUNS = Path(__file__).resolve().parents[2] / "build" / "run" / "tests"
NUMBERS = count(1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One API server for all tests of the session: etcd, kube-apiserver and controller-manager on free loopback ports."""
    run_dir = runs.claim(RUNS / f"kube-{os.getpid()}")
    try:
        yield kubernetes.start(run_dir, progress=print, audit=True)
    finally:
        runs.discard(run_dir)


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """A fresh namespace named after the test; it goes with the cluster."""
    plain = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:50].strip("-")
    name = f"{plain}-{next(NUMBERS)}"
    cluster.kubectl("create", "namespace", name)
    return name
