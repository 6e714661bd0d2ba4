"""Two Ray Train workers share a fit: the bytes are those of one process, and a worker killed with -9 costs an epoch at most."""

import json
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from ray_apps.stores.objects import open_store
from ray_apps.stores.registry import read_card
from ray_apps.training.job import run
from recsys_schemas.train_job import TrainJob
from recsys_schemas.version_card import RunProgress, VersionCard, progress_file
from unit.ray_apps.training import planted

DEADLINE_S = 400.0
ENDED = {"SUCCEEDED", "FAILED", "STOPPED"}
EPOCHS = 12
MOST_TRIES = 5


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> VersionCard:
    """The version as one process makes it, without Ray."""
    return run(asked(tmp_path_factory.mktemp("alone")))


def asked(folder: Path, **changes: object) -> TrainJob:
    uri = planted.snapshot(folder, {"watch": planted.tastes(users=500, items=260)})
    hyperparameters = {"factors": 32, "iterations": EPOCHS}
    return planted.job(uri, algorithm="IALS", baselines=["Popularity"], hyperparameters=hyperparameters).model_copy(update=changes)


def submit(rest: httpx.Client, job: TrainJob, name: str) -> Callable[[], dict[str, Any]]:
    command = shlex.join([sys.executable, "-m", "ray_apps.training", "--job", job.model_dump_json()])
    rest.post("/api/jobs/", json={"entrypoint": command, "submission_id": name}).raise_for_status()
    return lambda: rest.get(f"/api/jobs/{name}").json() | {"logs": rest.get(f"/api/jobs/{name}/logs").json()["logs"]}


def until(look: Callable[[], dict[str, Any]], good: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_S
    while not good(seen := look()):
        assert time.monotonic() < deadline, seen["logs"][-4000:]
        time.sleep(0.05)
    return seen


def told(logs: str, event: str) -> list[dict[str, Any]]:
    lines = (re.search(r"\{.*\}", line) for line in logs.splitlines() if f'"event": "{event}"' in line)
    return [json.loads(line.group()) for line in lines if line]


def test_two_workers_make_the_bytes_of_one_process_and_say_how_far_they_are(rest: httpx.Client, tmp_path: Path, alone: VersionCard):
    job = asked(tmp_path, num_workers=2)
    seen = until(submit(rest, job, "ials-two"), lambda seen: seen["status"] in ENDED)
    assert seen["status"] == "SUCCEEDED", seen["logs"]
    store = open_store(job.storage_uri)
    card = read_card(store, job.version)
    assert card is not None
    assert card.digest == alone.digest
    assert {each["rank"] for each in told(seen["logs"], "FitEnded")} == {0, 1}
    progress = RunProgress.model_validate_json(store.read(progress_file(job.version)))
    assert (progress.step, progress.of, progress.seconds_left) == (2 * EPOCHS, 2 * EPOCHS, 0.0)


def test_a_worker_killed_in_the_middle_costs_an_epoch_at_most_and_no_byte(rest: httpx.Client, tmp_path: Path, alone: VersionCard):
    job = asked(tmp_path, num_workers=2)
    for number in range(2, 2 + MOST_TRIES):  # on a slow machine a kill may come when all is done
        if killed_in_the_middle(rest, job.model_copy(update={"version": f"movies-{number:06d}"}), alone):
            return
    pytest.fail(f"none of {MOST_TRIES} kills came in the middle")


def killed_in_the_middle(rest: httpx.Client, job: TrainJob, alone: VersionCard) -> bool:
    """Whether the kill came in time; whatever it hit, the version is as it must be."""
    look = submit(rest, job, f"ials-killed-{job.version}")

    def midway(seen: dict[str, Any]) -> bool:
        return seen["status"] in ENDED or any(3 <= step["step"] < EPOCHS for step in told(seen["logs"], "Step"))

    seen = until(look, midway)
    at_the_kill = seen["logs"]
    if seen["status"] == "RUNNING":
        victim = next(each["pid"] for each in told(seen["logs"], "WorkerStarted") if each["rank"] == 1)
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    seen = until(look, lambda seen: seen["status"] in ENDED)
    assert seen["status"] == "SUCCEEDED", seen["logs"]
    card = read_card(open_store(job.storage_uri), job.version)
    assert card is not None
    assert card.digest == alone.digest
    reached = max(step["step"] for step in told(at_the_kill, "Step"))
    resumed = {each["resumed_at"] for each in told(seen["logs"], "FitEnded") if each["fit"] == 0}
    if 0 in resumed:  # the first fit was over
        return False
    assert len(resumed) == 1
    assert reached <= min(resumed) < EPOCHS
    return True
