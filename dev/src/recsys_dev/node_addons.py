"""What a cluster of real nodes needs beside its programs: names, and KubeRay's operator from its own module's manifests."""

from pathlib import Path
from typing import Any

import yaml

from recsys_dev import processes
from recsys_dev.go_source import source
from recsys_dev.kubernetes import Cluster, CommandFailedError
from recsys_dev.node_programs import KUBERAY_VERSION

KUBERAY_IMAGE = f"recsys-kuberay:{KUBERAY_VERSION}"
_COREFILE = """.:53 {
  errors
  health :8080
  ready :8181
  kubernetes cluster.local in-addr.arpa {
    ttl 5
  }
  cache 5
  loadbalance
}
"""


def install_dns(cluster: Cluster, address: str, image: str) -> None:
    """Install CoreDNS at the address that the kubelet tells pods, and wait until it answers."""
    place = {"name": "coredns", "namespace": "kube-system"}
    labels = {"k8s-app": "kube-dns"}
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    container = {
        "name": "coredns",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["/coredns", "-conf", "/etc/coredns/Corefile"],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": "settings", "mountPath": "/etc/coredns"}],
    }
    pod = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "containers": [container],
        "volumes": [{"name": "settings", "configMap": {"name": "coredns"}}],
    }
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "coredns"}
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": place},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "coredns"}, "rules": rules},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "coredns"},
            "roleRef": role,
            "subjects": [{"kind": "ServiceAccount", **place}],
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": place, "data": {"Corefile": _COREFILE}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": place,
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
            "spec": {"clusterIP": address, "selector": labels, "ports": ports},
        },
    ]
    cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(objects))
    cluster.kubectl("--namespace", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s")


def kuberay_source() -> Path:
    """Return the folder of KubeRay's module, which carries its definitions and manifests.

    Raises:
        Unmet: Go cannot fetch it.
    """
    return source("github.com/ray-project/kuberay/ray-operator", KUBERAY_VERSION, "kuberay")


def install_kuberay_definitions(cluster: Cluster) -> None:
    """Install KubeRay's CustomResourceDefinitions; they are too large for a client-side apply."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(kuberay_source() / "config/crd/bases"))
    # `kubectl wait` gives up on a definition that has no conditions yet; the kinds themselves are what counts.
    processes.wait_until(lambda: _are_known(cluster), what="KubeRay's kinds", deadline_s=90)


def _are_known(cluster: Cluster) -> bool:
    try:
        cluster.kubectl("get", "rayclusters,rayjobs,rayservices", "--all-namespaces")
    except CommandFailedError:
        return False
    return True


def install_kuberay(cluster: Cluster, image: str = KUBERAY_IMAGE, namespace: str = "kuberay") -> None:
    """Install KubeRay's operator as its own manifests have it, with the image that was built from its module."""
    install_kuberay_definitions(cluster)
    source = kuberay_source()
    rendered = [cluster.kubectl("kustomize", str(source / "config" / part)) for part in ("rbac", "manager")]
    objects = [each for text in rendered for each in yaml.safe_load_all(text) if each]
    for each in objects:
        if "namespace" in each["metadata"]:
            each["metadata"]["namespace"] = namespace
        for subject in each.get("subjects", []):
            subject["namespace"] = namespace
        if each["kind"] == "Deployment":
            container = each["spec"]["template"]["spec"]["containers"][0]
            container |= {"image": image, "imagePullPolicy": "Never", "command": ["/kuberay-operator"]}
    cluster.kubectl("create", "namespace", namespace)
    cluster.kubectl("apply", "--server-side", "--namespace", namespace, "-f", "-", input=yaml.safe_dump_all(objects))
    cluster.kubectl("--namespace", namespace, "rollout", "status", "deployment/kuberay-operator", "--timeout=90s")
