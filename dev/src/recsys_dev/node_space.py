"""Private namespaces for a node: its mounts, processes, network and host name, so that nothing of it is left on the machine.

One process holds them; when it ends, the kernel ends everything inside and takes mounts and network away. What outlives it are
empty control groups, which `sweep` removes. The machine reaches the node over a pair of virtual interfaces, and nothing else does.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys_dev import processes
from recsys_dev.errors import Unmet
from recsys_dev.processes import Child, Command

CGROUPS = Path("/sys/fs/cgroup")
_GROUP = "recsys-node-"
_HOLD = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"
_HIDDEN = ("/run", "/var/log", "/var/lib/kubelet", "/var/lib/cni", "/usr/libexec/kubernetes")
"""Where containerd's shims, CNI and the kubelet write whatever they are told: folders in memory stand over them."""
_SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
"""What the kubelet sets for the whole machine: private files stand over them."""
_LINES = 50
_SHARES = 3 * 1024
_NEEDED = ("unshare", "nsenter", "ip", "mount", "nft")


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """The networks of the node with this number; others' numbers have others."""

    number: int

    @property
    def machine(self) -> str:
        """This machine, as the node and its pods see it."""
        return f"10.200.{self.number}.1"

    @property
    def node(self) -> str:
        """The node, as this machine sees it."""
        return f"10.200.{self.number}.2"

    @property
    def pods(self) -> str:
        """The pods' network."""
        return f"10.201.{self.number}.0/24"

    @property
    def services(self) -> str:
        """The Services' network."""
        return f"10.202.{self.number}.0/24"

    def service(self, last: int) -> str:
        """Return one address of the Services' network."""
        return f"10.202.{self.number}.{last}"

    @property
    def interface(self) -> str:
        """The end of the pair on this machine."""
        return f"rnode{self.number}"

    @property
    def is_there(self) -> bool:
        """Whether a node of this number is."""
        return Path("/sys/class/net", self.interface).exists()

    @property
    def group(self) -> str:
        """Name of the node's control groups."""
        return f"{_GROUP}{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A node's namespaces, held by `child`; `init` is the first process in them."""

    run_dir: Path
    addresses: Addresses
    child: Child
    init: int

    def inside(self, argv: Sequence[str | Path]) -> list[str | Path]:
        """Return the words that run a command in there."""
        return ["nsenter", "-t", str(self.init), "-m", "-p", "-n", "-i", "-u", "--", *argv]

    def run(self, *argv: str | Path, deadline_s: float = 60.0) -> str:
        """Run a command in there to its end; return what it printed.

        Raises:
            Unmet: it failed, with its words.
        """
        return _run(self.inside(argv), deadline_s)

    def start(self, name: str, command: Command) -> Child:
        """Start a process in there."""
        return processes.start(self.run_dir, name, Command(argv=self.inside(command.argv), env=command.env))

    def stop(self) -> None:
        """End everything in there, and remove what the kernel leaves."""
        processes.stop(self.child, deadline_s=5.0)
        _remove_groups(self.addresses.group)


def open_space(run_dir: Path) -> Space:
    """Make a node's namespaces, its network and control groups.

    Raises:
        Unmet: this is not Linux with control groups of the first version, or not root, or a program is missing.
    """
    _require()
    addresses = _free_addresses()
    flags = ["-m", "-p", "-n", "-i", "-u", "--fork", "--mount-proc", "--propagation", "private", "--kill-child=SIGKILL"]
    argv = ["unshare", *flags, "bash", "-c", _HOLD]
    child = processes.start(run_dir, "node-space", Command(argv=argv))
    space = Space(run_dir=run_dir, addresses=addresses, child=child, init=_init(child))
    try:
        # First, for `sweep` takes the groups of a node without an interface for left behind.
        _connect(space)
        _make_groups(addresses.group)
        _hide(space)
    except BaseException:
        space.stop()
        raise
    return space


