"""What the operator asks of a real Ray head: jobs under names of its own, and its part of a Serve config that others share."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from recsys_dev.ray import RayHead
from recsys_operator.state.actions import DeployApp
from recsys_operator.state.observed import AppState, JobWord
from recsys_operator.world import serve_config
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.ray import RayCluster, Rays
from recsys_operator.world.ray_words import read_apps, serving_url
from recsys_schemas.serving_record import ServingArguments, ServingRecord
from recsys_schemas.train_job import ModelIdentity, TrainJob

SERVE = "/api/serve/applications/"
DEADLINE_S = 180.0
UID = "8a7d3f1e-0000-4000-8000-000000000001"
T = TypeVar("T")


class Head:
    """The operator's client of the head; what a training job runs is a program of the test's choice."""

    def __init__(self, head: RayHead, *, token: str | None = None, training: str = "true") -> None:
        self.head, self.token, self.training = head, head.token if token is None else token, training

    def run(self, call: Callable[[RayCluster], Awaitable[T]]) -> T:
        async def go() -> T:
            async with httpx.AsyncClient(trust_env=False) as http:
                return await call(Rays(http=http, training_command=self.training).at(self.head.dashboard_url, self.token))

        return asyncio.run(go())

    def apps(self) -> dict[str, AppState]:
        return read_apps(self.run(lambda cluster: cluster.serve()))

    def until(self, call: Callable[[], T], true: Callable[[T], bool]) -> T:
        end = time.monotonic() + DEADLINE_S
        while not true(seen := call()):
            assert time.monotonic() < end, seen
            time.sleep(0.1)
        return seen


def replica_ids(application: dict[str, Any]) -> list[str]:
    return [replica["replica_id"] for deployment in application["deployments"].values() for replica in deployment["replicas"]]


def deploy(name: str, *, epoch: int = 1, replicas: int = 1) -> DeployApp:
    arguments = ServingArguments(
        namespace="default",
        name=name,
        uid=UID,
        storage_uri="file:///nowhere",
        bootstrap_servers=["127.0.0.1:1"],
        requests_topic="asked",
        responses_topic="answered",
        event_topics={"watch": "watch"},
        timeout_ms=100,
    )
    record = ServingRecord(epoch=epoch, salt=name, arms=[], tokens={})
    return DeployApp(name=f"default.{name}", route_prefix=f"/{name}", replicas=replicas, arguments=arguments, record=record)


def job(version: str = "movies-000001") -> TrainJob:
    return TrainJob(
        model=ModelIdentity(namespace="default", name="movies", uid=UID),
        version=version,
        storage_uri="file:///nowhere",
        snapshot_sequence=1,
        algorithm="ALS",
        hyperparameters={"word": 'it\'s "quoted" $HOME `x`'},
        baselines=[],
        seed=42,
    )


@pytest.fixture
def echo_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that starts anywhere: what is proven here is the config, not what it serves."""
    monkeypatch.setattr(serve_config, "IMPORT_PATH", "quiet_app:build")


@pytest.fixture
def empty(rest: httpx.Client) -> Iterator[None]:
    """No application before, none after."""
    rest.put(SERVE, json={"applications": []}).raise_for_status()
    yield
    rest.put(SERVE, json={"applications": []}).raise_for_status()


OTHER: dict[str, Any] = {
    "name": "someone-elses",
    "route_prefix": "/other",
    "import_path": "echo_app:build",
    "args": {"model": "not ours"},
    "deployments": [{"name": "Echo", "num_replicas": 1, "ray_actor_options": {"num_cpus": 0.1}, "user_config": {"word": "hello"}}],
}


