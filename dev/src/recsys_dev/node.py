"""A real Kubernetes node on this machine: kubelet, containerd, runc, CNI, kube-proxy, a firewall and CoreDNS, and pods that run.

The control plane listens on this machine's end of a pair of virtual interfaces; the node and its pods are in private namespaces at the
other end. Needs root and control groups of version 1; containerd, runc and CNI's plugins are Debian's, unpacked, not installed.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys_dev import control_plane, image_archive, kubernetes, node_firewall, node_settings, processes
from recsys_dev.cache import cache_dir, ensure
from recsys_dev.control_plane import Site
from recsys_dev.errors import Unmet
from recsys_dev.go_build import Progress
from recsys_dev.kubernetes import Cluster, CommandFailedError
from recsys_dev.locks import locked
from recsys_dev.node_addons import install_dns
from recsys_dev.node_programs import COREDNS, NODE_PROGRAMS, PAUSE
from recsys_dev.node_settings import NAME, PAUSE_IMAGE, SOCKET
from recsys_dev.node_space import Space, open_space
from recsys_dev.processes import Command

DEBIAN = ("containerd", "runc", "containernetworking-plugins", *node_firewall.PACKAGES)
READY_DEADLINE_S = 120.0
_FETCH_DEADLINE_S = 300.0
_IMPORT_DEADLINE_S = 300.0
DNS_IMAGE = "recsys-coredns:1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A cluster of one node, in which pods run."""

    cluster: Cluster
    space: Space
    debian: Path

    @property
    def host(self) -> str:
        """This machine's address, as pods see it: what listens there they can reach."""
        return self.space.addresses.machine

    def import_image(self, archive: Path) -> None:
        """Give the node an image, as a registry would."""
        ctr = [self.debian / "usr/bin/ctr", "-a", SOCKET, "-n", "k8s.io", "images", "import", "--no-unpack", archive.resolve()]
        self.space.run(*ctr, deadline_s=_IMPORT_DEADLINE_S)

    def stop(self) -> None:
        """End it all: first whoever would put pods back, then the node with its pods, then the control plane."""
        self.space.stop()
        self.cluster.stop()
        processes.stop_all(self.space.run_dir)


def debian_packages(progress: Progress) -> Path:
    """Return a folder with containerd, runc, CNI's plugins and iptables: fetched by apt once, unpacked there, never installed.

    Raises:
        Unmet: apt cannot fetch them.
    """
    root, wanted = cache_dir() / "debian", " ".join(DEBIAN)
    with locked(cache_dir() / "debian.lock", "fetching Debian packages", progress, deadline_s=_FETCH_DEADLINE_S):
        done = root / "done"
        if done.exists() and done.read_text() == wanted:
            return root
        progress(f"Fetching {', '.join(DEBIAN[:3])} and iptables from Debian (36 MB).")
        shutil.rmtree(root, ignore_errors=True)
        fetched = root / "packages"
        fetched.mkdir(parents=True)
        # apt fetches as a user of its own, who must be able to write there.
        _do(["apt-get", "-o", "APT::Sandbox::User=root", "download", *DEBIAN], fetched)
        for package in sorted(fetched.glob("*.deb")):
            _do(["dpkg", "-x", str(package), str(root)], fetched)
        shutil.rmtree(fetched)
        done.write_text(wanted)
    return root


def _do(argv: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=_FETCH_DEADLINE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unmet(f"`{' '.join(argv)}`", str(error), "A node needs Debian's apt-get and dpkg.") from error
    if done.returncode != 0:
        raise Unmet(f"`{' '.join(argv)}`", done.stderr.strip()[-600:], "Run `apt-get update` and try again.")


def start(run_dir: Path, *, audit: bool = False, progress: Progress = lambda _line: None) -> Node:
    """Start a control plane and its node; return when the node is Ready and names are answered (about 20 s).

    Raises:
        Unmet: this machine cannot hold a node, or a part did not start.
    """
    run_dir = run_dir.resolve()
    run_dir.mkdir(parents=True, exist_ok=True)
    programs, debian = ensure(NODE_PROGRAMS, progress), debian_packages(progress)
    space = open_space(run_dir)
    try:
        return _start(run_dir, space, programs, debian, audit=audit, progress=progress)
    except BaseException:
        space.stop()
        processes.stop_all(run_dir, deadline_s=5)
        raise


def _start(  # noqa: PLR0913 - all that it stands on
    run_dir: Path, space: Space, programs: Path, debian: Path, *, audit: bool, progress: Progress
) -> Node:
    at = space.addresses
    site = Site(address=at.machine, service_range=at.services, first_service=at.service(1), has_nodes=True)
    progress("Starting the control plane and the node's programs.")
    cluster = kubernetes.start(run_dir / "control-plane", audit=audit, site=site, progress=progress)
    papers = cluster.papers
    assert papers is not None
    processes.start(run_dir, "kube-scheduler", control_plane.scheduler(programs, papers))
    node = Node(cluster=cluster, space=space, debian=debian)
    _write(run_dir / "containerd.toml", node_settings.containerd(run_dir, debian))
    _write(run_dir / "cni" / "10-pods.conflist", node_settings.pod_network(run_dir, at))
    path = {"PATH": f"{debian}/usr/bin:{debian}/usr/sbin:{os.environ['PATH']}"}
    containerd = space.start("containerd", Command(argv=[debian / "usr/bin/containerd", "-c", run_dir / "containerd.toml"], env=path))
    answers = [debian / "usr/bin/ctr", "-a", SOCKET, "version"]
    processes.wait_until(lambda: _holds(lambda: space.run(*answers)), what="containerd", deadline_s=READY_DEADLINE_S, children=[containerd])
    for program, image in ((PAUSE, PAUSE_IMAGE), (COREDNS, DNS_IMAGE)):
        archive = run_dir / "images" / f"{program.name}.tar"
        image_archive.of_program(archive, image, programs / program.name)
        node.import_image(archive)
    _write(run_dir / "kubelet.json", node_settings.kubelet(run_dir, at, papers.authority_file))
    kubelet = [
        programs / "kubelet",
        f"--config={run_dir / 'kubelet.json'}",
        f"--kubeconfig={papers.kubeconfig(f'system:node:{NAME}', group='system:nodes')}",
        f"--root-dir={run_dir / 'kubelet'}",
        f"--cert-dir={run_dir / 'kubelet-certificates'}",
        f"--hostname-override={NAME}",
        f"--node-ip={at.node}",
        "--v=1",
    ]
    children = [space.start("kubelet", Command(argv=kubelet, env=path))]
    _write(run_dir / "kube-proxy.json", node_settings.kube_proxy(papers.kubeconfig("system:kube-proxy"), at))
    children.append(space.start("kube-proxy", Command(argv=[programs / "kube-proxy", f"--config={run_dir / 'kube-proxy.json'}"])))
    ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    processes.wait_until(
        lambda: _says(cluster, ready) == "True", what=f"node {NAME} Ready", deadline_s=READY_DEADLINE_S, children=[containerd, *children]
    )
    space.start("kube-router", node_firewall.firewall(run_dir, programs, debian, papers, at))
    install_dns(cluster, at.service(node_settings.DNS), DNS_IMAGE)
    return node


def _says(cluster: Cluster, field: str) -> str:
    try:
        return cluster.kubectl("get", "node", NAME, "-o", field)
    except CommandFailedError:
        return ""


def _holds(question: Callable[[], object]) -> bool:
    try:
        question()
    except Unmet:
        return False
    return True


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
