"""The programs of a real node, built from pinned Go modules as all others are."""

from recsys_dev.cache import of_kubernetes
from recsys_dev.go_build import Program

KUBERAY_VERSION = "v1.6.2"


KUBELET = of_kubernetes("kubelet", 60, "kubernetes-node")
KUBE_PROXY = of_kubernetes("kube-proxy", 15, "kubernetes-node")
SCHEDULER = of_kubernetes("kube-scheduler", 15, "kubernetes-node")
COREDNS = Program(name="coredns", module="coredns", package="recsys.dev/tools/coredns", cold_seconds=120)
PAUSE = Program(name="pause", module="pause", package="recsys.dev/tools/pause", cold_seconds=5)
KUBERAY = Program(name="kuberay-operator", module="kuberay", package="github.com/ray-project/kuberay/ray-operator", cold_seconds=180)
KUBE_ROUTER = Program(
    name="kube-router", module="kube-router", package="github.com/cloudnativelabs/kube-router/v2/cmd/kube-router", cold_seconds=120
)
"""Enforces NetworkPolicies, and nothing else here."""
NODE_PROGRAMS = (KUBELET, KUBE_PROXY, SCHEDULER, COREDNS, PAUSE, KUBE_ROUTER, KUBERAY)
