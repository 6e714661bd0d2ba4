"""The mirror against a real MLflow server that asks for a password: down, up, refusing, restarted, and killed in between."""

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import RUNS
from ray_apps.mirror import server as asked_of
from ray_apps.mirror.__main__ import main
from ray_apps.mirror.job import read_report
from ray_apps.stores.objects import Store, open_store
from ray_apps.training.job import run
from recsys_dev import mlflow, runs
from recsys_schemas.kafka_access import FOLDER, SecretKeyName
from recsys_schemas.mirror import MirroredVersion, MirrorJob, MirrorReport
from recsys_schemas.version_card import VersionCard
from unit.ray_apps.training import planted

FIRST, SECOND = "movies-000001", "movies-000002"
NAME = "default.movies"
TRIES = 5
TOKEN = SecretKeyName(secret="mlflow", key="token")


@pytest.fixture(scope="module")
def server() -> Iterator[mlflow.Server]:
    """A server that nobody has started yet; it ends with the module."""
    run_dir = runs.claim(RUNS / f"mlflow-{os.getpid()}")
    made = mlflow.prepare(run_dir, print, guarded=True)
    try:
        yield made
    finally:
        made.stop()
        runs.discard(run_dir)


@pytest.fixture
def up(server: mlflow.Server) -> mlflow.Server:
    if server.child is None:
        server.start()
    return server


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two versions, the second with the first as its champion."""
    folder = tmp_path_factory.mktemp("store")
    uri = planted.snapshot(folder, {"watch": planted.tastes(users=40, items=20, events=8)})
    run(planted.job(uri, algorithm="ItemItem", baselines=["Popularity"]))
    run(planted.job(uri, version=SECOND, algorithm="Popularity", baselines=[], champion=FIRST))
    return open_store(uri)


@pytest.fixture
def secret(server: mlflow.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Writes what the job finds in the mounted Secret; the administrator's password at first."""
    place = tmp_path / "secrets" / "default" / "mlflow" / "token"
    place.parent.mkdir(parents=True)
    monkeypatch.setenv(FOLDER, str(tmp_path / "secrets"))

    def write(words: str) -> None:
        place.write_text(words + "\n")

    write(f"{mlflow.ADMIN}:{server.password}")
    return write


@pytest.fixture
def mirror(server: mlflow.Server, store: Store, secret: Callable[[str], None]) -> Callable[..., MirrorReport]:
    """Runs the job as Ray does, and returns what it left."""
    del secret
    numbers = iter(range(1_000_000))

    def once(**change: Any) -> MirrorReport:
        job = MirrorJob(
            model=planted.job(store.uri).model,
            storage_uri=store.uri,
            run=next(numbers),
            wanted="w",
            tracking_uri=server.url,
            experiment=NAME,
            model_name=NAME,
            token=TOKEN,
            versions=[shown(store, FIRST, "Champion"), shown(store, SECOND, "Candidate")],
            aliases={"champion": FIRST, "challenger": SECOND},
        )
        assert main(["--job", job.model_copy(update=change).model_dump_json()]) == 0
        report = read_report(store)
        assert report is not None
        return report

    return once


def settled(mirror: Callable[..., MirrorReport], **change: Any) -> MirrorReport:
    """Runs the job until the server shows all, as the operator has it run: a busy machine may be late to answer once."""
    report = mirror(**change)
    for _ in range(TRIES - 1):
        if report.good:
            break
        report = mirror(**change)
    assert report.good, report.message
    return report


def card(store: Store, name: str) -> VersionCard:
    return VersionCard.model_validate_json(store.read(f"versions/{name}/card.json"))


def shown(store: Store, name: str, phase: str) -> MirroredVersion:
    return MirroredVersion(
        version=name, digest=card(store, name).digest, phase=phase, registered=phase != "Rejected", gates={"ndcg": "Passed"}
    )


