"""The programs of a real node, built from pinned Go modules as all others are."""

from recsys_dev.cache import KUBERNETES_VERSION, kubernetes_flags
from recsys_dev.go_build import Program

KUBERAY_VERSION = "v1.6.2"


def _of_node(name: str, cold_seconds: int) -> Program:
    return Program(
        name=name,
        module="kubernetes-node",
        package=f"k8s.io/kubernetes/cmd/{name}",
        version_flags=kubernetes_flags(KUBERNETES_VERSION),
        cold_seconds=cold_seconds,
    )


KUBELET = _of_node("kubelet", 60)
KUBE_PROXY = _of_node("kube-proxy", 15)
SCHEDULER = _of_node("kube-scheduler", 15)
COREDNS = Program(name="coredns", module="coredns", package="recsys.dev/tools/coredns", cold_seconds=120)
PAUSE = Program(name="pause", module="pause", package="recsys.dev/tools/pause", cold_seconds=5)
KUBERAY = Program(name="kuberay-operator", module="kuberay", package="github.com/ray-project/kuberay/ray-operator", cold_seconds=180)
NODE_PROGRAMS = (KUBELET, KUBE_PROXY, SCHEDULER, COREDNS, PAUSE, KUBERAY)
