"""The chart on a real API server of its own: what it installs, what an upgrade reaches, what stays, and who may do what."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube.operator_world import in_force
from recsys_dev import kubernetes, processes, runs
from recsys_dev.kubernetes import Cluster, CommandFailedError
from recsys_schemas.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "recsys-operator"
NAMESPACE = "recsys-system"
RELEASE = "recsys-operator"
TEAM = "team-films"
SMALLEST = ROOT / "examples" / "smallest.yaml"
ROLLOUT = {
    "apiVersion": "recsys.dev/v1alpha1",
    "kind": "RecommenderRollout",
    "metadata": {"name": "movies-000002"},
    "spec": {
        "modelRef": {"name": "movies", "uid": "8a7d3f1e"},
        "candidate": {"name": "movies-000002", "digest": "sha256:02"},
        "steps": [{"setWeight": 5}],
        "analysis": {},
    },
}
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that nobody else installs definitions into."""
    run_dir = runs.claim(ROOT / "build" / "run" / "tests" / f"{tmp_path_factory.mktemp('chart').name}-{os.getpid()}")
    try:
        yield kubernetes.start(run_dir, progress=print)
    finally:
        runs.discard(run_dir)


@pytest.fixture(scope="module")
def installed(own: Cluster) -> Cluster:
    for name in (NAMESPACE, TEAM):
        own.kubectl("create", "namespace", name)
    own.kubectl("label", "namespace", NAMESPACE, RESTRICTED)
    own.helm("install", RELEASE, str(CHART), "--namespace", NAMESPACE)
    own.kubectl("wait", "--for=condition=Established", "crd", *(f"{kind.plural}.recsys.dev" for kind in KINDS), "--timeout=60s")
    for role in ("view", "edit", "admin"):  # a controller of Kubernetes adds our roles to its own, a moment later
        seen = partial(own.kubectl, "get", "clusterrole", role, "-o", "json")
        processes.wait_until(lambda seen=seen: "recommendermodels" in seen(), what=f"{role} has our rules", deadline_s=60)
    own.kubectl("apply", "--server-side", "-n", TEAM, "-f", str(SMALLEST))
    own.kubectl("apply", "--server-side", "-n", TEAM, "-f", "-", input=json.dumps(ROLLOUT))
    return own


def rendered(cluster: Cluster, *settings: str) -> list[dict[str, Any]]:
    sets = [word for setting in settings for word in ("--set", setting)]
    text = cluster.helm("template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--kube-version", "1.36.3", *sets)
    return [document for document in yaml.safe_load_all(text) if document]


def kinds_of(documents: list[dict[str, Any]]) -> set[str]:
    return {document["kind"] for document in documents}


def one(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [document for document in documents if document["kind"] == kind]
    return found


def test_the_chart_has_nothing_to_complain_of(own: Cluster):
    assert "0 chart(s) failed" in own.helm("lint", "--strict", str(CHART))


def test_values_that_do_not_exist_are_refused(own: Cluster):
    with pytest.raises(CommandFailedError, match="additional properties 'replica' not allowed"):
        rendered(own, "replica=3")


WATCHED = ("prometheusRule", "serviceMonitor", "rayPodMonitor", "dashboards")


def test_what_needs_other_operators_is_off_until_asked_for(own: Cluster):
    assert not kinds_of(rendered(own)) & {"ServiceMonitor", "PodMonitor", "PrometheusRule", "ConfigMap"}
    asked = rendered(own, *(f"metrics.{each}.enabled=true" for each in WATCHED))
    assert kinds_of(asked) >= {"ServiceMonitor", "PodMonitor", "PrometheusRule", "ConfigMap"}


def test_alerts_have_the_thresholds_that_were_asked_for_and_link_to_what_to_do(own: Cluster):
    asked = rendered(
        own, "metrics.prometheusRule.enabled=true", "metrics.prometheusRule.maxLagRecords=2000000", "metrics.prometheusRule.runbook=u"
    )
    rules = [rule for group in one(asked, "PrometheusRule")["spec"]["groups"] for rule in group["rules"]]
    written = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    assert [rule["alert"] for rule in rules] == [rule["alert"] for group in written for rule in group["rules"]]
    for rule in rules:
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == f"u#{rule['alert'].lower()}"
        assert "__" not in yaml.dump(rule)
    (grows,) = [rule["expr"] for rule in rules if rule["alert"] == "RecsysIngestLagGrows"]
    assert grows.startswith("sum by (namespace, model) (recsys_ingest_lag_records) > 2000000 and")


def test_grafana_finds_the_dashboard_by_its_label(own: Cluster):
    found = one(rendered(own, "metrics.dashboards.enabled=true", "metrics.dashboards.annotations.folder=Recsys"), "ConfigMap")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"folder": "Recsys"}
    assert {name: json.loads(text)["uid"] for name, text in found["data"].items()} == {"recsys-model.json": "recsys-model"}


