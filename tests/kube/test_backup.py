"""A model that is lost with its cluster goes on where it was: the same version serves, and nothing is decided twice."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kube.operator_world import Place, define
from recsys_dev.kubernetes import Cluster
from recsys_operator.plan import shares
from recsys_operator.state.observed import Observed

STORE = "file:///var/lib/recsys/films/movies-8a7d3f1e"
HISTORY = [{"version": "movies-000002", "outcome": "Promoted", "time": "2026-09-01T03:40:00Z", "message": "earned"}]


@pytest.fixture(scope="module")
def defined(cluster: Cluster) -> Cluster:
    define(cluster)
    return cluster


@pytest.fixture
def here(defined: Cluster, namespace: str, tmp_path: Path) -> Place:
    return Place(cluster=defined, namespace=namespace, storage=tmp_path / "storage")


def recsys(here: Place, *args: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "kubectl_recsys", "--namespace", here.namespace, *args]
    return subprocess.run(argv, env=here.cluster.environment, input=given, capture_output=True, text=True, timeout=120, check=False)


def child(here: Place, kind: str, name: str, spec: dict[str, Any], status: dict[str, Any]) -> None:
    uid = here.get("rm", "movies")["metadata"]["uid"]
    owner = {"apiVersion": "recsys.dev/v1alpha1", "kind": "RecommenderModel", "name": "movies", "uid": uid, "controller": True}
    labels = {"recsys.dev/model": "movies", "recsys.dev/model-uid": uid, "team": "films"}
    metadata = {"name": name, "labels": labels, "ownerReferences": [owner]}
    body = {
        "apiVersion": "recsys.dev/v1alpha1",
        "kind": kind,
        "metadata": metadata,
        "spec": spec | {"modelRef": {"name": "movies", "uid": uid}},
    }
    here.kubectl("apply", "-f", "-", given=json.dumps(body))
    here.kubectl("patch", kind, name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))


def past(here: Place) -> None:
    """Two versions that served one after the other, and the first of them again: the newest rollout's name is the lowest."""
    here.model(training={"cooldownSeconds": 77})
    snapshot = {"cause": {"trigger": "Initial", "detail": "1000 rows"}, "snapshot": {"sequence": 3, "rows": 1000}, "storageURI": STORE}
    for number in (1, 2):
        artifact = {"digest": f"sha256:0{number}", "sizeBytes": 1}
        spec = snapshot | {"algorithm": "ALS", "seed": 42}
        child(here, "RecommenderModelVersion", f"movies-00000{number}", spec, {"phase": "Retired", "artifact": artifact})
    for name, number in (("movies-000001", 1), ("movies-000002", 2), ("movies-000001-again-1", 1)):
        spec = {"candidate": {"name": f"movies-00000{number}", "digest": f"sha256:0{number}"}, "steps": [{"setWeight": 5}], "analysis": {}}
        child(here, "RecommenderRollout", name, spec, {"phase": "Successful", "verified": True, "weight": 100})
        here.kubectl("wait", f"rro/{name}", "--for=jsonpath={.status.phase}=Successful")
        seconds_pass(here, name)
    ingestion = {
        "rows": 1000,
        "lagRecords": 0,
        "deadLetters": 0,
        "sequence": 3,
        "lastSnapshotTime": "2026-09-01T03:40:00Z",
        "storageURI": STORE,
    }
    here.kubectl(
        "patch",
        "rm",
        "movies",
        "--subresource=status",
        "--type=merge",
        "-p",
        json.dumps({"status": {"history": HISTORY, "ingestion": ingestion}}),
    )


def seconds_pass(here: Place, name: str) -> None:
    """Wait until the API server's clock has gone on: it tells no moments apart within a second."""
    made = here.get("rro", name)["metadata"]["creationTimestamp"]
    tries = 0
    while tries < 100:
        tries += 1
        probe = f"clock-{name}-{tries}"
        here.kubectl("create", "configmap", probe)
        if here.get("configmap", probe)["metadata"]["creationTimestamp"] > made:
            return
    raise AssertionError("the clock stands still")


def told(observed: Observed) -> tuple[Any, ...]:
    best = shares.champion(observed)
    assert best is not None
    versions = [(version.name, version.spec, version.status) for version in observed.versions]
    walks = [(walk.name, walk.spec.candidate, walk.status) for walk in observed.rollouts]
    return best.name, [(name, spec.cause, status) for name, spec, status in versions], walks, observed.model.status.history


def test_a_restored_model_has_the_past_that_was_backed_up(here: Place):
    past(here)
    before = told(here.observed())
    assert before[0] == "movies-000001"
    taken = recsys(here, "backup", "movies")
    assert taken.returncode == 0, taken.stderr
    assert f"2 versions, 3 rollouts; the files lie in {STORE}: keep that store too" in taken.stderr
    here.kubectl("delete", "rm", "movies", "--wait=true")
    here.kubectl("wait", "rro", "--all", "--for=delete", "--timeout=110s")
    here.kubectl("wait", "rmv", "--all", "--for=delete", "--timeout=110s")
    done = recsys(here, "restore", "-", given=taken.stdout)
    assert done.returncode == 0, done.stderr
    assert "restored with 2 versions and 3 rollouts" in done.stdout
    assert told(here.observed()) == before
    model = here.read()
    assert (model.storage_uri, model.spec.suspend, model.spec.training.cooldown_seconds) == (STORE, False, 77)
    assert here.get("rro", "movies-000002")["metadata"]["labels"]["team"] == "films"


def test_nothing_that_is_there_is_changed_and_what_is_no_backup_is_refused(here: Place, tmp_path: Path):
    here.model()
    taken = recsys(here, "backup", "movies")
    again = recsys(here, "restore", "-", given=taken.stdout)
    assert (again.returncode, again.stdout) == (2, "")
    assert f"model {here.namespace}/movies is there: restore into another namespace" in again.stderr
    for text, words in (("{}", "format: None, expected 'recsys.dev/backup-v1'"), ("nonsense", "Expecting value"), ("[]", "format: 'list'")):
        file = tmp_path / "file.json"
        file.write_text(text)
        refused = recsys(here, "restore", str(file))
        assert refused.returncode == 2
        assert words in refused.stderr
    assert recsys(here, "restore", str(tmp_path / "none")).returncode == 2
