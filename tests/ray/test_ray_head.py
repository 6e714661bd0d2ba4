"""Ray's REST API does what the operator's Ray engine was written against."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from recsys_dev import processes, ray
from recsys_dev.errors import Unmet
from recsys_dev.ports import is_free
from recsys_dev.process_table import PROC, start_time
from recsys_dev.ray import RayHead

Seen = TypeVar("Seen")
DEADLINE_S = 240.0
SERVE = "/api/serve/applications/"


def wait_for(look: Callable[[], Seen]) -> Seen:
    """Return the first true answer of `look`."""
    end = time.monotonic() + DEADLINE_S
    while not (seen := look()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return seen


def serve_file(*words: str, import_path: str = "echo_app:build") -> dict[str, Any]:
    """Return a Serve config with one application for each word."""
    applications = [
        {
            "name": f"echo-{number}",
            "route_prefix": f"/echo-{number}",
            "import_path": import_path,
            "args": {"model": "movies"},
            "deployments": [{"name": "Echo", "num_replicas": 2, "ray_actor_options": {"num_cpus": 0.1}, "user_config": {"word": word}}],
        }
        for number, word in enumerate(words)
    ]
    return {"applications": applications}


def application(rest: httpx.Client, name: str = "echo-0") -> dict[str, Any]:
    answer = rest.get(SERVE)
    assert answer.status_code == 200
    return answer.json()["applications"].get(name, {})


def settled(rest: httpx.Client, word: str) -> dict[str, Any]:
    """Return the application when `word` is in effect in every replica, else an empty one."""
    seen = application(rest)
    deployment = seen.get("deployments", {}).get("Echo", {})
    healthy = seen.get("status") == "RUNNING" and deployment.get("status") == "HEALTHY"
    return seen if healthy and deployment["deployment_config"]["user_config"] == {"word": word} else {}


def replicas(seen: dict[str, Any]) -> dict[str, int]:
    """Return the pid of each replica that runs."""
    listed = seen["deployments"]["Echo"]["replicas"]
    return {replica["replica_id"]: replica["pid"] for replica in listed if replica["state"] == "RUNNING"}


def words_of_all(head: RayHead, pids: dict[str, int]) -> dict[str, str]:
    """Ask through HAProxy until each of the replicas has answered; return what each said last."""
    said: dict[str, str] = {}

    def ask() -> bool:
        answer = httpx.get(f"{head.serve_url}/echo-0/films", timeout=60, trust_env=False).raise_for_status().json()
        assert answer["path"] == "/echo-0/films"
        assert pids[answer["replica"]] == answer["pid"]
        said[answer["replica"]] = answer["word"]
        return said.keys() == pids.keys()

    wait_for(ask)
    return said


def session_of(leader: int) -> list[int]:
    """Return the processes of a session that live now."""
    found: list[int] = []
    for entry in PROC.glob("[0-9]*"):
        with suppress(OSError):
            if os.getsid(int(entry.name)) == leader:
                found.append(int(entry.name))
    return found


@pytest.fixture
def echo(rest: httpx.Client) -> dict[str, int]:
    """The application with the word one, in effect in two replicas; returns their pids."""
    answer = rest.put(SERVE, json=serve_file("one"))
    assert (answer.status_code, answer.content) == (200, b"")
    return replicas(wait_for(lambda: settled(rest, "one")))


def test_without_the_token_nobody_is_answered(ray_head: RayHead):
    for path in ("/api/version", SERVE, "/api/jobs/"):
        missing = httpx.get(ray_head.dashboard_url + path, timeout=60, trust_env=False)
        wrong = httpx.get(ray_head.dashboard_url + path, headers={"Authorization": "Bearer wrong"}, timeout=60, trust_env=False)
        assert (missing.status_code, wrong.status_code) == (401, 403)


def test_an_application_answers_through_haproxy_from_both_replicas(ray_head: RayHead, rest: httpx.Client, echo: dict[str, int]):
    assert len(echo) == 2
    assert set(words_of_all(ray_head, echo).values()) == {"one"}
    options = rest.get(SERVE).json()["http_options"]
    assert (options["host"], options["port"]) == (ray_head.serve_host, ray_head.serve_port)


def test_a_changed_user_config_reaches_every_replica_without_a_restart(ray_head: RayHead, rest: httpx.Client, echo: dict[str, int]):
    assert rest.put(SERVE, json=serve_file("two")).status_code == 200
    assert replicas(wait_for(lambda: settled(rest, "two"))) == echo
    assert set(words_of_all(ray_head, echo).values()) == {"two"}


def test_an_application_that_the_file_no_longer_names_is_deleted(ray_head: RayHead, rest: httpx.Client, echo: dict[str, int]):
    assert rest.put(SERVE, json={"applications": []}).status_code == 200
    wait_for(lambda: not application(rest))
    wait_for(lambda: httpx.get(f"{ray_head.serve_url}/echo-0", timeout=60, trust_env=False).status_code in {404, 503})
    wait_for(lambda: not any(start_time(pid) for pid in echo.values()))


def test_a_wrong_import_path_is_accepted_and_then_fails_with_its_cause(rest: httpx.Client):
    assert rest.put(SERVE, json=serve_file("one", import_path="no_such_module:build")).status_code == 200
    failed = wait_for(lambda: seen if (seen := application(rest)).get("status") == "DEPLOY_FAILED" else {})
    assert failed["message"].strip().splitlines()[-1] == "ModuleNotFoundError: No module named 'no_such_module'"


def test_a_file_that_breaks_the_schema_is_refused(rest: httpx.Client):
    twice = serve_file("one", "two")
    twice["applications"][1]["route_prefix"] = twice["applications"][0]["route_prefix"]
    answer = rest.put(SERVE, json=twice)
    assert answer.status_code == 400
    assert "route prefix" in answer.text


def test_a_job_id_is_taken_once_even_after_the_job_has_ended(rest: httpx.Client):
    job = {"entrypoint": "echo trained movies", "submission_id": f"movies-{os.getpid()}", "metadata": {"model": "movies"}}
    assert rest.get(f"/api/jobs/{job['submission_id']}").status_code == 404
    first = rest.post("/api/jobs/", json=job)
    assert (first.status_code, first.json()["submission_id"]) == (200, job["submission_id"])

    def look() -> dict[str, Any]:
        return rest.get(f"/api/jobs/{job['submission_id']}").json()

    for _ in range(2):
        again = rest.post("/api/jobs/", json=job)
        assert again.status_code == 500
        assert f"Job with submission_id {job['submission_id']} already exists" in again.text
        wait_for(lambda: look()["status"] not in {"PENDING", "RUNNING"})
    ended = look()
    assert (ended["status"], ended["driver_exit_code"], ended["metadata"]) == ("SUCCEEDED", 0, {"model": "movies"})
    assert "trained movies" in rest.get(f"/api/jobs/{job['submission_id']}/logs").json()["logs"]


def test_a_job_that_is_stopped_says_so(rest: httpx.Client):
    job = f"sleeper-{os.getpid()}"
    rest.post("/api/jobs/", json={"entrypoint": "sleep 600", "submission_id": job}).raise_for_status()
    wait_for(lambda: rest.get(f"/api/jobs/{job}").json()["status"] == "RUNNING")
    assert rest.post(f"/api/jobs/{job}/stop").json() == {"stopped": True}
    wait_for(lambda: rest.get(f"/api/jobs/{job}").json()["status"] == "STOPPED")
    assert rest.delete(f"/api/jobs/{job}").json() == {"deleted": True}


def test_an_existing_head_is_found_by_its_address_and_token(ray_head: RayHead, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", ray_head.dashboard_url + "/")
    monkeypatch.setenv("RAY_AUTH_TOKEN", ray_head.token)
    found = ray.existing()
    assert found == RayHead(dashboard_url=ray_head.dashboard_url, token=ray_head.token, serve_port=ray_head.serve_port)
    assert found is not None
    found.stop()
    assert ray_head.alive()


def test_an_existing_head_that_refuses_the_token_is_told_in_words(ray_head: RayHead, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    with pytest.raises(Unmet, match="RAY_AUTH_TOKEN"):
        ray.existing(ray_head.dashboard_url)
    with pytest.raises(Unmet, match="dashboard"):
        ray.existing("127.0.0.1:6379")


@pytest.mark.slow
@pytest.mark.usefixtures("ray_turn")
def test_a_stopped_head_leaves_no_listener_and_no_process(tmp_path: Path):
    head = ray.start(tmp_path, python_path=[Path(__file__).parent / "apps"])
    assert ray.start(tmp_path) == head
    assert head.ports is not None
    try:
        with head.client(timeout_s=60.0) as rest:
            rest.put(SERVE, json=serve_file("one")).raise_for_status()
            pids = replicas(wait_for(lambda: settled(rest, "one")))
    finally:
        head.stop()
    assert not head.alive()
    assert is_free(head.ports.dashboard)
    assert is_free(head.ports.serve)
    assert not any(start_time(pid) for pid in pids.values())  # an orphan that has ended and waits for init to collect it has ended


def test_a_dashboard_port_in_use_is_refused_before_anything_starts(ray_head: RayHead, tmp_path: Path):
    assert ray_head.ports is not None
    with pytest.raises(Unmet, match=f"port {ray_head.ports.dashboard} for Ray's dashboard"):
        ray.start(tmp_path, dashboard_port=ray_head.ports.dashboard)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(not PROC.joinpath("self/stat").exists(), reason="sessions are listed in /proc only")
@pytest.mark.usefixtures("ray_turn")
def test_what_a_killed_head_leaves_behind_is_ended_by_stop(tmp_path: Path):
    head = ray.start(tmp_path)
    child = processes.read(tmp_path / "pid" / "ray-head")
    assert child is not None
    members = {pid: start_time(pid) for pid in session_of(child.pid)}
    os.kill(child.pid, signal.SIGKILL)
    head.stop()
    assert len(members) > 5
    assert not head.alive()
    assert [pid for pid, started in members.items() if start_time(pid) == started] == []