def test_a_models_namespace_is_told_and_not_the_exporters(own: Cluster):
    asked = rendered(
        own, "metrics.serviceMonitor.enabled=true", "metrics.rayPodMonitor.enabled=true", "metrics.rayPodMonitor.namespaces={films}"
    )
    (operator,) = one(asked, "ServiceMonitor")["spec"]["endpoints"]
    monitor = one(asked, "PodMonitor")["spec"]
    (ray,) = monitor["podMetricsEndpoints"]
    assert (operator["honorLabels"], ray["honorLabels"]) == (True, True)
    assert monitor["namespaceSelector"] == {"matchNames": ["films"]}
    renamed = [
        re.sub(f"^{rule['regex']}$", r"\1", "ray_recsys_ingest_rows_total")
        for rule in ray["metricRelabelings"]
        if rule["action"] == "replace"
    ]
    assert renamed == ["recsys_ingest_rows_total"]


def test_one_replica_needs_no_disruption_budget(own: Cluster):
    assert "PodDisruptionBudget" in kinds_of(rendered(own))
    assert "PodDisruptionBudget" not in kinds_of(rendered(own, "replicas=1"))


def test_an_object_store_needs_no_folder(own: Cluster):
    pod = one(rendered(own, "storage.root=s3://b/c", "storage.credentialsSecret=s3"), "Deployment")["spec"]["template"]["spec"]
    assert [volume["name"] for volume in pod["volumes"]] == ["tmp"]
    assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "s3"}}]
    claimed = one(rendered(own, "storage.existingClaim=data"), "Deployment")["spec"]["template"]["spec"]
    assert {"name": "storage", "persistentVolumeClaim": {"claimName": "data"}} in claimed["volumes"]


def test_with_named_namespaces_the_operator_has_no_cluster_wide_right(own: Cluster):
    documents = rendered(own, f"operator.watchNamespaces={{{TEAM},team-books}}", "rbac.people=false")
    assert not kinds_of(documents) & {"ClusterRole", "ClusterRoleBinding"}
    roles = {(d["metadata"]["namespace"], d["metadata"]["name"]) for d in documents if d["kind"] == "Role"}
    once = {(TEAM, f"{RELEASE}-farewell"), ("team-books", f"{RELEASE}-farewell"), (TEAM, f"{RELEASE}-smoke")}
    assert roles == {(NAMESPACE, f"{RELEASE}-leader"), (TEAM, RELEASE), ("team-books", RELEASE)} | once
    container = one(documents, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "RECSYS_WATCH_NAMESPACES", "value": f"{TEAM},team-books"} in container["env"]


def test_without_kept_clusters_the_operator_has_no_right_to_anything_of_kuberay(own: Cluster):
    def told(*settings: str) -> str:
        return json.dumps([each for each in rendered(own, *settings) if each["kind"] in {"ClusterRole", "Deployment"}])

    assert "ray.io" in told()
    assert "RECSYS_RAY_IMAGE" in told()
    assert "ray.io" not in told("kuberay.enabled=false")
    assert "RECSYS_RAY_IMAGE" not in told("kuberay.enabled=false")


def test_the_pods_are_admitted_where_pod_security_is_restricted(installed: Cluster):
    template = one(rendered(installed), "Deployment")["spec"]["template"]
    pod: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"]}
    pod["metadata"] = template["metadata"] | {"name": "tried"}
    installed.kubectl("create", "--dry-run=server", "-n", NAMESPACE, "-f", "-", input=json.dumps(pod))
    del pod["spec"]["containers"][0]["securityContext"]
    with pytest.raises(CommandFailedError, match='violates PodSecurity "restricted'):
        installed.kubectl("create", "--dry-run=server", "-n", NAMESPACE, "-f", "-", input=json.dumps(pod))


