"""What the chart runs once, with the rights that it gives for it: the smoke test of `helm test`, and the farewell after an uninstall."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube.operator_world import in_force
from recsys_dev import kubernetes, processes, runs
from recsys_dev.kubernetes import Cluster
from recsys_dev.ports import free_ports
from recsys_dev.processes import Child, Command
from recsys_operator.world.objects import FINALIZER

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "recsys-operator"
NAMESPACE, TEAM = "recsys-system", "team-films"
RELEASE = "recsys-operator"
RIGHTS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with an audit log into which the chart is installed."""
    run_dir = runs.claim(ROOT / "build" / "run" / "tests" / f"{tmp_path_factory.mktemp('chart-hooks').name}-{os.getpid()}")
    try:
        cluster = kubernetes.start(run_dir, progress=print, audit=True)
        for name in (NAMESPACE, TEAM):
            cluster.kubectl("create", "namespace", name)
        cluster.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
        cluster.helm("install", RELEASE, str(CHART), "-n", NAMESPACE)
        cluster.kubectl("wait", "--for=condition=Established", "crd", "recommendermodels.recsys.dev", "--timeout=60s")
        yield cluster
    finally:
        runs.discard(run_dir)


@pytest.fixture(scope="module")
def operator(own: Cluster) -> Child:
    (port,) = free_ports(1)
    environment = {
        "KUBECONFIG": str(own.service_account_kubeconfig(NAMESPACE, RELEASE)),
        "RECSYS_STORAGE_ROOT": f"file://{own.run_dir}/storage",
        "RECSYS_LEASE_NAMESPACE": NAMESPACE,
        "RECSYS_LEASE_NAME": RELEASE,
        "RECSYS_HTTP_PORT": str(port),
    }
    return processes.start(own.run_dir, "operator", Command(argv=[sys.executable, "-m", "recsys_operator"], env=environment))


def hook(cluster: Cluster, template: str) -> list[dict[str, Any]]:
    text = cluster.helm("template", RELEASE, str(CHART), "-n", NAMESPACE, "--kube-version=1.36.3", f"--show-only=templates/{template}")
    return [document for document in yaml.safe_load_all(text) if document]


def run(cluster: Cluster, documents: list[dict[str, Any]], module: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a hook's program as its pod would: with the token of its ServiceAccount, and nothing else."""
    rights = [each for each in documents if each["kind"] in RIGHTS]
    cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": rights}))
    account = f"{RELEASE}-{module}"
    kubeconfig = cluster.service_account_kubeconfig(NAMESPACE, account)
    for verb, resource in granted(rights, of_one=False):
        in_force(cluster, f"{NAMESPACE}:{account}", verb, resource, namespace=NAMESPACE)
    words = [sys.executable, "-m", f"recsys_operator.{module}"]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), **env}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=400, check=False)


def used(cluster: Cluster, account: str) -> set[tuple[str, str]]:
    """Verb and resource of all that a ServiceAccount has asked for and was given."""
    user = f"system:serviceaccount:{NAMESPACE}:{account}"
    mine = [event for event in cluster.audited() if event["user"]["username"] == user and event["responseStatus"]["code"] != 403]
    return {(event["verb"], event["objectRef"]["resource"]) for event in mine if "objectRef" in event}


def used_up(cluster: Cluster, account: str, rights: set[tuple[str, str]]) -> None:
    """All rights were used, and no other; what was asked last is in the log a moment after its answer."""
    processes.wait_until(lambda: rights <= used(cluster, account), what=f"the use of {sorted(rights)}", deadline_s=60)
    assert used(cluster, account) == rights


def granted(documents: list[dict[str, Any]], *, of_one: bool = True) -> set[tuple[str, str]]:
    """Verbs and resources of all roles; those on a single object too, unless told otherwise."""
    rules = [rule for each in documents if each["kind"] in ("Role", "ClusterRole") for rule in each["rules"]]
    rules = [rule for rule in rules if of_one or "resourceNames" not in rule]
    return {(verb, resource) for rule in rules for verb in rule["verbs"] for resource in rule["resources"]}


@pytest.mark.parametrize("template", ["tests/smoke.yaml", "uninstall.yaml"])
def test_their_pods_are_admitted_where_pod_security_is_restricted(own: Cluster, template: str):
    (last,) = [each for each in hook(own, template) if each["kind"] in ("Pod", "Job")]
    spec = last["spec"] if last["kind"] == "Pod" else last["spec"]["template"]["spec"]
    pod: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried"}, "spec": spec}
    pod["spec"]["serviceAccountName"] = RELEASE
    own.kubectl("create", "--dry-run=server", "-n", NAMESPACE, "-f", "-", input=json.dumps(pod))


def test_the_smoke_test_fails_in_words_while_no_operator_works_and_passes_beside_one(own: Cluster, request: pytest.FixtureRequest):
    documents = hook(own, "tests/smoke.yaml")
    alone = subprocess.run(
        [sys.executable, "-c", "from recsys_operator import smoke; import sys; smoke.SEEN_S = 2.0; sys.exit(smoke.main())"],
        env={**os.environ, "KUBECONFIG": str(own.kubeconfig), "RECSYS_SMOKE_NAMESPACE": TEAM},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert alone.returncode == 1
    assert f"{TEAM}/recommendermodels/recsys-smoke-test: has no status after 2 s; does a replica lead" in alone.stderr
    own.kubectl("delete", "rm", "recsys-smoke-test", "-n", TEAM, "--wait=false")
    request.getfixturevalue("operator")
    done = run(own, documents, "smoke", RECSYS_SMOKE_NAMESPACE=NAMESPACE)
    assert (done.returncode, done.stdout) == (0, f"smoke test: {NAMESPACE}/recsys-smoke-test was seen to, and is gone\n"), done.stderr
    used_up(own, f"{RELEASE}-smoke", granted(documents))


def test_after_an_uninstall_models_stay_and_their_namespaces_can_go(own: Cluster, operator: Child):
    own.kubectl("apply", "--server-side", "-n", TEAM, "-f", str(ROOT / "examples" / "smallest.yaml"))

    def finalizers() -> list[str]:
        return json.loads(own.kubectl("get", "rm", "movies", "-n", TEAM, "-o", "json"))["metadata"].get("finalizers", [])

    processes.stop(operator)
    # As an operator has left it that had begun something for it, which needs a Ray.
    own.kubectl("patch", "rm", "movies", "-n", TEAM, "--type=merge", "-p", f'{{"metadata":{{"finalizers":["{FINALIZER}","a.b/c"]}}}}')
    documents = hook(own, "uninstall.yaml")
    # Without hooks: no kubelet is here that could run their pods. Their programs run below, as the pods would.
    own.helm("uninstall", RELEASE, "-n", NAMESPACE, "--no-hooks", "--wait")
    done = run(own, documents, "farewell")
    assert done.returncode == 0, done.stderr
    assert finalizers() == ["a.b/c"], "what is another's stays"
    assert '"let_go": 1, "failed": 0' in done.stdout
    used_up(own, f"{RELEASE}-farewell", granted(documents))
    again = run(own, documents, "farewell")
    assert '"let_go": 0, "failed": 0' in again.stdout
    own.kubectl("patch", "rm", "movies", "-n", TEAM, "--type=json", "-p", '[{"op":"remove","path":"/metadata/finalizers"}]')
    own.kubectl("delete", "namespace", TEAM, "--timeout=110s")
