"""CPU time of the processes that a request passes through."""

import os
from pathlib import Path

from recsys_dev.process_table import PROC, marked

PATH = (b"ServeReplica", b"haproxy", b"ProxyActor")
"""What the processes between a client and an answer are called; the rest of a Ray head would run without requests too."""
_TICK = os.sysconf("SC_CLK_TCK")


def on_the_path(run_dir: Path, application: str) -> list[int]:
    """Processes of a head that requests to an application pass through."""
    found: list[int] = []
    for pid in marked(run_dir):
        try:
            words = PROC.joinpath(str(pid), "cmdline").read_bytes()
        except OSError:
            continue
        ours = b"ServeReplica" not in words or application.encode() in words
        if ours and any(word in words for word in PATH):
            found.append(pid)
    return found


def seconds(pids: list[int]) -> float:
    """CPU seconds that these processes have used, in user and kernel mode; one that has ended counts as none."""
    total = 0
    for pid in pids:
        try:
            fields = PROC.joinpath(str(pid), "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / _TICK


def resident_mib(pids: list[int]) -> float:
    """Resident memory of these processes, MiB; pages that they share count for each."""
    pages = 0
    for pid in pids:
        try:
            pages += int(PROC.joinpath(str(pid), "statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
