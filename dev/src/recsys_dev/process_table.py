"""What the operating system knows about processes: who a pid is, what it left behind, who holds a port."""

import contextlib
import os
import subprocess
from pathlib import Path

PROC = Path("/proc")
MARK = "RECSYS_RUN"
"""Name of the environment variable that every child of ours carries; its value is the run directory."""


def start_time(pid: int) -> str | None:
    """Return a token that names this very process, or None when it has ended (a zombie has ended).

    A pid alone may name a stranger an hour later; a pid with its start time does not.
    """
    if PROC.joinpath("self/stat").exists():
        fields = _stat(pid)
        return None if fields is None or fields[0] in "ZX" else fields[19]
    listed = subprocess.run(
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=10
    ).stdout.split(maxsplit=1)
    return None if len(listed) < 2 or listed[0].startswith("Z") else listed[1].strip()


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on (index 0); index 3 is the session, 19 the start time."""
    try:
        text = PROC.joinpath(str(pid), "stat").read_text()
    except OSError:
        return None
    # The command's name stands in parentheses and may hold anything, also spaces and parentheses.
    return text.rpartition(")")[2].split()


def marked(run_dir: Path) -> list[int]:
    """Return the living processes that were started for this run directory or one below it (Linux only, else none).

    Grandchildren count too, also those that moved to a session of their own: an environment is inherited.
    """
    wanted = str(run_dir.resolve())
    found: list[int] = []
    for entry in PROC.glob("[0-9]*/environ"):
        try:
            variables = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        for variable in variables:
            name, _, value = variable.partition(b"=")
            if name == MARK.encode() and _within(value.decode(errors="replace"), wanted):
                pid = int(entry.parent.name)
                if pid != os.getpid() and start_time(pid) is not None:
                    found.append(pid)
    return sorted(found)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + os.sep)


def port_holder(port: int) -> str | None:
    """Return who listens on a TCP port, as `name (pid N)`, when this user may know it (Linux only)."""
    inodes = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listening(PROC / "net" / table, port)}
    if not inodes:
        return None
    for folder in PROC.glob("[0-9]*/fd"):
        if not _sockets(folder).isdisjoint(inodes):
            pid = folder.parent.name
            try:
                return f"{PROC.joinpath(pid, 'comm').read_text().strip()} (pid {pid})"
            except OSError:
                return f"pid {pid}"
    return None


def _sockets(descriptors: Path) -> set[str]:
    """Return what the descriptors of one process point at; those that vanish while we look do not count."""
    found: set[str] = set()
    with contextlib.suppress(OSError):
        for descriptor in descriptors.iterdir():
            with contextlib.suppress(OSError):
                found.add(str(descriptor.readlink()))
    return found


def _listening(table: Path, port: int) -> list[str]:
    """Return the socket inodes that listen on `port` in one table of /proc/net."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
    listen = "0A"
    return [row[9] for row in rows if row[3] == listen and int(row[1].rpartition(":")[2], 16) == port]