def test_brokers_and_a_store_to_try_out_are_admitted_where_pod_security_is_restricted(installed: Cluster):
    namespace = "try-out"
    installed.kubectl("create", "namespace", namespace)
    installed.kubectl("label", "namespace", namespace, RESTRICTED)
    asked = "tryOut.kafka.enabled=true,tryOut.objects.enabled=true,crds.install=false,rbac.people=false,replicas=0"
    installed.helm("install", "trial", str(CHART), "--namespace", namespace, "--set", asked)

    def names() -> set[str]:
        return set(installed.kubectl("--namespace", namespace, "get", "pods", "-o", "name").split())

    wanted = {f"pod/trial-{each}" for each in ("kafka-0", "kafka-1", "kafka-2", "objects-0")}
    processes.wait_until(lambda: names() == wanted, what="three brokers and a store", deadline_s=60)


def test_the_store_may_write_beside_its_bucket_for_its_locks_are_there(own: Cluster):
    asked = rendered(own, "tryOut.objects.enabled=true")
    (store,) = [each for each in asked if each["kind"] == "StatefulSet"]
    (container,) = store["spec"]["template"]["spec"]["containers"]
    folders = {each["mountPath"]: each["subPath"] for each in container["volumeMounts"]}
    assert folders == {"/data/objects": "objects", "/data/objects/recsys": "objects/recsys", "/data/metadata": "metadata"}
    assert container["args"][-3:] == ["--sidecar", "/data/metadata", "/data/objects"]


def test_two_pods_are_made_and_only_metrics_and_health_may_be_reached(installed: Cluster):
    installed.kubectl("wait", "deployment", RELEASE, "-n", NAMESPACE, "--for=jsonpath={.status.replicas}=2", "--timeout=60s")
    policy = json.loads(installed.kubectl("get", "networkpolicy", RELEASE, "-n", NAMESPACE, "-o", "json"))["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8080}]}]
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert ports == {53, 443, 6443, 8265, 8000, 9092, 9093, 9094}


def may(cluster: Cluster, verb: str, what: str, *, namespace: str = TEAM, name: str = "") -> bool:
    """Ask the API server whether the operator's ServiceAccount may do this."""
    resource, _, subresource = what.partition("/")
    attributes = {"verb": verb, "group": GROUPS.get(resource, "recsys.dev"), "namespace": namespace, "name": name}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{NAMESPACE}:{RELEASE}",
            "groups": ["system:authenticated", "system:serviceaccounts"],
            "resourceAttributes": attributes | {"resource": resource, "subresource": subresource},
        },
    }
    answer = json.loads(cluster.kubectl("create", "-f", "-", "-o", "json", input=json.dumps(review)))
    return bool(answer["status"]["allowed"])


GROUPS = {
    "secrets": "",
    "namespaces": "",
    "pods": "",
    "persistentvolumeclaims": "",
    "rayservices": "ray.io",
    "rayclusters": "ray.io",
    "rayjobs": "ray.io",
    "configmaps": "",
    "events": "events.k8s.io",
    "leases": "coordination.k8s.io",
    "customresourcedefinitions": "apiextensions.k8s.io",
    "clusterroles": "rbac.authorization.k8s.io",
}
ALLOWED = [
    *((verb, "recommendermodels") for verb in ("get", "list", "watch", "patch")),
    *((verb, "recommendermodelversions") for verb in ("get", "list", "watch", "create", "delete")),
    *((verb, "recommenderrollouts") for verb in ("get", "list", "watch", "create", "delete")),
    *(("patch", f"{kind.plural}/status") for kind in KINDS),
    *((verb, "secrets") for verb in ("get", "create")),
    ("create", "events"),
    *((verb, "rayservices") for verb in ("get", "create", "update", "delete")),
    *((verb, "rayjobs") for verb in ("list", "create", "delete")),
    ("get", "rayclusters"),
    ("list", "pods"),
    ("get", "persistentvolumeclaims"),
]
DENIED = [
    *((verb, "recommendermodels") for verb in ("create", "update", "delete", "deletecollection")),
    *((verb, what) for what in ("recommendermodelversions", "recommenderrollouts") for verb in ("patch", "update")),
    *((verb, "secrets") for verb in ("list", "watch", "update", "patch", "delete")),
    *((verb, "customresourcedefinitions") for verb in ("list", "watch", "create", "update", "patch", "delete")),
    *((verb, what) for what in ("configmaps", "clusterroles", "namespaces") for verb in ("get", "list", "create", "delete")),
    *((verb, "pods") for verb in ("get", "watch", "create", "update", "patch", "delete")),
    *((verb, "rayservices") for verb in ("list", "watch", "patch")),
    *((verb, "rayclusters") for verb in ("list", "create", "update", "patch", "delete")),
    *((verb, "persistentvolumeclaims") for verb in ("list", "create", "update", "patch", "delete")),
    ("get", "leases"),
]


