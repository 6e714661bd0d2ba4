"""A resource on the real API server: its defaults, its columns, its subresources, and that applying it twice changes nothing."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube.operator_world import define
from recsys_dev.kubernetes import Cluster, CommandFailedError
from recsys_schemas.kinds import KINDS, Kind
from recsys_schemas.v1alpha1.model import ModelSpec

ROOT = Path(__file__).resolve().parents[2]
SMALLEST = ROOT / "examples" / "smallest.yaml"
API = "recsys.dev/v1alpha1"
REFERENCE = {"name": "movies", "uid": "8a7d3f1e"}
VERSION = {
    "modelRef": REFERENCE,
    "cause": {"trigger": "Initial", "detail": "1000 rows"},
    "snapshot": {"sequence": 3, "rows": 1000},
    "storageURI": "file:///var/lib/recsys",
    "algorithm": "ALS",
    "seed": 42,
}
ROLLOUT = {
    "modelRef": REFERENCE,
    "candidate": {"name": "movies-000002", "digest": "sha256:02"},
    "steps": [{"setWeight": 5}],
    "analysis": {},
}
STATUS = {
    "observedGeneration": 1,
    "phase": "Canary",
    "champion": {"version": "movies-000001", "digest": "sha256:01", "weight": 75},
    "challenger": {"version": "movies-000002", "digest": "sha256:02", "weight": 25},
    "replication": {"topics": 4, "underReplicatedPartitions": 0, "minReplicationFactor": 3},
    "quality": {"ndcg10": "0.183", "hr10": "0.241"},
    "serving": {
        "replicas": 2,
        "readyReplicas": 2,
        "epoch": 7,
        "url": "http://127.0.0.1:8000/movies",
        "selector": "recsys.dev/model=movies",
    },
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "ChampionServing",
            "message": "movies-000001 serves 75 % of users",
            "observedGeneration": 1,
            "lastTransitionTime": "2026-09-01T03:40:00Z",
        }
    ],
}


@pytest.fixture(scope="module", autouse=True)
def definitions(cluster: Cluster) -> None:
    define(cluster)


def made(kind: str, name: str, spec: Any, **labels: str) -> str:
    return json.dumps({"apiVersion": API, "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec})


def read(cluster: Cluster, namespace: str, what: str, name: str) -> dict[str, Any]:
    return json.loads(cluster.kubectl("get", what, name, "-n", namespace, "-o", "json"))


@pytest.fixture
def model(cluster: Cluster, namespace: str) -> dict[str, Any]:
    cluster.kubectl("apply", "--server-side", "-n", namespace, "-f", str(SMALLEST))
    return read(cluster, namespace, "rm", "movies")


def write_status(cluster: Cluster, namespace: str, status: dict[str, Any], what: str = "rm", name: str = "movies") -> None:
    cluster.kubectl("patch", what, name, "-n", namespace, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))


def test_the_smallest_resource_is_stored_with_everything_that_holds(model: dict[str, Any]):
    spec = model["spec"]
    assert [(topic["name"], topic["replicas"], topic["minInsyncReplicas"]) for topic in spec["kafka"]["topics"]] == [
        ("watch", 3, 2),
        ("rate", 3, 2),
        ("reco_requests", 3, 2),
        ("reco_responses", 3, 2),
        ("reco_preferences", 3, 2),
        ("reco_items", 3, 2),
        ("reco_decisions", 3, 2),
    ]
    assert (spec["rollout"]["strategy"], spec["rollout"]["steps"]) == ("Canary", []), "the strategy's own steps"
    assert [gate["name"] for gate in spec["gates"]] == ["baselines", "champion"]
    assert spec["model"]["algorithm"] == "ALS"
    assert spec["serving"]["replicas"] == 2
    assert spec["ray"]["tokenSecretRef"] == {"name": "ray-auth", "key": "token"}


def test_what_is_stored_reads_as_what_was_written(model: dict[str, Any]):
    written = yaml.safe_load(SMALLEST.read_text())["spec"]
    assert ModelSpec.model_validate(model["spec"]) == ModelSpec.model_validate(written)
    assert ModelSpec.model_validate(model["spec"]).model_dump(mode="json", by_alias=True, exclude_none=True) == model["spec"]


def test_applying_twice_changes_nothing(cluster: Cluster, namespace: str, model: dict[str, Any]):
    cluster.kubectl("apply", "--server-side", "-n", namespace, "-f", str(SMALLEST))
    again = read(cluster, namespace, "rm", "movies")
    assert again["metadata"]["resourceVersion"] == model["metadata"]["resourceVersion"]
    write_status(cluster, namespace, STATUS)
    once = read(cluster, namespace, "rm", "movies")["metadata"]["resourceVersion"]
    write_status(cluster, namespace, STATUS)
    assert read(cluster, namespace, "rm", "movies")["metadata"]["resourceVersion"] == once


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_is_admitted(cluster: Cluster, namespace: str, path: Path):
    names = cluster.kubectl("apply", "--server-side", "-n", namespace, "-f", str(path), "-o", "name").split()
    assert len(names) == len(list(yaml.safe_load_all(path.read_text())))


def test_status_is_apart_from_the_spec(cluster: Cluster, namespace: str, model: dict[str, Any]):
    cluster.kubectl("patch", "rm", "movies", "-n", namespace, "--type=merge", "-p", json.dumps({"status": STATUS}))
    assert "status" not in read(cluster, namespace, "rm", "movies")
    changed = {"spec": {"suspend": True}, "status": STATUS}
    cluster.kubectl("patch", "rm", "movies", "-n", namespace, "--subresource=status", "--type=merge", "-p", json.dumps(changed))
    after = read(cluster, namespace, "rm", "movies")
    assert after["spec"] == model["spec"]
    assert after["status"] == STATUS
    assert after["metadata"]["generation"] == 1


def test_a_status_of_another_shape_is_refused(cluster: Cluster, namespace: str, model: dict[str, Any]):
    assert model["kind"] == "RecommenderModel"
    with pytest.raises(CommandFailedError, match=r"status\.champion\.weight.*must be of type integer"):
        write_status(cluster, namespace, STATUS | {"champion": {"version": "v", "digest": "d", "weight": "75"}})


def test_replicas_follow_the_scale_subresource(cluster: Cluster, namespace: str, model: dict[str, Any]):
    assert model["spec"]["serving"]["replicas"] == 2
    write_status(cluster, namespace, STATUS)
    cluster.kubectl("scale", "rm", "movies", "-n", namespace, "--replicas=5")
    assert read(cluster, namespace, "rm", "movies")["spec"]["serving"]["replicas"] == 5
    scale = json.loads(cluster.kubectl("get", "rm", "movies", "-n", namespace, "--subresource=scale", "-o", "json"))
    assert scale["spec"] == {"replicas": 5}
    assert scale["status"] == {"replicas": 2, "selector": "recsys.dev/model=movies"}


def table(cluster: Cluster, *words: str) -> list[list[str]]:
    return [line.split() for line in cluster.kubectl("get", *words).splitlines()]


def test_columns_tell_what_matters(cluster: Cluster, namespace: str, model: dict[str, Any]):
    assert model["kind"] == "RecommenderModel"
    place = {"topic": "watch", "partition": 2, "records": 7, "since": "2026-09-01T03:39:48Z"}
    lag = {"lagRecords": 7, "lagSeconds": 12, "furthestBehind": place}
    said = {"rows": 90, "deadLetters": 4, "deadLetterFraction": "0.0400", "sequence": 3, "lastSnapshotTime": "2026-09-01T03:39:40Z"}
    write_status(cluster, namespace, STATUS | {"ingestion": said | lag})
    head, row = table(cluster, "rm", "-n", namespace, "-o", "wide")
    names = "NAME PHASE CHAMPION CHALLENGER WEIGHT NDCG RF LAG READY BEHIND SNAPSHOT DEADLETTERS REASON AGE"
    assert head == names.split()
    cells = dict(zip(head, row, strict=True))
    assert re.fullmatch(r"\d+d", cells.pop("SNAPSHOT")), "how long ago"
    assert list(cells.values())[:-1] == [
        "movies",
        "Canary",
        "movies-000001",
        "movies-000002",
        "25",
        "0.183",
        "3",
        "7",
        "True",
        "12",
        "0.0400",
        "ChampionServing",
    ]
    head, _ = table(cluster, "rm", "-n", namespace)
    assert "LAG" in head
    assert "REASON" not in head
    described = cluster.kubectl("describe", "rm", "movies", "-n", namespace)
    for words in ("Lag Records:", "Lag Seconds:", "Furthest Behind:", "Last Snapshot Time:", "Dead Letter Fraction:"):
        assert words in described


def test_a_version_shows_its_own_metric_and_not_a_baselines(cluster: Cluster, namespace: str):
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=made("RecommenderModelVersion", "movies-000001", VERSION))
    metrics = [
        {"model": "ALS", "metric": "hr@10", "value": "0.24", "low": "0.23", "high": "0.25"},
        {"model": "ALS", "metric": "ndcg@10", "value": "0.13", "low": "0.12", "high": "0.14"},
        {"model": "Popularity", "metric": "ndcg@10", "value": "0.04", "low": "0.03", "high": "0.05"},
    ]
    progress = {"step": 3, "of": 15, "secondsLeft": 4}
    write_status(cluster, namespace, {"phase": "Training", "metrics": metrics, "progress": progress}, "rmv", "movies-000001")
    head, row = table(cluster, "rmv", "-n", namespace)
    assert head == ["NAME", "MODEL", "PHASE", "ALGORITHM", "ROWS", "STEP", "OF", "NDCG", "AGE"]
    assert row[:-1] == ["movies-000001", "movies", "Training", "ALS", "1000", "3", "15", "0.13"]


def test_an_artifact_is_written_once(cluster: Cluster, namespace: str):
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=made("RecommenderModelVersion", "movies-000001", VERSION))
    made_once = {"phase": "Preflight", "artifact": {"digest": "sha256:01", "sizeBytes": 5}}
    write_status(cluster, namespace, {"phase": "Training"}, "rmv", "movies-000001")
    write_status(cluster, namespace, made_once, "rmv", "movies-000001")
    write_status(cluster, namespace, made_once | {"phase": "Champion"}, "rmv", "movies-000001")
    for other in ({"digest": "sha256:02"}, None):
        with pytest.raises(CommandFailedError, match="artifact is written once"):
            write_status(cluster, namespace, {"artifact": other}, "rmv", "movies-000001")


def test_control_is_what_people_may_patch_on_a_rollout(cluster: Cluster, namespace: str):
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=made("RecommenderRollout", "movies-000002", ROLLOUT))
    cluster.kubectl("patch", "rro", "movies-000002", "-n", namespace, "--type=merge", "-p", '{"spec":{"control":{"promote":"Full"}}}')
    write_status(cluster, namespace, {"phase": "Progressing", "step": 0, "weight": 5}, "rro", "movies-000002")
    after = read(cluster, namespace, "rro", "movies-000002")
    assert after["spec"]["control"] == {"abort": False, "paused": False, "promote": "Full", "reason": "", "requestedBy": ""}
    head, row = table(cluster, "rro", "-n", namespace)
    assert head == ["NAME", "MODEL", "CANDIDATE", "PHASE", "WEIGHT", "STEP", "AGE"]
    assert row[:-1] == ["movies-000002", "movies", "movies-000002", "Progressing", "5", "0"]


def test_versions_and_rollouts_are_found_by_their_model(cluster: Cluster, namespace: str):
    other = VERSION | {"modelRef": {"name": "books", "uid": "1"}}
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=made("RecommenderModelVersion", "movies-000001", VERSION))
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=made("RecommenderModelVersion", "books-000001", other))
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=made("RecommenderRollout", "movies-000002", ROLLOUT))
    chosen = ("-n", namespace, "--field-selector", "spec.modelRef.name=movies", "-o", "name")
    assert cluster.kubectl("get", "rmv", *chosen).split() == ["recommendermodelversion.recsys.dev/movies-000001"]
    assert cluster.kubectl("get", "rro", *chosen).split() == ["recommenderrollout.recsys.dev/movies-000002"]


def test_all_kinds_are_seen_under_one_word(cluster: Cluster, namespace: str, model: dict[str, Any]):
    assert model["kind"] == "RecommenderModel"
    cluster.kubectl("create", "-n", namespace, "-f", "-", input=made("RecommenderRollout", "movies-000002", ROLLOUT))
    assert set(cluster.kubectl("get", "recsys", "-n", namespace, "-o", "name").split()) == {
        "recommendermodel.recsys.dev/movies",
        "recommenderrollout.recsys.dev/movies-000002",
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_kubectl_explains_every_kind_in_its_own_words(cluster: Cluster, kind: Kind):
    said = " ".join(cluster.kubectl("explain", kind.short).split())
    assert kind.description in said
    assert "required" in cluster.kubectl("explain", f"{kind.short}.spec")


def test_kubectl_explains_a_field_with_its_choices(cluster: Cluster):
    said = " ".join(cluster.kubectl("explain", "rm.spec.kafka.topics.minInsyncReplicas").split())
    assert "Replicas that must have a record before it is acknowledged" in said
    assert {"ALS", "ItemItem", "Popularity"} <= set(cluster.kubectl("explain", "rm.spec.model.algorithm").split())