def ask(server: mlflow.Server, method: str, path: str, **more: Any) -> Any:
    """What the server itself says, to its administrator."""
    with httpx.Client(trust_env=False, timeout=60, auth=(mlflow.ADMIN, server.password)) as http:
        answer = http.request(method, f"{server.url}/api/2.0/{path}", **more)
        assert answer.is_success, answer.text
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.content


def everything(server: mlflow.Server) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Runs by version, registered versions by number, and aliases."""
    experiment = ask(server, "GET", "mlflow/experiments/get-by-name", params={"experiment_name": NAME})["experiment"]["experiment_id"]
    found = ask(server, "POST", "mlflow/runs/search", json={"experiment_ids": [experiment]}).get("runs", [])
    tagged = [({tag["key"]: tag["value"] for tag in each["data"]["tags"]}, each) for each in found]
    assert len({tags["recsys.version"] for tags, _ in tagged}) == len(found), "one run for each version"
    registered = ask(server, "GET", "mlflow/model-versions/search", params={"filter": f"name='{NAME}'"}).get("model_versions", [])
    aliases = ask(server, "GET", "mlflow/registered-models/get", params={"name": NAME})["registered_model"].get("aliases", [])
    return (
        {tags["recsys.version"]: each for tags, each in tagged},
        {each["version"]: each for each in registered},
        {each["alias"]: each["version"] for each in aliases},
    )


def test_a_server_that_is_down_is_said_and_once_it_is_up_all_is_shown(server: mlflow.Server, mirror: Callable[..., MirrorReport]):
    assert server.child is None
    report = mirror()
    assert (report.good, report.good_run) == (False, -1)
    assert f"spec.registry.mlflow.trackingURI {server.url} cannot be reached" in report.message
    server.start()
    report = settled(mirror)
    runs_, registered, aliases = everything(server)
    assert set(runs_) == {FIRST, SECOND}
    assert report.versions == {name: each["info"]["run_id"] for name, each in runs_.items()}
    assert all(each["info"]["status"] == "FINISHED" for each in runs_.values())
    of = {number: next(tag["value"] for tag in each["tags"] if tag["key"] == "recsys.version") for number, each in registered.items()}
    assert {alias: of[number] for alias, number in aliases.items()} == {"champion": FIRST, "challenger": SECOND}


def test_a_run_has_params_metrics_with_intervals_tags_card_and_page(up: mlflow.Server, store: Store, mirror: Callable[..., MirrorReport]):
    settled(mirror)
    made, shown_run = card(store, FIRST), everything(up)[0][FIRST]
    metrics = {each["key"]: each["value"] for each in shown_run["data"]["metrics"]}
    ndcg = made.evaluations[0].metrics["ndcg@10"]
    assert [metrics[f"ndcg_at_10{end}"] for end in ("", ".low", ".high")] == pytest.approx([ndcg.value, ndcg.low, ndcg.high])
    assert "baseline/Popularity/ndcg_at_10" in metrics
    assert "difference/Popularity/ndcg_at_10.low" in metrics
    params = {each["key"]: each["value"] for each in shown_run["data"]["params"]}
    assert (params["algorithm"], params["seed"], params["library.numpy"]) == ("ItemItem", "42", made.libraries["numpy"])
    tags = {each["key"]: each["value"] for each in shown_run["data"]["tags"]}
    assert (tags["recsys.digest"], tags["recsys.snapshot"], tags["recsys.gate.ndcg"]) == (made.digest, "1", "Passed")
    assert tags["recsys.uri"] == f"{store.uri}/versions/{FIRST}"
    folder = shown_run["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
    copied = ask(up, "GET", f"mlflow-artifacts/artifacts/{folder}/card.json")
    assert VersionCard.model_validate_json(copied) == made
    listed = ask(up, "GET", "mlflow/artifacts/list", params={"run_id": shown_run["info"]["run_id"]})["files"]
    assert {each["path"] for each in listed} == {"card.json", "report.html"}, "arrays are named, not copied"


def test_a_second_run_changes_nothing_and_aliases_follow_the_rollout(up: mlflow.Server, store: Store, mirror: Callable[..., MirrorReport]):
    settled(mirror)
    before = everything(up)
    settled(mirror)
    assert everything(up) == before
    promoted = [shown(store, FIRST, "Retired"), shown(store, SECOND, "Champion")]
    settled(mirror, versions=promoted, aliases={"champion": SECOND})
    runs_, registered, aliases = everything(up)
    assert (len(runs_), len(registered)) == (2, 2)
    assert aliases == {"champion": before[2]["challenger"]}
    tags = {each["key"]: each["value"] for each in runs_[FIRST]["data"]["tags"]}
    assert tags["recsys.phase"] == "Retired"


@pytest.mark.parametrize("calls", [4, 9, 17])
def test_a_run_that_is_killed_after_any_call_is_gone_on_with(
    up: mlflow.Server, mirror: Callable[..., MirrorReport], monkeypatch: pytest.MonkeyPatch, calls: int
):
    for each in everything(up)[0].values():
        ask(up, "POST", "mlflow/runs/delete", json={"run_id": each["info"]["run_id"]})
    left, whole = [calls], asked_of.Server._send

    def killed(self: asked_of.Server, *given: Any, **more: Any) -> httpx.Response:
        answer = whole(self, *given, **more)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return answer

    with monkeypatch.context() as twin, pytest.raises(KeyboardInterrupt):
        twin.setattr(asked_of.Server, "_send", killed)
        mirror()
    settled(mirror)
    runs_, _, aliases = everything(up)
    assert set(runs_) == {FIRST, SECOND}
    assert set(aliases) == {"champion", "challenger"}


@pytest.mark.usefixtures("up")
def test_a_version_whose_card_is_another_one_is_not_shown(store: Store, mirror: Callable[..., MirrorReport]):
    other = shown(store, FIRST, "Champion").model_copy(update={"digest": "sha256:other"})
    assert settled(mirror, versions=[other], aliases={}).versions == {}


def test_who_may_not_is_told_what_to_mend_and_a_new_password_helps(
    up: mlflow.Server, store: Store, mirror: Callable[..., MirrorReport], secret: Callable[[str], None]
):
    settled(mirror)
    secret(f"{mlflow.ADMIN}:wrong")
    refused = mirror()
    assert (refused.good, "answered 401" in refused.message, "tokenSecretRef" in refused.message) == (False, True, True)
    assert "wrong" not in refused.message
    assert base64.b64encode(b"admin:wrong").decode() not in refused.message
    ask(up, "POST", "mlflow/users/create", json={"username": "ann", "password": "ann-has-read-only"})
    secret("ann:ann-has-read-only")
    refused = mirror(versions=[shown(store, FIRST, "Retired")], aliases={})
    assert (refused.good, "answered 403" in refused.message) == (False, True), refused.message
    secret(f"{mlflow.ADMIN}:{up.password}")
    settled(mirror)


def test_a_server_that_was_restarted_shows_the_same(up: mlflow.Server, mirror: Callable[..., MirrorReport]):
    settled(mirror)
    before = everything(up)
    up.stop()
    assert not mirror().good
    up.start()
    settled(mirror)
    assert everything(up) == before


def test_an_address_that_is_no_mlflow_is_said(up: mlflow.Server, mirror: Callable[..., MirrorReport]):
    report = mirror(tracking_uri=f"{up.url}/elsewhere")
    assert not report.good
    assert "answered 404" in report.message


def test_a_secret_that_is_not_mounted_is_said(mirror: Callable[..., MirrorReport]):
    report = mirror(token=SecretKeyName(secret="nowhere", key="token"))
    assert not report.good
    assert "spec.registry.mlflow.tokenSecretRef: $RECSYS_SECRETS/default/nowhere/token" in report.message
