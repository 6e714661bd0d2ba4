"""A version is tried in a process apart; the report is the verdict, the exit code only says whether it could be tried."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.serving_line import Arrays, arrays_not_finite, arrays_that_raise, good_arrays, write_version
from ray_apps.serving.preflight import main
from ray_apps.stores.objects import Store, open_store
from recsys_schemas.version_card import PreflightReport

VERSION = "movies-000001"
ITEMS = 150


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path.as_uri())


def job(store: Store, digest: str, **fields: Any) -> str:
    model = {"namespace": "shop", "name": "movies", "uid": "1f0c"}
    return json.dumps({"model": model, "version": VERSION, "digest": digest, "storage_uri": store.uri, "timeout_ms": 60_000.0} | fields)


def tried(store: Store, model: Arrays, **fields: Any) -> PreflightReport:
    digest = write_version(store, VERSION, model, items=ITEMS, users=300)
    assert main(["--job", job(store, digest, **fields)]) == 0
    return PreflightReport.model_validate_json(store.read(f"versions/{VERSION}/preflight.json"))


def failed(report: PreflightReport) -> set[str]:
    return {check for check, seen in report.checks.items() if seen.startswith("failed: ")}


def test_a_good_version_passes_every_check(store: Store):
    report = tried(store, good_arrays(ITEMS, 8, seed=1))
    assert report.passed, report.checks
    assert set(report.checks) == {"load", "items", "finite", "as-trained", "users", "contract", "latency", "memory"}
    assert report.checks["as-trained"] == "not checked: the card has no probes"
    assert report.requests >= 200
    assert report.p99_ms > 0


def test_a_version_that_is_not_finite_fails(store: Store):
    report = tried(store, arrays_not_finite(ITEMS))
    assert not report.passed
    assert failed(report) >= {"finite", "contract"}
    assert "item_factors" in report.checks["finite"]


def test_a_version_that_raises_fails(store: Store):
    report = tried(store, arrays_that_raise(ITEMS))
    assert not report.passed
    assert "LinAlgError" in report.checks["contract"]


def test_a_version_that_is_too_slow_fails(store: Store):
    report = tried(store, good_arrays(ITEMS, 8, seed=1), timeout_ms=1e-6)
    assert failed(report) == {"latency"}


def test_a_version_whose_bytes_changed_fails_and_is_not_tried(store: Store):
    digest = write_version(store, VERSION, good_arrays(ITEMS, 8, seed=1), items=ITEMS, users=50)
    Path(store.path(f"versions/{VERSION}/popularity.npy")).write_bytes(b"something else")
    assert main(["--job", job(store, digest)]) == 0
    report = PreflightReport.model_validate_json(store.read(f"versions/{VERSION}/preflight.json"))
    assert (report.passed, report.requests, failed(report)) == (False, 0, {"load"})
    assert report.digest.startswith("sha256:")
    assert report.digest != digest


@pytest.mark.parametrize(("wrong", "code"), [("{", 2), ('{"version": 1}', 2)])
def test_a_wrong_job_is_no_verdict(wrong: str, code: int):
    assert main(["--job", wrong]) == code


def test_a_store_that_is_not_to_be_had_is_no_verdict(store: Store):
    assert main(["--job", job(store, "sha256:0").replace("file://", "ftp://")]) == 2


def test_trying_a_version_needs_no_ray():
    probe = "import sys, ray_apps.serving.preflight; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False, timeout=120).returncode == 0
