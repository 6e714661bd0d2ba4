"""What enforces NetworkPolicies on the node: kube-router's firewall alone; pods and Services keep their networks as they are."""

import os
from pathlib import Path

from recsys_dev.control_plane import Papers
from recsys_dev.node_programs import KUBE_ROUTER
from recsys_dev.node_settings import NAME
from recsys_dev.node_space import Addresses
from recsys_dev.processes import Command

PACKAGES = (
    *("iptables", "ipset", "libxtables12", "libip4tc2", "libip6tc2", "libipset13"),
    *("libmnl0", "libnftnl11", "libnetfilter-conntrack3", "libnfnetlink0"),
)
"""Debian's, with the libraries that they need: unpacked, not installed."""
_OF_NFTABLES = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")


def firewall(run_dir: Path, programs: Path, debian: Path, papers: Papers, at: Addresses) -> Command:
    """The command that keeps the kernel's rules as the policies have them."""
    found = run_dir / "firewall"
    found.mkdir(exist_ok=True)
    for name in _OF_NFTABLES:  # what Debian's alternatives would point to, were it installed
        (found / name).symlink_to(debian / "usr/sbin/xtables-nft-multi")
    (found / "ipset").symlink_to(debian / "usr/sbin/ipset")
    (libraries,) = (debian / "usr/lib").glob("*-linux-gnu*")
    argv = [
        programs / KUBE_ROUTER.name,
        "--run-firewall=true",
        "--run-router=false",
        "--run-service-proxy=false",
        "--run-loadbalancer=false",
        f"--kubeconfig={papers.kubeconfig('kube-router', group='system:masters')}",
        f"--hostname-override={NAME}",
        f"--service-cluster-ip-range={at.services}",
    ]
    env = {
        "PATH": f"{found}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": str(libraries),
        "XTABLES_LIBDIR": str(libraries / "xtables"),
    }
    return Command(argv=argv, env=env)