@pytest.mark.parametrize(("verb", "what"), ALLOWED)
def test_the_operator_may_do_what_it_has_to(installed: Cluster, verb: str, what: str):
    assert may(installed, verb, what)


@pytest.mark.parametrize(("verb", "what"), DENIED)
def test_the_operator_may_do_nothing_else(installed: Cluster, verb: str, what: str):
    assert not may(installed, verb, what)


def test_the_operator_leads_by_its_own_lease_alone(installed: Cluster):
    assert may(installed, "update", "leases", namespace=NAMESPACE, name=RELEASE)
    assert not may(installed, "update", "leases", namespace=NAMESPACE, name="another")
    assert may(installed, "create", "leases", namespace=NAMESPACE)
    assert not may(installed, "create", "leases", namespace="kube-system")


def control(role: str, **fields: Any) -> tuple[str, ...]:
    """What kubectl is asked for a change of `spec.control` that carries the name of who has a role."""
    signed = {"requestedBy": f"system:serviceaccount:{TEAM}:has-{role}"}
    return "patch", "rro", "movies-000002", "--type=merge", "-p", json.dumps({"spec": {"control": signed | fields}})


def person(cluster: Cluster, role: str, kind: str = "clusterrole") -> Path:
    """A kubeconfig of somebody who has one role in the team's namespace."""
    name = f"has-{role}"
    cluster.kubectl("create", "serviceaccount", name, "-n", TEAM)
    cluster.kubectl("create", "rolebinding", name, "-n", TEAM, f"--{kind}={role}", f"--serviceaccount={TEAM}:{name}")
    in_force(cluster, f"{TEAM}:{name}", "get", "recommenderrollouts.recsys.dev", namespace=TEAM)
    return cluster.service_account_kubeconfig(TEAM, name)


@pytest.mark.parametrize("role", [f"{RELEASE}-editor", "edit"])
def test_an_editor_writes_models_but_not_history_nor_approval(installed: Cluster, role: str):
    editor = person(installed, role)
    installed.kubectl("apply", "--server-side", "-f", str(SMALLEST), "--force-conflicts", kubeconfig=editor)
    installed.kubectl("scale", "rm", "movies", "--replicas=3", kubeconfig=editor)
    assert "movies-000002" in installed.kubectl("get", "rro", kubeconfig=editor)
    for words in (
        ("delete", "rro", "movies-000002"),
        ("patch", "rm", "movies", "--subresource=status", "--type=merge", "-p", "{}"),
    ):
        with pytest.raises(CommandFailedError, match=r"[Ff]orbidden"):
            installed.kubectl(*words, kubeconfig=editor)
    installed.kubectl(*control(role, paused=True, reason="wait for the news desk"), kubeconfig=editor)
    installed.kubectl(*control(role, paused=False, abort=True), kubeconfig=editor)
    installed.kubectl(*control(role, paused=False, abort=False), kubeconfig=editor)
    for asked in ({"promote": "Full"}, {"promote": "Next", "step": 0}):
        with pytest.raises(CommandFailedError, match=rf"has-{role} may not promote in namespace {TEAM}.*-approver"):
            installed.kubectl(*control(role, **asked), kubeconfig=editor)