@pytest.mark.usefixtures("echo_import", "empty")
def test_applications_stand_side_by_side_and_removing_one_keeps_the_others_byte_for_byte(ray_head: RayHead, rest: httpx.Client) -> None:
    head = Head(ray_head)
    rest.put(SERVE, json={"applications": [OTHER]}).raise_for_status()
    head.run(lambda cluster: cluster.deploy(deploy("movies"), http_options={}))
    head.run(lambda cluster: cluster.deploy(deploy("films"), http_options={}))
    running = head.until(head.apps, lambda apps: len(apps) == 3 and all(app.word == "RUNNING" for app in apps.values()))
    assert running["default.movies"].record == deploy("movies").record
    assert running["default.movies"].arguments == deploy("movies").arguments
    assert len(running["default.movies"].running_replicas) == 1
    assert running["someone-elses"].arguments is None
    before = rest.get(SERVE).json()
    head.run(lambda cluster: cluster.remove("default.movies"))
    left = head.until(lambda: rest.get(SERVE).json(), lambda details: "default.movies" not in details["applications"])
    for name in ("someone-elses", "default.films"):
        was, now = before["applications"][name], left["applications"][name]
        assert now["deployed_app_config"] == was["deployed_app_config"]
        assert replica_ids(now) == replica_ids(was)
    assert left["applications"]["someone-elses"]["deployed_app_config"] == OTHER
    assert left["http_options"] == before["http_options"]


@pytest.mark.usefixtures("echo_import", "empty")
def test_a_config_that_would_change_nothing_is_not_sent(ray_head: RayHead, rest: httpx.Client) -> None:
    head = Head(ray_head)

    def deployed_at() -> float:
        return rest.get(SERVE).json()["applications"]["default.movies"]["last_deployed_time_s"]

    head.run(lambda cluster: cluster.deploy(deploy("movies"), http_options={}))
    head.until(head.apps, lambda apps: apps["default.movies"].word == "RUNNING")
    first = deployed_at()
    head.run(lambda cluster: cluster.deploy(deploy("movies"), http_options={}))
    head.run(lambda cluster: cluster.remove("default.never"))
    assert deployed_at() == first
    before = head.apps()["default.movies"].running_replicas
    head.run(lambda cluster: cluster.deploy(deploy("movies", epoch=2), http_options={}))
    changed = head.until(head.apps, lambda apps: apps["default.movies"].word == "RUNNING")["default.movies"]
    assert changed.record is not None
    assert (changed.record.epoch, changed.running_replicas) == (2, before)
    assert deployed_at() > first


@pytest.mark.usefixtures("empty")
def test_an_application_that_cannot_start_says_why(ray_head: RayHead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_config, "IMPORT_PATH", "no_such_module:build")
    head = Head(ray_head)
    head.run(lambda cluster: cluster.deploy(deploy("movies"), http_options={}))
    failed = head.until(head.apps, lambda apps: apps["default.movies"].word == "DEPLOY_FAILED")
    assert "No module named 'no_such_module'" in failed["default.movies"].message


