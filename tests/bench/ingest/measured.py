"""A child process and what it costs, by the kernel's own account."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

LIMIT_S = 600.0
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """CPU-seconds of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What reading a whole topic took."""

    seconds: float
    """From when it was ready to read to the last record done; its start is not in it."""
    cpu_s: float
    """User and system time of the process from its start to its end."""
    peak_mib: float

    def a_million(self, events: int) -> float:
        """CPU-seconds for a million events."""
        return self.cpu_s / events * 1e6

    def rate(self, events: int) -> float:
        """Events a second."""
        return events / self.seconds


class Measured:
    """A running child; none of the subjects has children of its own, so it is all that there is to count."""

    def __init__(self, argv: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with log.open("wb") as stream:
            self._child = subprocess.Popen(
                [str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env={**os.environ, **(env or {})}
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child.returncode is None:
            self.kill()

    def says(self, words: bytes) -> bool:
        """Whether these words stand in its output."""
        return words in self.log.read_bytes()

    def wait(self, condition: Callable[[], bool], *, every_s: float = 0.01, limit_s: float = LIMIT_S) -> float:
        """Return clock seconds once something is so.

        Raises:
            RuntimeError: the child ended before, or the time is up.
        """
        deadline = time.monotonic() + limit_s
        while not condition():
            ended = os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is not None and not condition():
                raise RuntimeError(f"{self.log.name}: ended with {ended.si_status} before it was done:\n{self._last()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.log.name}: not done after {limit_s:g} s:\n{self._last()}")
            time.sleep(every_s)
        return time.monotonic()

    def cpu_s(self) -> float:
        """CPU-seconds so far."""
        return cpu_s(self._child.pid)

    def memory_mib(self, what: str = "VmRSS") -> float:
        """What it holds now, or `VmHWM`: the most that it ever held."""
        lines = Path(f"/proc/{self._child.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) / 1024

    def kill(self) -> float:
        """End it as a power cut would; returns the clock seconds of that."""
        self._child.kill()
        at = time.monotonic()
        self._child.wait()
        return at

    def end(self, seconds: float, *, ask: bool = False) -> Cost:
        """Wait for its end and take the account; `ask`: tell it to end first."""
        if ask:
            self._child.terminate()
        _, status, used = os.wait4(self._child.pid, 0)
        self._child.returncode = os.waitstatus_to_exitcode(status)
        if self._child.returncode:
            raise RuntimeError(f"{self.log.name}: ended with {self._child.returncode}:\n{self._last()}")
        return Cost(seconds=seconds, cpu_s=used.ru_utime + used.ru_stime, peak_mib=used.ru_maxrss / 1024)

    def _last(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])
