"""Children that outlive no one: each in a session of its own, with a log and a pid file that cannot name a stranger."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from recsys_dev.errors import Unmet
from recsys_dev.process_table import MARK, marked, start_time

POLL_SECONDS = 0.05
KILLED_WITHIN_S = 60.0
"""The kernel takes its time on a busy machine, with much memory to give back."""
LOG_TAIL_LINES = 12
LOG_TAIL_BYTES = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process that we started: enough to find it again from another process, and never to mistake another for it."""

    name: str
    pid: int
    started: str
    log: Path
    pid_file: Path

    def is_alive(self) -> bool:
        """Return whether this very process (not a reuse of its pid) still runs."""
        return start_time(self.pid) == self.started

    def last_lines(self, count: int = LOG_TAIL_LINES) -> str:
        """Return the end of the log, for an error message."""
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - LOG_TAIL_BYTES))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return "(no log)"
        return "\n".join(lines[-count:]) or "(the log is empty)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run: the words, the environment added to ours, and the folder to run in."""

    argv: Sequence[str | Path]
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    cwd: Path | None = None


def start(run_dir: Path, name: str, command: Command) -> Child:
    """Start a child in its own session; its output goes to `run_dir/log/NAME.log`, its identity to `run_dir/pid/NAME`.

    Raises:
        Unmet: when a child of that name already runs in `run_dir`, or the program cannot be started.
    """
    log, pid_file = run_dir / "log" / f"{name}.log", run_dir / "pid" / name
    for folder in (log.parent, pid_file.parent):
        folder.mkdir(parents=True, exist_ok=True)
    other = read(pid_file)
    if other is not None and other.is_alive():
        raise Unmet(f"{name} in {run_dir}", f"already running as pid {other.pid}", "Stop it first: `make down`.")
    environment = {**os.environ, **command.env, MARK: str(run_dir.resolve())}
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                [str(word) for word in command.argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=command.cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise Unmet(f"program {command.argv[0]} for {name}", str(error), "Check that it is installed.") from error
    # Somebody has to collect the exit status, or the child stays a zombie as long as we live.
    threading.Thread(target=process.wait, name=f"reap-{name}", daemon=True).start()
    child = Child(name=name, pid=process.pid, started=start_time(process.pid) or "ended", log=log.resolve(), pid_file=pid_file)
    _write(child)
    return child


def _write(child: Child) -> None:
    fresh = child.pid_file.with_name(f".{child.name}.{os.getpid()}")
    fresh.write_text(json.dumps({key: str(value) for key, value in asdict(child).items()}) + "\n")
    fresh.replace(child.pid_file)


def read(pid_file: Path) -> Child | None:
    """Return the child that a pid file names (it may have ended), or None when there is no readable file."""
    try:
        known = json.loads(pid_file.read_text())
        return Child(
            name=known["name"],
            pid=int(known["pid"]),
            started=known["started"],
            log=Path(known["log"]),
            pid_file=pid_file,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def recorded(run_dir: Path) -> list[Child]:
    """Return the children recorded in `run_dir` and below, the youngest record first (so that they stop in that order)."""
    found: list[tuple[int, Child]] = []
    # os.walk, because folders of a part that is ending may vanish under our eyes: it passes over them.
    for folder, _, names in os.walk(run_dir):
        if not folder.endswith(f"{os.sep}pid"):
            continue
        for path in (Path(folder, name) for name in names if not name.startswith(".")):
            child = read(path)
            if child is not None:
                with contextlib.suppress(OSError):
                    found.append((path.stat().st_mtime_ns, child))
    found.sort(key=lambda item: item[0], reverse=True)
    return [child for _, child in found]


def stop(child: Child, *, deadline_s: float = 15.0) -> None:
    """End a child and its session: TERM, then KILL after `deadline_s`; returns when it is gone. Ended already: no-op.

    Nothing is signalled unless the pid still has the recorded start time.
    """
    for number, patience in ((signal.SIGTERM, deadline_s), (signal.SIGKILL, KILLED_WITHIN_S)):
        if not child.is_alive():
            break
        _signal_group(child.pid, number)
        _gone(lambda: not child.is_alive(), patience)
    if child.is_alive():
        raise Unmet(f"{child.name} (pid {child.pid})", "still alive after SIGKILL", "It may hang in the kernel; see ps.")
    child.pid_file.unlink(missing_ok=True)


def stop_all(run_dir: Path, *, deadline_s: float = 15.0) -> list[str]:
    """End every child recorded under `run_dir`, and whatever they left behind; return the names of those that were alive."""
    alive = [child for child in recorded(run_dir) if child.is_alive()]
    for child in recorded(run_dir):
        stop(child, deadline_s=deadline_s)
    return [child.name for child in alive] + [f"pid {pid}" for pid in stop_marked(run_dir, deadline_s=deadline_s)]


def stop_marked(run_dir: Path, *, deadline_s: float = 15.0) -> list[int]:
    """End the processes that carry this run directory's mark: those whose parent died before it could end them."""
    left = {pid: start_time(pid) for pid in marked(run_dir)}
    for number, patience in ((signal.SIGTERM, deadline_s), (signal.SIGKILL, KILLED_WITHIN_S)):
        for pid, started in left.items():
            if started is not None and start_time(pid) == started:
                _signal(pid, number)
        if _gone(lambda: all(start_time(pid) != started for pid, started in left.items()), patience):
            break
    return sorted(left)


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _gone(condition: Callable[[], bool], deadline_s: float) -> bool:
    end = time.monotonic() + deadline_s
    while not (done := condition()) and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    return done


def wait_until(condition: Callable[[], bool], *, what: str, deadline_s: float, children: Sequence[Child] = ()) -> None:
    """Wait until `condition` holds; give up when the deadline passes or one of `children` ends.

    Raises:
        Unmet: names what was waited for, with the last log lines of the child that ended, or of all at the deadline.
    """
    end = time.monotonic() + deadline_s
    while not condition():
        ended = next((child for child in children if not child.is_alive()), None)
        if ended is None and time.monotonic() <= end:
            time.sleep(POLL_SECONDS)
            continue
        # It may have come true since: whoever waits may have stood still for longer than what they wait for.
        if condition():
            return
        if ended is not None:
            raise Unmet(what, f"{ended.name} ended; its last words:\n{ended.last_lines()}\n", f"Log: {ended.log}")
        words = "".join(f"\n--- {child.name}\n{child.last_lines(4)}" for child in children)
        raise Unmet(what, f"not so after {deadline_s:.0f} s{words}\n", "The machine may be too busy, or see the logs.")
