"""The real operator with nothing but the rights that the chart gives it: it does its work and misses nothing."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kube.operator_world import in_force
from recsys_dev import kubernetes, processes, runs
from recsys_dev.kubernetes import Cluster
from recsys_dev.ports import free_ports
from recsys_dev.processes import Child, Command

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "recsys-operator"
NAMESPACE = "recsys-system"
RELEASE = "recsys-operator"
TEAM = "team-films"


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with an audit log, where the operator is the only stranger."""
    run_dir = runs.claim(ROOT / "build" / "run" / "tests" / f"{tmp_path_factory.mktemp('chart-operator').name}-{os.getpid()}")
    try:
        yield kubernetes.start(run_dir, progress=print, audit=True)
    finally:
        runs.discard(run_dir)


def start_operator(cluster: Cluster, watched: str) -> Child:
    """Run the operator as the chart's pod would, with the token of the chart's ServiceAccount."""
    (port,) = free_ports(1)
    environment = {
        "KUBECONFIG": str(cluster.service_account_kubeconfig(NAMESPACE, RELEASE)),
        "RECSYS_STORAGE_ROOT": f"file://{cluster.run_dir}/storage",
        "RECSYS_WATCH_NAMESPACES": watched,
        "RECSYS_LEASE_NAMESPACE": NAMESPACE,
        "RECSYS_LEASE_NAME": RELEASE,
        "RECSYS_HTTP_PORT": str(port),
    }
    return processes.start(cluster.run_dir, "operator", Command(argv=[sys.executable, "-m", "recsys_operator"], env=environment))


def refused(cluster: Cluster) -> set[tuple[str, str]]:
    """Verb and resource of everything that the operator asked for and was not allowed."""
    user = f"system:serviceaccount:{NAMESPACE}:{RELEASE}"
    own = [event for event in cluster.audited() if event["user"]["username"] == user]
    assert own, "the operator has asked for nothing"
    return {(e["verb"], e["objectRef"].get("resource", "")) for e in own if e.get("responseStatus", {}).get("code") == 403}


@pytest.mark.parametrize("watched", ["", TEAM], ids=["all namespaces", "one namespace"])
def test_the_operator_works_with_the_rights_of_the_chart_and_is_refused_nothing_that_it_needs(own: Cluster, watched: str):
    for name in (NAMESPACE, TEAM):
        own.kubectl("create", "namespace", name)
    own.helm("install", RELEASE, str(CHART), "-n", NAMESPACE, "--set-json", f"operator.watchNamespaces={json.dumps(watched.split())}")
    for verb, what, where in (("list", "recommendermodels.recsys.dev", TEAM), ("create", "leases.coordination.k8s.io", NAMESPACE)):
        in_force(own, f"{NAMESPACE}:{RELEASE}", verb, what, namespace=where)
    operator = start_operator(own, watched)
    own.kubectl("apply", "--server-side", "-n", TEAM, "-f", str(ROOT / "examples" / "smallest.yaml"))

    def has_a_status() -> bool:
        model = json.loads(own.kubectl("get", "rm", "movies", "-n", TEAM, "-o", "json"))
        return bool(model.get("status", {}).get("conditions")) and bool(model["metadata"].get("finalizers"))

    processes.wait_until(has_a_status, what="the model has a status and a finalizer", deadline_s=120, children=[operator])
    holder = own.kubectl("get", "lease", RELEASE, "-n", NAMESPACE, "-o", "jsonpath={.spec.holderIdentity}")
    assert holder
    # Told its namespaces, the listener looks once whether it may see all of them, and goes on without.
    assert refused(own) <= ({("list", "namespaces"), ("list", "customresourcedefinitions")} if watched else set())