@pytest.mark.parametrize("role", [f"{RELEASE}-approver", "admin"])
def test_an_approver_steers_a_rollout_and_can_change_nothing_else_of_it(installed: Cluster, role: str):
    approver = person(installed, role)
    installed.kubectl(*control(role, promote="Next", step=0), kubeconfig=approver)
    installed.kubectl(*control(role, promote="Full", step=None, reason="measured by hand"), kubeconfig=approver)
    installed.kubectl(*control(role, promote="None"), kubeconfig=approver)
    with pytest.raises(CommandFailedError, match=r"only spec\.control of a rollout may be changed"):
        installed.kubectl(
            "patch", "rro", "movies-000002", "--type=merge", "-p", '{"spec":{"steps":[{"setWeight":99}]}}', kubeconfig=approver
        )
    if role == "admin":
        return  # may write models too, by edit
    with pytest.raises(CommandFailedError, match=r"[Ff]orbidden"):
        installed.kubectl("patch", "rm", "movies", "--type=merge", "-p", '{"spec":{"suspend":true}}', kubeconfig=approver)


def test_nobody_asks_anything_of_a_rollout_in_another_name(installed: Cluster):
    installed.kubectl("create", "serviceaccount", "has-second", "-n", TEAM)
    bound = ("create", "rolebinding", "has-second", "-n", TEAM, f"--clusterrole={RELEASE}-approver", f"--serviceaccount={TEAM}:has-second")
    installed.kubectl(*bound)
    in_force(installed, f"{TEAM}:has-second", "get", "recommenderrollouts.recsys.dev", namespace=TEAM)
    somebody = installed.service_account_kubeconfig(TEAM, "has-second")
    for asked in (control(f"{RELEASE}-viewer", promote="Full"), control(f"{RELEASE}-viewer", paused=True)):
        with pytest.raises(CommandFailedError, match=r"requestedBy: write your own user name, .*has-second"):
            installed.kubectl(*asked, kubeconfig=somebody)
    unsigned = ("patch", "rro", "movies-000002", "--type=merge", "-p", '{"spec":{"control":{"requestedBy":"","paused":true}}}')
    with pytest.raises(CommandFailedError, match=r"requestedBy: write your own user name"):
        installed.kubectl(*unsigned, kubeconfig=somebody)


def test_without_the_policy_editors_may_not_touch_rollouts(own: Cluster):
    documents = rendered(own, "admissionPolicy.enabled=false")
    assert not kinds_of(documents) & {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    (editor,) = [each for each in documents if each["kind"] == "ClusterRole" and each["metadata"]["name"].endswith("-editor")]
    assert not [rule for rule in editor["rules"] if "recommenderrollouts" in rule["resources"] and "patch" in rule["verbs"]]


@pytest.mark.parametrize("role", [f"{RELEASE}-viewer", "view"])
def test_a_viewer_sees_and_changes_nothing(installed: Cluster, role: str):
    viewer = person(installed, role)
    assert "movies" in installed.kubectl("get", "recsys", "-o", "name", kubeconfig=viewer)
    for words in (control(role, promote="Full"), control(role, paused=True), ("delete", "rm", "movies")):
        with pytest.raises(CommandFailedError, match=r"[Ff]orbidden"):
            installed.kubectl(*words, kubeconfig=viewer)


def test_an_upgrade_reaches_the_definitions_and_uninstalling_keeps_models(installed: Cluster, tmp_path: Path):
    newer = tmp_path / "chart"
    shutil.copytree(CHART, newer)
    path = newer / "files" / "crds" / "recommendermodels.yaml"
    document = yaml.safe_load(path.read_text())
    schema = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"]["nickname"] = {"type": "string", "maxLength": 20}
    path.write_text(yaml.safe_dump(document))
    installed.helm("upgrade", RELEASE, str(newer), "--namespace", NAMESPACE)
    jsonpath = "jsonpath={.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.nickname.type}"
    assert installed.kubectl("get", "crd", "recommendermodels.recsys.dev", "-o", jsonpath) == "string"

    # No kubelet is here that could run the hook's pod: tests/kube/test_chart_hooks.py runs its program.
    installed.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--no-hooks")
    assert "movies" in installed.kubectl("get", "rm", "-n", TEAM, "-o", "name")
    for gone in (f"deployment/{RELEASE}", f"clusterrole/{RELEASE}", f"serviceaccount/{RELEASE}"):
        with pytest.raises(CommandFailedError, match="not found"):
            installed.kubectl("get", gone, "-n", NAMESPACE)

    installed.helm("install", RELEASE, str(CHART), "--namespace", NAMESPACE)
    assert installed.kubectl("get", "crd", "recommendermodels.recsys.dev", "-o", jsonpath) == ""
    assert "movies" in installed.kubectl("get", "rm", "-n", TEAM, "-o", "name")
