"""Consumers as forked children: ready in milliseconds, so that hundreds of them can be killed in minutes."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from multiprocessing.popen_forkserver import Popen
from pathlib import Path
from typing import Any, ClassVar

START_S = 120.0
EXIT_FENCED = 3

multiprocessing.set_forkserver_preload(["ray_apps.ingest.consumer", "ray_apps.ingest.lanes", "ray_apps.ingest.verify"])


class _Watched(Popen):
    """How a child ended can be read once, and each start of a process looks at all of them, in whichever thread: one reader at a time."""

    _one: ClassVar = threading.Lock()

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        if flag != os.WNOHANG and self.returncode is None:
            wait([self.sentinel])
        with self._one:
            return super().poll(os.WNOHANG)


class Child(ForkServerProcess):
    """A process of its own whose exit code many threads may ask for."""

    @staticmethod
    def _Popen(process_obj: Any) -> Popen:  # noqa: N802 - the name is the standard library's
        return _Watched(process_obj)


def start(job: str, log: Path, *, twin: str = "", clock: str = "", gated: bool = False) -> Any:
    """Start a consumer: a `multiprocessing.Process`.

    Args:
        job: an IngestJob as JSON.
        log: takes what it says.
        twin: name of a broken twin that runs instead; see `ingest_twins`.
        clock: `ahead`, `behind` by an hour, or `stepping` between the two.
        gated: it stops itself before its first step; SIGCONT lets it go on.
    """
    child: Any = Child(target=_consume, args=(job, str(log), twin, clock, gated), daemon=True)
    child.start()
    if gated:
        _wait_stopped(child.pid)
    return child


def state_of(pid: int) -> str:
    """State letter of a process as the kernel tells it: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def traced(pid: int) -> bool:
    """Whether a tracer holds the process."""
    return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()


def _wait_stopped(pid: int) -> None:
    deadline = time.monotonic() + START_S
    while state_of(pid) != "T":
        if time.monotonic() > deadline:
            raise TimeoutError(f"child {pid}: not at its gate within {START_S:g} s")
        time.sleep(0.002)


def prepare(log: str, twin: str) -> None:
    """Let this process, a child, speak to a log, and be a broken twin if that is asked."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.path.insert(0, str(Path(__file__).parent))
    from ingest_twins import TWINS  # noqa: PLC0415 (only the child may be broken)

    if twin:
        TWINS[twin]()


def _consume(job: str, log: str, twin: str, clock: str, gated: bool) -> None:
    prepare(log, twin)
    from ray_apps.ingest import consumer  # noqa: PLC0415 (there already: the server has it)

    if clock:
        _skew(clock)
    if gated:
        os.kill(os.getpid(), signal.SIGSTOP)
    sys.exit(consumer.main(["--job", job]))


def _skew(clock: str) -> None:
    """Step the wall clock as Python code sees it; the kernel has no clock of its own for a process (time namespaces spare this one)."""
    right = time.time
    offset_s = [-3600.0 if clock == "behind" else 3600.0]
    time.time = lambda: right() + offset_s[0]

    def step() -> None:
        while True:
            time.sleep(0.25)
            offset_s[0] = -offset_s[0]

    if clock == "stepping":
        threading.Thread(target=step, daemon=True).start()
