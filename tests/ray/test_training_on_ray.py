"""A real Ray job on a real head: Ray Train workers make a version, and a second run of the same job does nothing."""

import shlex
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from ray_apps.stores.objects import open_store
from ray_apps.stores.registry import read_card
from ray_apps.training.job import run
from recsys_schemas.train_job import TrainJob
from unit.ray_apps.training import planted

DEADLINE_S = 500.0
ENDED = {"SUCCEEDED", "FAILED", "STOPPED"}


def finished(rest: httpx.Client, job: TrainJob, attempt: str) -> dict[str, Any]:
    """Submit a job under an id of this attempt and return what Ray says when it has ended."""
    command = shlex.join([sys.executable, "-m", "ray_apps.training", "--job", job.model_dump_json()])
    submission = f"{job.version}-{attempt}"
    rest.post("/api/jobs/", json={"entrypoint": command, "submission_id": submission}).raise_for_status()
    deadline = time.monotonic() + DEADLINE_S
    while (seen := rest.get(f"/api/jobs/{submission}").json())["status"] not in ENDED:
        assert time.monotonic() < deadline, f"{submission} is still {seen['status']}: {logs(rest, submission)}"
        time.sleep(0.2)
    return seen | {"logs": logs(rest, submission)}


def logs(rest: httpx.Client, submission: str) -> str:
    return rest.get(f"/api/jobs/{submission}/logs").json()["logs"]


def test_a_ray_job_makes_a_version_whose_card_says_where_it_ran(rest: httpx.Client, tmp_path: Path):
    uri = planted.snapshot(tmp_path, {"watch": planted.tastes(users=300, items=120)})
    job = planted.job(uri, version="movies-000002", num_workers=2)
    seen = finished(rest, job, "first")
    assert seen["status"] == "SUCCEEDED", seen["logs"]
    card = read_card(open_store(uri), job.version)
    assert card is not None
    assert card.worker == f"Ray Train run {job.version}, 2 worker(s)"
    assert [evaluation.name for evaluation in card.evaluations] == ["ALS", "Popularity", "ItemItem"]
    assert "ALS (candidate)" in seen["logs"]


def test_a_run_that_lost_its_card_is_made_again_under_the_same_name(rest: httpx.Client, tmp_path: Path):
    job = planted.job(planted.snapshot(tmp_path, {"watch": planted.tastes(users=300, items=120)}))
    assert finished(rest, job, "dies")["status"] == "SUCCEEDED"
    store = open_store(job.storage_uri)
    before = read_card(store, job.version)
    (tmp_path / "versions" / job.version / "card.json").unlink()
    seen = finished(rest, job, "retry")
    assert seen["status"] == "SUCCEEDED", seen["logs"]
    after = read_card(store, job.version)
    assert before is not None
    assert after is not None
    assert after.digest == before.digest


def written(folder: Path) -> dict[str, int]:
    """Every file, with the time of its last change."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_job_whose_version_exists_does_nothing(rest: httpx.Client, tmp_path: Path):
    job = planted.job(planted.snapshot(tmp_path, {"watch": planted.tastes(users=100, items=60)}), version="movies-000009")
    before = run(job)
    left = written(tmp_path)
    seen = finished(rest, job, "again")
    assert seen["status"] == "SUCCEEDED", seen["logs"]
    assert read_card(open_store(job.storage_uri), job.version) == before
    assert written(tmp_path) == left


def test_a_snapshot_too_small_ends_with_its_own_exit_status_and_words(rest: httpx.Client, tmp_path: Path):
    uri = planted.snapshot(tmp_path, {"watch": planted.tastes(users=3, items=5, events=2)})
    seen = finished(rest, planted.job(uri), "tiny")
    assert (seen["status"], seen["driver_exit_code"]) == ("FAILED", 3)
    assert "INSUFFICIENT_DATA" in seen["logs"]
    assert "send more events" in seen["message"]
