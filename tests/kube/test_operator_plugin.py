"""`kubectl recsys` against a real API server."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kube.operator_world import Place, define, in_force
from ray_apps.stores.objects import open_store
from ray_apps.training.job import run
from recsys_dev.kubernetes import Cluster
from unit.ray_apps.training import planted
from unit.ray_apps.upkeep.growing import Growing

DIGEST = "sha256:02"


@pytest.fixture(scope="module")
def defined(cluster: Cluster) -> Cluster:
    define(cluster)
    return cluster


@pytest.fixture
def here(defined: Cluster, namespace: str, tmp_path: Path) -> Place:
    return Place(cluster=defined, namespace=namespace, storage=tmp_path / "storage")


def recsys(here: Place, *args: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = here.cluster.environment | ({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {})
    argv = [sys.executable, "-m", "kubectl_recsys", "--namespace", here.namespace, *args]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=False)


def rollout(here: Place, name: str, uid: str = "u", weight_of_step: int = 5, **status: Any) -> None:
    spec = {
        "modelRef": {"name": "movies", "uid": uid},
        "candidate": {"name": name, "digest": DIGEST},
        "steps": [{"setWeight": weight_of_step}],
        "analysis": {},
    }
    body = {"apiVersion": "recsys.dev/v1alpha1", "kind": "RecommenderRollout", "metadata": {"name": name}, "spec": spec}
    here.kubectl("apply", "-f", "-", given=json.dumps(body))
    here.kubectl("patch", "rro", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))


def version(here: Place, name: str, **status: Any) -> None:
    """A version object of the model, as the operator makes it."""
    uid = here.get("rm", "movies")["metadata"]["uid"]
    owner = {"apiVersion": "recsys.dev/v1alpha1", "kind": "RecommenderModel", "name": "movies", "uid": uid, "controller": True}
    metadata = {"name": name, "labels": {"recsys.dev/model-uid": uid}, "ownerReferences": [owner]}
    spec = {
        "modelRef": {"name": "movies", "uid": uid},
        "cause": {"trigger": "Initial", "detail": "1000 rows"},
        "snapshot": {"sequence": 1, "rows": 1000},
        "storageURI": "file:///store",
        "algorithm": "ALS",
        "seed": 42,
    }
    body = {"apiVersion": "recsys.dev/v1alpha1", "kind": "RecommenderModelVersion", "metadata": metadata, "spec": spec}
    here.kubectl("apply", "-f", "-", given=json.dumps(body))
    here.kubectl("patch", "rmv", name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))


def differ(here: Place, older: str, newer: str) -> tuple[int, str, list[list[str]]]:
    """Exit status, all words, and the lines that name a path, as lists of what stands in their columns."""
    done = recsys(here, "diff", older, newer)
    rows = [[cell.strip() for cell in line.split("   ") if cell.strip()] for line in done.stdout.splitlines()]
    return done.returncode, done.stdout + done.stderr, rows


def control(here: Place, name: str) -> dict[str, Any]:
    return here.get("rro", name)["spec"].get("control", {})


def test_the_status_of_a_model_that_is_not_ready_ends_with_1(here: Place) -> None:
    here.model()
    told = {"type": "Ready", "status": "False", "reason": "NoChampion", "message": "no version serves yet", "observedGeneration": 1}
    status = {"status": {"phase": "Ingesting", "conditions": [told | {"lastTransitionTime": "2026-09-01T00:00:00Z"}]}}
    here.kubectl("patch", "rm", "movies", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    done = recsys(here, "status", "movies")
    assert done.returncode == 1, done.stderr
    assert f"{here.namespace}/movies: Ingesting" in done.stdout
    assert "Ready       False    NoChampion   no version serves yet" in done.stdout


def test_a_rollout_is_paused_resumed_promoted_and_aborted(here: Place) -> None:
    rollout(here, "movies-000002", phase="Progressing")
    signed = {"requestedBy": "admin", "reason": "told at ten"}
    for words, wanted in (
        ("pause", {"paused": True, "abort": False, "promote": "None"}),
        ("resume", {"paused": False, "abort": False, "promote": "None"}),
        ("promote --next", {"paused": False, "abort": False, "promote": "Next", "step": 0}),
        ("promote --full", {"paused": False, "abort": False, "promote": "Full"}),
        ("abort", {"paused": False, "abort": True, "promote": "Full"}),
    ):
        word, *more = words.split()
        done = recsys(here, word, "movies-000002", *more, "--reason", "told at ten")
        assert done.returncode == 0, done.stderr
        assert control(here, "movies-000002") == wanted | signed


def test_a_rollout_is_approved_only_where_it_waits_for_that(here: Place) -> None:
    rollout(here, "movies-000002", phase="Paused", paused="User", step=0)
    done = recsys(here, "approve", "movies-000002")
    assert (done.returncode, "waits for no approval (Paused, User)" in done.stderr) == (2, True)
    rollout(here, "movies-000002", phase="Paused", paused="Approval", step=0)
    assert recsys(here, "approve", "movies-000002").returncode == 0
    assert (control(here, "movies-000002")["promote"], control(here, "movies-000002")["step"]) == ("Next", 0)


def test_promoting_says_how_far(here: Place) -> None:
    done = recsys(here, "promote", "movies-000002")
    assert (done.returncode, "one of the arguments --next --full is required" in done.stderr) == (2, True)


def test_a_rollout_is_watched_line_by_line_until_it_has_ended(here: Place) -> None:
    here.model()
    uid = here.get("rm", "movies")["metadata"]["uid"]
    rollout(here, "movies-000002", phase="Successful", weight=100, message="all is well")
    owner = {"apiVersion": "recsys.dev/v1alpha1", "kind": "RecommenderModel", "name": "movies", "uid": uid, "controller": True}
    own = {"metadata": {"labels": {"recsys.dev/model-uid": uid}, "ownerReferences": [owner]}}
    here.kubectl("patch", "rro", "movies-000002", "--type=merge", "-p", json.dumps(own))
    done = recsys(here, "watch", "movies", "--until-ended")
    assert (done.returncode, done.stdout) == (0, "movies-000002: movies-000002 100 %; Successful; all is well\n"), done.stderr


def test_a_rollout_that_has_ended_is_not_steered(here: Place) -> None:
    rollout(here, "movies-000002", phase="RolledBack")
    done = recsys(here, "promote", "movies-000002", "--full")
    assert (done.returncode, "has ended (RolledBack)" in done.stderr) == (2, True)
    assert control(here, "movies-000002").get("promote", "None") == "None"


def test_every_verdict_is_explained_with_its_words(here: Place) -> None:
    words = "reward rate 0.112 against 0.115: could still be 0.02 worse"
    decision = {"time": "2026-09-01T03:40:00Z", "step": 0, "verdict": "Held", "words": words}
    rollout(here, "movies-000002", phase="Progressing", weight=5, verified=True, decisions=[decision])
    done = recsys(here, "explain", "movies-000002")
    assert done.returncode == 0, done.stderr
    assert "movies-000002 with nothing before it, at 5 % of users (reported by every replica)" in done.stdout
    assert f"2026-09-01T03:40:00+00:00   0      Held      -          {words}" in done.stdout


def test_two_versions_and_their_rollouts_are_told_apart_by_what_was_asked_measured_and_shown(here: Place) -> None:
    here.model()
    uid = here.get("rm", "movies")["metadata"]["uid"]
    arms = {"stable": {"requests": 900, "errors": 9}, "candidate": {"requests": 100, "errors": 50}}
    shown = [{"metric": "errors", "verdict": "Worse", "words": "errors 50/100 = 50.0 % against 9/900 = 1.0 %"}]
    decisions = [{"time": "2026-09-01T03:40:00Z", "step": 0, "verdict": "RolledBack", "words": "errors are worse"}]
    for name, ndcg, low, high in (("movies-000001", "0.2000", "0.1900", "0.2100"), ("movies-000002", "0.2500", "0.2400", "0.2600")):
        metrics = [{"model": "ALS", "metric": "ndcg@10", "value": ndcg, "low": low, "high": high}]
        gates = [{"name": "size", "verdict": "Passed", "message": "1 MB"}]
        version(here, name, phase="Candidate", attempt=1, metrics=metrics, gates=gates)
    rollout(here, "movies-000001", uid, phase="Successful")
    evidence = {**arms, "shown": shown}
    rollout(here, "movies-000002", uid, weight_of_step=20, phase="RolledBack", evidence=evidence, decisions=decisions)
    code, words, rows = differ(here, "movies-000001", "movies-000002")
    assert code == 1, words
    assert ["ALS ndcg@10", "0.2000 [0.1900, 0.2100]", "0.2500 [0.2400, 0.2600] above"] in rows
    assert ["spec.steps[0].setWeight", "5", "20"] in rows
    assert ["errors", "-", "Worse: errors 50/100 = 50.0 % against 9/900 = 1.0 %"] in rows
    assert ["status.phase", "Successful", "RolledBack"] in rows
    assert not [row for row in rows if row[:1] == ["status.gates[size].verdict"]], "what is alike is left out"
    assert words.splitlines()[-1].endswith("kubectl recsys versions diff movies movies-000001 movies-000002")


def test_what_does_not_differ_or_is_not_there_is_said_in_one_line(here: Place) -> None:
    rollout(here, "movies-000002", phase="Progressing")
    assert differ(here, "movies-000002", "movies-000002")[:2] == (
        0,
        "movies-000002 and movies-000002 differ in nothing but their names and times\n",
    )
    code, words, _ = differ(here, "movies-000002", "movies-000009")
    assert (code, "no version and no rollout 'movies-000009'" in words, len(words.splitlines())) == (2, True, 1)


def test_versions_of_two_models_are_not_compared(here: Place) -> None:
    here.model()
    version(here, "movies-000001", phase="Champion")
    rollout(here, "films-000001", phase="Progressing")  # of another uid
    code, words, _ = differ(here, "movies-000001", "films-000001")
    assert (code, "belong to 2 models" in words) == (2, True)


@pytest.mark.parametrize(
    "args", [("status", "movies"), ("explain", "movies-000001"), ("topics", "verify", "movies"), ("versions", "movies")]
)
def test_what_is_not_there_is_one_line_and_2(here: Place, args: tuple[str, ...]) -> None:
    done = recsys(here, *args)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert f"no Recommender{'Rollout' if args[0] == 'explain' else 'Model'} '{args[-1]}' in namespace" in done.stderr


def test_topics_on_brokers_that_do_not_answer_cannot_be_known(here: Place) -> None:
    here.model()
    done = recsys(here, "topics", "verify", "movies")
    assert done.returncode == 2
    assert "spec.kafka.bootstrapServers: no broker answers at 127.0.0.1:1" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_rights_on_the_brokers_are_listed_as_a_table_and_as_commands(here: Place) -> None:
    here.model()
    done = recsys(here, "topics", "acls", "movies")
    assert done.returncode == 0, done.stderr
    assert "PART" in done.stdout.splitlines()[0]
    done = recsys(here, "topics", "acls", "movies", "--output", "commands", "--ingest-principal", "User:reader")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all(line.startswith("kafka-acls.sh --bootstrap-server 127.0.0.1:1 ") for line in lines)
    assert any("--allow-principal User:reader --topic watch --operation Read" in line for line in lines)
    assert any("--allow-principal User:recsys --topic watch --operation Read --operation Write" in line for line in lines)


def test_a_user_without_the_right_is_told_so_in_the_servers_words(here: Place) -> None:
    rollout(here, "movies-000002", phase="Progressing")
    here.kubectl("create", "serviceaccount", "reader")
    here.kubectl("create", "role", "reader", "--verb=get,list", "--resource=recommenderrollouts.recsys.dev")
    here.kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={here.namespace}:reader")
    kubeconfig = here.cluster.service_account_kubeconfig(here.namespace, "reader")
    in_force(here.cluster, f"{here.namespace}:reader", "get", "recommenderrollouts.recsys.dev", namespace=here.namespace)
    assert recsys(here, "explain", "movies-000002", kubeconfig=kubeconfig).returncode == 0
    done = recsys(here, "abort", "movies-000002", kubeconfig=kubeconfig)
    assert done.returncode == 2
    assert 'cannot patch resource "recommenderrollouts"' in done.stderr
    assert control(here, "movies-000002").get("abort", False) is False


def ingested(here: Place, uri: str) -> None:
    taken = {"rows": 3, "lagRecords": 0, "deadLetters": 0, "sequence": 3, "lastSnapshotTime": "2026-09-01T00:00:00Z", "storageURI": uri}
    here.kubectl("patch", "rm", "movies", "--subresource=status", "--type=merge", "-p", json.dumps({"status": {"ingestion": taken}}))


def test_the_snapshots_of_a_model_are_read_where_its_status_says(here: Place, tmp_path: Path) -> None:
    here.model()
    done = recsys(here, "snapshots", "list", "movies")
    assert (done.returncode, "has no snapshot yet" in done.stderr) == (2, True)
    growing = Growing(open_store(f"file://{tmp_path}/store"))
    made = growing.publish(3)
    ingested(here, growing.store.uri)
    done = recsys(here, "snapshots", "list", "movies")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split()[0] == str(made.sequence)
    done = recsys(here, "snapshots", "show", "movies", str(made.sequence), "-o", "json")
    assert json.loads(done.stdout)["rows"] == 3
    done = recsys(here, "snapshots", "show", "movies", "99")
    assert (done.returncode, "snapshot 99: not in" in done.stderr) == (2, True)


def test_the_versions_of_a_model_are_read_from_its_store_with_the_verdicts_of_their_objects(here: Place, tmp_path: Path) -> None:
    here.model()
    version(here, "movies-000001", phase="Champion")
    assert "movies-000001" in recsys(here, "versions", "movies").stdout
    uri = planted.snapshot(tmp_path, {"watch": planted.tastes(users=40, items=20, events=8)})
    run(planted.job(uri, algorithm="Popularity", baselines=[]))
    ingested(here, uri)
    done = recsys(here, "versions", "list", "movies")
    assert (done.returncode, "movies-000001" in done.stdout) == (0, True), done.stderr
    done = recsys(here, "versions", "show", "movies", "movies-000001", "-o", "json")
    shown = json.loads(done.stdout)
    assert (shown["digest"][:7], shown["status"]["phase"]) == ("sha256:", "Champion")
    done = recsys(here, "versions", "reproduce", "movies", "movies-000001")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "the same, byte for byte"), done.stderr


def test_a_model_is_sent_back_to_a_version_and_let_go_again(here: Place) -> None:
    here.model()
    version(here, "movies-000001", phase="Retired")
    done = recsys(here, "rollback", "movies", "movies-000001")
    assert done.returncode == 0, done.stderr
    assert here.get("rm", "movies")["spec"]["rollout"]["rollbackTo"] == "movies-000001"
    assert recsys(here, "unpin", "movies").returncode == 0
    assert "rollbackTo" not in here.get("rm", "movies")["spec"]["rollout"]
    done = recsys(here, "rollback", "movies", "movies-000009")
    assert (done.returncode, "movies-000009" in done.stderr) == (2, True)