def _make_groups(group_name: str) -> None:
    for controller in CGROUPS.iterdir():
        if controller.is_dir() and not controller.is_symlink():
            group = controller / group_name
            group.mkdir(exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems") if controller.name == "cpuset" else ():
                (group / name).write_text((controller / name).read_text())
            if controller.name == "cpu":
                # A group counts as one process: all pods together would get what one busy neighbour gets.
                (group / "cpu.shares").write_text(str(_SHARES))


def sweep() -> list[str]:
    """Remove the control groups of nodes that have ended; return their names."""
    left = sorted({path.name for path in CGROUPS.glob(f"*/{_GROUP}*")})
    ended = [name for name in left if not Addresses(number=int(name.removeprefix(_GROUP))).is_there]
    return [name for name in ended if _remove_groups(name)]


def _require() -> None:
    if os.geteuid() != 0:
        raise Unmet(
            "a real node",
            f"needs root for its namespaces; this is user {os.geteuid()}",
            "Run as root, or use kind: docs/guides/kind.md.",
        )
    if not (CGROUPS / "memory").is_dir():
        raise Unmet("control groups", f"{CGROUPS} is not of version 1", "Use kind on this machine: docs/guides/kind.md.")
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing:
        raise Unmet(f"the programs {', '.join(missing)}", "not found on PATH", "On Debian: apt-get install util-linux iproute2 nftables.")


def _free_addresses() -> Addresses:
    for number in range(200):
        addresses = Addresses(number=number)
        taken = addresses.is_there or any(CGROUPS.glob(f"*/{addresses.group}"))
        if not taken:
            return addresses
    raise Unmet("a network for the node", "two hundred are taken", "`make down` ends those that were left.")


def _init(child: Child) -> int:
    """Return the pid of the first process in the namespaces, as this machine counts."""
    listed = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    processes.wait_until(lambda: bool(listed.read_text().split()), what="the node's namespaces", deadline_s=10.0, children=[child])
    init = int(listed.read_text().split()[0])
    own = _mounts("self")
    processes.wait_until(
        lambda: _cmdline(init).startswith("bash") and _mounts(str(init)) != own,
        what="the node's first process",
        deadline_s=10.0,
        children=[child],
    )
    return init


def _mounts(pid: str) -> str:
    return str(Path("/proc", pid, "ns/mnt").readlink())


def _cmdline(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def _connect(space: Space) -> None:
    at = space.addresses
    _run(["ip", "link", "add", at.interface, "type", "veth", "peer", "name", "machine", "netns", str(space.init)])
    _run(["ip", "addr", "add", f"{at.machine}/30", "dev", at.interface])
    _run(["ip", "link", "set", at.interface, "up"])
    lines = [
        "hostname node1",
        "ip link set lo up",
        f"ip addr add {at.node}/30 dev machine",
        "ip link set machine up",
        # Services' addresses need a route before kube-proxy's rules catch them.
        "ip link add services type bridge",
        "ip link set services up",
        f"ip route add {at.services} dev services",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
    ]
    space.run("bash", "-ec", "\n".join(lines))
    for network in (at.pods, at.services):
        _run(["ip", "route", "add", network, "via", at.node])


def _hide(space: Space) -> None:
    for folder in _HIDDEN:
        Path(folder).mkdir(parents=True, exist_ok=True)
    lines = [f"mount -t tmpfs -o mode=755 tmpfs {folder}" for folder in _HIDDEN]
    private = space.run_dir / "sysctl"
    private.mkdir(exist_ok=True)
    for name in _SYSCTLS:
        file = private / name.replace("/", "_")
        file.write_text(Path("/proc/sys", name).read_text())
        lines.append(f"mount --bind {file} /proc/sys/{name}")
    space.run("bash", "-ec", "\n".join(lines))


def _remove_groups(group: str) -> bool:
    """Remove a node's control groups, the deepest first; the kernel may need a moment after its processes ended."""
    end = time.monotonic() + 10
    while True:
        folders = sorted(
            (path for top in CGROUPS.glob(f"*/{group}") for path in [top, *top.rglob("*/")]), key=lambda path: -len(path.parts)
        )
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        if not any(CGROUPS.glob(f"*/{group}")):
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.1)


def _run(argv: Sequence[str | Path], deadline_s: float = 60.0) -> str:
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=deadline_s, check=False)
    except subprocess.TimeoutExpired as late:
        raise Unmet(f"`{' '.join(words[-8:])}`", f"no end after {deadline_s:.0f} s", "The machine may be too busy.") from late
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-_LINES:])
        raise Unmet(f"`{' '.join(words[-8:])}`", f"exit {done.returncode}: {said}", "See the node's logs.")
    return done.stdout
