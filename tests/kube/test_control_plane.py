import json
import os
import signal
import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest

from kube.operator_world import in_force
from recsys_dev import kubernetes, process_table, processes
from recsys_dev.control_plane import Ports
from recsys_dev.errors import Unmet
from recsys_dev.kubernetes import Cluster, CommandFailedError
from recsys_dev.ports import free_ports

WIDGETS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.test.recsys.dev}
spec:
  group: test.recsys.dev
  scope: Namespaced
  names: {kind: Widget, plural: widgets}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {size: {type: integer}}
            x-kubernetes-validations:
            - {rule: self.size < 10, message: spec.size must be under 10}
"""
READER = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
"""


def widget(size: int) -> str:
    return f"{{apiVersion: test.recsys.dev/v1, kind: Widget, metadata: {{name: w}}, spec: {{size: {size}}}}}"


def until(condition: Callable[[], bool], what: str) -> None:
    processes.wait_until(condition, what=what, deadline_s=60)


def test_a_custom_resource_is_served_and_its_rules_are_kept(cluster: Cluster, namespace: str):
    cluster.kubectl("apply", "--server-side", "-f", "-", input=WIDGETS)
    cluster.kubectl("wait", "--for=condition=Established", "crd/widgets.test.recsys.dev", "--timeout=60s")
    cluster.kubectl("apply", "--server-side", "-n", namespace, "-f", "-", input=widget(3))
    assert cluster.kubectl("get", "widget", "w", "-n", namespace, "-o", "jsonpath={.spec.size}") == "3"
    with pytest.raises(CommandFailedError, match=r"spec\.size must be under 10"):
        cluster.kubectl("apply", "--server-side", "-n", namespace, "-f", "-", input=widget(12))


def test_a_service_account_may_do_only_what_its_role_allows(cluster: Cluster, namespace: str):
    cluster.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=READER)
    kubeconfig = cluster.service_account_kubeconfig(namespace, "reader")
    assert kubeconfig.stat().st_mode & 0o077 == 0
    in_force(cluster, f"{namespace}:reader", "list", "configmaps", namespace=namespace)
    seen = partial(cluster.kubectl, "get", "configmaps", "-o", "name", kubeconfig=kubeconfig)
    until(lambda: "configmap/kube-root-ca.crt" in seen(), "what a controller puts into every namespace")
    for words in (("create", "configmap", "c"), ("get", "secrets"), ("get", "configmaps", "-n", "kube-system")):
        with pytest.raises(CommandFailedError, match=r"[Ff]orbidden"):
            cluster.kubectl(*words, kubeconfig=kubeconfig)


def test_a_service_account_that_is_not_there_gets_no_kubeconfig(cluster: Cluster, namespace: str):
    with pytest.raises(CommandFailedError, match='"nobody" not found'):
        cluster.service_account_kubeconfig(namespace, "nobody")


def test_an_anonymous_request_is_refused(cluster: Cluster):
    trust = ssl.create_default_context(cafile=cluster.run_dir / "pki" / "ca.crt")
    answer = httpx.get(f"{server_of(cluster)}/api/v1/namespaces", verify=trust, trust_env=False, timeout=30)
    assert answer.status_code == httpx.codes.UNAUTHORIZED


def test_what_an_owner_owns_goes_with_it(cluster: Cluster, namespace: str):
    cluster.kubectl("create", "configmap", "owner", "-n", namespace)
    uid = cluster.kubectl("get", "configmap", "owner", "-n", namespace, "-o", "jsonpath={.metadata.uid}")
    owned = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "owned",
            "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}],
        },
    }
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(owned))
    cluster.kubectl("delete", "configmap", "owner", "-n", namespace)
    until(
        lambda: "owned" not in cluster.kubectl("get", "configmaps", "-n", namespace, "-o", "name"),
        "the owned ConfigMap is collected",
    )


def test_requests_are_in_the_audit_log(cluster: Cluster, namespace: str):
    cluster.kubectl("create", "configmap", "noted", "-n", namespace)

    def is_noted() -> bool:
        return any(e.get("verb") == "create" and e.get("objectRef", {}).get("name") == "noted" for e in cluster.audited())

    until(is_noted, "the request is in the audit log")


def test_two_control_planes_side_by_side_do_not_know_each_other(cluster: Cluster, namespace: str, tmp_path: Path):
    other = kubernetes.start(tmp_path / "other")
    try:
        assert namespace in cluster.kubectl("get", "namespaces", "-o", "name")
        assert namespace not in other.kubectl("get", "namespaces", "-o", "name")
        with pytest.raises(CommandFailedError, match=r"certificate|Unauthorized|logged in"):
            cluster.kubectl("get", "namespaces", f"--server={server_of(other)}")
    finally:
        other.stop()


def test_a_cluster_of_the_users_own_is_used_only_when_asked_and_never_stopped(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    existing = kubernetes.start(tmp_path / "existing", use_existing=True)
    assert existing.children == ()
    existing.kubectl("create", "namespace", "seen-in-both")
    existing.stop()
    assert "namespace/seen-in-both" in cluster.kubectl("get", "namespaces", "-o", "name")


@pytest.mark.parametrize("content", [None, "{}"])
def test_a_kubeconfig_that_leads_nowhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None):
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(Unmet, match=f"KUBECONFIG: {path}"):
        kubernetes.start(tmp_path / "existing", use_existing=True)


def server_of(cluster: Cluster) -> str:
    return json.loads(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]


def test_stopping_leaves_no_process_even_after_one_was_killed(tmp_path: Path):
    stopped = kubernetes.start(tmp_path / "stopped")
    pids = [child.pid for child in stopped.children]
    os.kill(stopped.children[1].pid, signal.SIGKILL)
    stopped.stop()
    assert [pid for pid in pids if process_table.start_time(pid)] == []
    assert process_table.marked(stopped.run_dir) == []
    stopped.stop()


def test_a_port_in_use_is_refused_by_its_number_and_leaves_no_process(tmp_path: Path):
    apiserver, etcd, etcd_peer = free_ports(3)
    with socket.create_server(("127.0.0.1", apiserver)):
        with pytest.raises(Unmet) as refused:
            kubernetes.start(tmp_path / "c", Ports(apiserver=apiserver, etcd=etcd, etcd_peer=etcd_peer))
        assert f"port {apiserver} for kube-apiserver" in str(refused.value)
        assert f"pid {os.getpid()}" in str(refused.value)
    assert process_table.marked(tmp_path / "c") == []


def test_a_part_that_dies_at_start_is_named_with_its_last_words(tmp_path: Path):
    port, etcd, etcd_peer = free_ports(3)
    broken = tmp_path / "c"
    broken.mkdir()
    broken.joinpath("log").mkdir()
    broken.joinpath("log", "audit.log").mkdir()
    with pytest.raises(Unmet, match=r"kube-apiserver ended; its last words:\n(?s:.*)audit\.log: is a directory"):
        kubernetes.start(broken, Ports(apiserver=port, etcd=etcd, etcd_peer=etcd_peer), audit=True)
    assert process_table.marked(broken) == []