@pytest.mark.usefixtures("empty")
def test_an_application_that_was_given_up_starts_once_it_is_sent_under_a_higher_epoch(
    ray_head: RayHead, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(serve_config, "IMPORT_PATH", "late_app:build")
    head, asked, late = Head(ray_head), deploy("movies"), tmp_path / "mounted-late"
    asked = replace(asked, arguments=asked.arguments.model_copy(update={"storage_uri": late.as_uri()}))
    head.run(lambda cluster: cluster.deploy(asked, http_options={}))
    failed = head.until(head.apps, lambda apps: apps["default.movies"].word == "DEPLOY_FAILED")["default.movies"]
    assert f"No such file or directory: '{late}'" in failed.message
    late.write_text("")
    again = replace(asked, record=asked.record.model_copy(update={"epoch": 2}))
    head.run(lambda cluster: cluster.deploy(again, http_options={}))
    running = head.until(head.apps, lambda apps: apps["default.movies"].word == "RUNNING")["default.movies"]
    assert running.record == again.record


def test_the_ingress_is_where_the_spec_says_else_where_serve_says(ray_head: RayHead) -> None:
    details = Head(ray_head).run(lambda cluster: cluster.serve())
    assert serving_url(None, ray_head.dashboard_url, details) == ray_head.serve_url
    assert serving_url("http://ingress:80/", ray_head.dashboard_url, details) == "http://ingress:80"


def test_a_wrong_token_is_refused_in_words_that_name_the_field(ray_head: RayHead) -> None:
    for call in (lambda cluster: cluster.serve(), lambda cluster: cluster.jobs("8a7d3f1e")):
        with pytest.raises(RefusedError, match=r"spec\.ray\.tokenSecretRef: Ray refused the token: .*Invalid authentication token"):
            Head(ray_head, token="wrong").run(call)


def test_nothing_is_sent_where_the_config_could_not_be_read(ray_head: RayHead, rest: httpx.Client) -> None:
    before = rest.get(SERVE).json()["applications"]
    with pytest.raises(RefusedError):
        Head(ray_head, token="wrong").run(lambda cluster: cluster.deploy(deploy("movies"), http_options={}))
    assert rest.get(SERVE).json()["applications"] == before


def test_an_address_that_is_no_dashboard_is_named(ray_head: RayHead) -> None:
    async def at(url: str) -> object:
        async with httpx.AsyncClient(trust_env=False) as http:
            return await Rays(http=http, training_command="true").at(url, "token").serve()

    with pytest.raises(RefusedError, match=r"spec\.ray\.dashboardURL: no Ray dashboard is at"):
        asyncio.run(at(ray_head.serve_url))
    with pytest.raises(UnavailableError, match=r"spec\.ray\.dashboardURL: no Ray dashboard answers at http://127\.0\.0\.1:1"):
        asyncio.run(at("http://127.0.0.1:1"))


def test_a_job_submitted_twice_runs_once_and_is_told_what_was_asked(ray_head: RayHead, rest: httpx.Client) -> None:
    head, asked = Head(ray_head, training="echo"), "train-movies-000001-8a7d3f1e-0"
    for _ in range(2):
        head.run(lambda cluster: cluster.submit(asked, job()))
    ended = head.until(lambda: head.run(lambda cluster: cluster.jobs("8a7d3f1e")), lambda jobs: jobs[asked].word.ended)[asked]
    assert ended.word is JobWord.SUCCEEDED
    assert ended.started_at is not None
    assert ended.ended_at is not None
    head.run(lambda cluster: cluster.submit(asked, job()))
    assert head.run(lambda cluster: cluster.jobs("8a7d3f1e"))[asked] == ended
    logs = rest.get(f"/api/jobs/{asked}/logs").json()["logs"]
    # Ray prints the command too, with quotes round the argument; the command's own words have none.
    printed = re.findall(r"--job (\{.*)", logs)
    assert [TrainJob.model_validate_json(each) for each in printed] == [job()]
    assert head.run(lambda cluster: cluster.jobs("ffffffff")) == {}
    for _ in range(2):
        head.run(lambda cluster: cluster.forget(asked))
    assert asked not in head.run(lambda cluster: cluster.jobs("8a7d3f1e"))


def test_a_job_that_is_stopped_twice_is_stopped(ray_head: RayHead) -> None:
    head, asked = Head(ray_head, training="sleep 600 #"), "train-movies-000002-8a7d3f1e-0"

    def word() -> JobWord:
        return head.run(lambda cluster: cluster.jobs("8a7d3f1e"))[asked].word

    head.run(lambda cluster: cluster.submit(asked, job("movies-000002")))
    head.until(word, lambda seen: seen is JobWord.RUNNING)
    with pytest.raises(UnavailableError, match="non-terminal state"):
        head.run(lambda cluster: cluster.forget(asked))
    for _ in range(2):
        head.run(lambda cluster: cluster.stop(asked))
    assert head.until(word, lambda seen: seen.ended) is JobWord.STOPPED
    head.run(lambda cluster: cluster.stop("train-never-8a7d3f1e-0"))
    head.run(lambda cluster: cluster.forget(asked))


def test_a_job_that_fails_says_its_last_words(ray_head: RayHead) -> None:
    head, asked = Head(ray_head, training="sh -c 'echo no such snapshot; exit 3' #"), "train-movies-000003-8a7d3f1e-0"
    head.run(lambda cluster: cluster.submit(asked, job("movies-000003")))
    failed = head.until(lambda: head.run(lambda cluster: cluster.jobs("8a7d3f1e")), lambda jobs: jobs[asked].word.ended)[asked]
    assert failed.word is JobWord.FAILED
    assert "no such snapshot" in failed.message
    head.run(lambda cluster: cluster.forget(asked))
