"""What the programs of a node are told: pure functions from its addresses and folders to files."""

import json
from pathlib import Path
from typing import Any

from recsys_dev.node_space import Addresses

NAME = "node1"
SOCKET = "/run/containerd.sock"
PAUSE_IMAGE = "recsys-pause:1"
DNS = 10
"""Last part of the address of the cluster's DNS."""


def containerd(run_dir: Path, debian: Path) -> str:
    """Return containerd's settings, for Debian's programs unpacked in `debian`."""
    return f"""version = 2
root = "{run_dir}/containerd"
state = "/run/containerd"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  # Without CAP_SYS_RESOURCE nobody may make a process less likely to be ended than it is.
  restrict_oom_score_adj = true
  sandbox_image = "docker.io/library/{PAUSE_IMAGE}"
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{debian}/usr/lib/cni"
    conf_dir = "{run_dir}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{debian}/usr/sbin/runc"
"""


def pod_network(run_dir: Path, at: Addresses) -> str:
    """Return CNI's settings: each pod has a pair of interfaces of its own."""
    addresses = {
        "type": "host-local",
        "dataDir": f"{run_dir}/cni-addresses",
        "ranges": [[{"subnet": at.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp", "ipMasq": False, "ipam": addresses}]})


def kubelet(run_dir: Path, at: Addresses, authority: Path) -> str:
    """Return the kubelet's settings."""
    settings: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{at.group}",
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": str(authority)}},
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [at.service(DNS)],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "failSwapOn": False,
        "podLogsDir": f"{run_dir}/pod-logs",
        "volumePluginDir": f"{run_dir}/volume-plugins",
        "makeIPTablesUtilChains": False,
        # The disk is everybody's: only what is nearly full is.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        # A pod's volume shows a Secret's change after so long at most.
        "syncFrequency": "10s",
    }
    return json.dumps(settings, indent=2)


def kube_proxy(kubeconfig: Path, at: Addresses) -> str:
    """Return kube-proxy's settings: Services by nftables, and nothing set for the whole machine."""
    settings: dict[str, Any] = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": at.pods,
        "hostnameOverride": NAME,
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
    return json.dumps(settings, indent=2)
