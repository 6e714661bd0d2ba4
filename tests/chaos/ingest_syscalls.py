"""What a consumer asks of the kernel: the points at which a kill, a stop or an error may fall, by strace.

A point is the entry of a system call that changes something outside the process: a file of the store, or a request to a broker
that writes. Between two such calls nothing can be told apart from outside, so the points are all there is to try.
"""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest_child import traced

CALLS = ("openat", "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "link", "linkat", "rename", "renameat2", "unlink", "mkdir")
SENDS = "sendmsg"
ATTACH_S = 90.0
START_S, LOOK_S = 60.0, 0.1
_REQUESTS = {0: "Produce", 22: "InitProducerId", 24: "AddPartitionsToTxn", 26: "EndTxn"}
"""Kafka's requests that write (the protocol's API keys); the others only ask."""
_LINE = re.compile(r"^(?:(\d+)\s+)?(\w+)\((.*)$")  # a single thread is not named
_RESUMED = re.compile(r"^(\d+)\s+<\.\.\. (\w+) resumed>.*= (\?|-?\d+)")
_IOV = re.compile(r'iov_base="((?:[^"\\]|\\.)*)"')
_FORMS = (
    (re.compile(r"/\d{4}-\d\d-\d\d"), "/{day}"),
    (re.compile(r"[0-9a-f]{32}"), "{id}"),
    (re.compile(r"\d+_\d+_events"), "{time}_{count}_events"),
    (re.compile(r"\d+"), "{n}"),
)


def require_strace() -> None:
    """Say what is missing before anything is started."""
    if shutil.which("strace") is None:
        raise SystemExit("strace: not on PATH; install it (Debian: apt-get install strace): it kills at system calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One entry of a call that matters."""

    kind: str
    """What it does to what, with numbers left out."""
    call: str
    killed: bool
    """Whether it never returned."""
    failed: bool
    """Whether it returned an error."""
    paths: list[str]
    """Files of the store that it names, relative to it."""


def points(trace: Path, store: str) -> Iterator[Point]:
    """Read the points of a trace, in their order."""
    lines = trace.read_text(errors="replace").splitlines()
    for number, line in enumerate(lines):
        found = _LINE.match(line)
        if found is None:
            continue
        thread, call, rest = int(found[1] or 0), found[2], found[3]
        paths = _paths(rest, store)
        if kind := _kind(call, rest, paths):
            result = _result(rest, thread, call, lines[number + 1 :])
            yield Point(kind=kind, call=call, killed=result == "?", failed=result.startswith("-"), paths=paths)


def _result(rest: str, thread: int, call: str, after: Sequence[str]) -> str:
    """What a call returned: a number, or `?` when it never did."""
    if not rest.endswith("<unfinished ...>"):
        return rest.rpartition(" = ")[2]
    resumed = (_RESUMED.match(line) for line in after)
    return next((found[3] for found in resumed if found and (int(found[1]), found[2]) == (thread, call)), "?")


def _kind(call: str, rest: str, paths: Sequence[str]) -> str:
    if call == SENDS:
        iov = _IOV.search(rest)
        raw = iov[1].encode("latin-1", "replace").decode("unicode_escape", "replace") if iov else ""
        request = _REQUESTS.get(ord(raw[4]) << 8 | ord(raw[5])) if len(raw) > 5 else None
        return f"send {request}" if request else ""
    if call not in CALLS or not paths or (call == "openat" and "O_CREAT" not in rest):
        return ""
    plain = " to ".join(dict.fromkeys(_form(path) for path in paths[-2:]))
    return f"{call} {plain or '.'}"


def _form(path: str) -> str:
    for pattern, word in _FORMS:
        path = pattern.sub(word, path)
    return re.sub(r"^(watch|rate)\b", "{type}", path)


@dataclass(slots=True, kw_only=True)
class Strace:
    """A tracer that holds a process and all its threads."""

    trace: Path
    process: "subprocess.Popen[bytes]"

    def detach(self) -> None:
        """Let the process go on by itself."""
        if self.process.poll() is None:
            self.process.terminate()
        self.wait()

    def wait(self) -> None:
        """Until it has written all it saw."""
        try:
            self.process.wait(ATTACH_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def wait_for(trace: Path, store: str, target: tuple[str, int], limit_s: float, begun: Callable[[], bool]) -> None:
    """Wait until a traced process enters a call of a kind, or for as long as it may take; the trace tells which.

    Args:
        trace: what a tracer writes: an entry is there before the call is done.
        store: folder of the store.
        target: the kind of call, and how many of it are let go first.
        limit_s: how long, once it is at work.
        begun: whether it is at work; on a busy machine a start takes as long as many cycles.
    """
    kind, passing = target
    started, done, at_work = time.monotonic(), 0, False
    look_at, deadline = started, started + START_S
    while time.monotonic() < deadline:
        if not at_work and time.monotonic() > look_at:
            look_at, at_work = time.monotonic() + LOOK_S, begun()
            deadline = time.monotonic() + limit_s if at_work else deadline
        with trace.open("rb") as lines:
            lines.seek(done)
            *whole, entered = lines.read().split(b"\n")
        done += sum(len(line) + 1 for line in whole)
        passing -= sum(_kind_of(line, store) == kind for line in whole)
        if passing < 0 or (passing == 0 and _kind_of(entered, store) == kind):
            return
        time.sleep(0.001)


def _kind_of(line: bytes, store: str) -> str:
    found = _LINE.match(line.decode(errors="replace"))
    return _kind(found[2], found[3], _paths(found[3], store)) if found else ""


def _paths(rest: str, store: str) -> list[str]:
    return re.findall(re.escape(store) + r'/?([^">]*)', rest)


def attach(pid: int, trace: Path, *inject: str) -> Strace:
    """Hold a process from now on.

    Args:
        pid: whom; all its threads, and those that it starts.
        trace: where the calls are written to.
        inject: what to do at which call, in strace's words (`fsync:signal=KILL:when=3`).
    """
    filters = [word for each in inject for word in ("-e", f"inject={each}")]
    argv = ["strace", "-y", "-qq", "-s", "24", "-o", str(trace), "-e", f"trace={','.join((*CALLS, SENDS))}", *filters, "-f", "-p", str(pid)]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + ATTACH_S
    while not traced(pid):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            said = process.stderr.read().decode() if process.stderr else ""
            raise RuntimeError(f"strace could not attach to {pid}: {said.strip() or 'no word'}; may this user trace (ptrace_scope)?")
        time.sleep(0.002)
    return Strace(trace=trace, process=process)


def unsynced(trace: Sequence[Point]) -> list[str]:
    """What a power failure could take away although something that is there names it; empty when nothing.

    Data must be flushed (bytes, then their name) before the commit that names them, a commit's entry before the manifest that
    names it, a manifest's bytes before its name. Names and bytes that are not flushed may be gone after a power failure,
    each by itself (POSIX fsync(2)).
    """
    dirty: set[str] = set()
    unnamed: set[str] = set()
    wrong: list[str] = []
    for point in trace:
        if point.failed or not point.paths:
            continue
        if point.call == "mkdir":
            unnamed.add(point.paths[-1])
        elif point.call in ("write", "pwrite64", "ftruncate"):
            dirty.add(point.paths[-1])
        elif point.call in ("fsync", "fdatasync"):
            path = point.paths[-1]
            dirty.discard(path)
            unnamed = {name for name in unnamed if name.rpartition("/")[0] != path}
        elif point.call in ("link", "linkat", "rename", "renameat2") and len(point.paths) > 1:
            source, target = point.paths[-2], point.paths[-1]
            wrong += _named_too_early(target, dirty | unnamed, dirty, source)
            if source in dirty:
                dirty.add(target)
            if point.call.startswith("rename"):
                dirty.discard(source)
            unnamed.add(target)
        elif point.call == "unlink":
            dirty.discard(point.paths[-1])
            unnamed.discard(point.paths[-1])
    return wrong


def _named_too_early(target: str, loose: set[str], dirty: set[str], source: str) -> list[str]:
    if "/_delta_log/" in target and target.endswith(".json"):
        table = target.partition("/")[0]
        data = [path for path in loose if path.startswith(f"{table}/20")]
        return [f"{target} before {path}" for path in sorted(data) if path.endswith("_events.parquet") or "." not in path]
    if target.startswith("manifests/"):
        log = [
            path for path in loose if path.endswith((".json", ".checkpoint.parquet", "_last_checkpoint", "_delta_log")) or "/" not in path
        ]
        log = [path for path in log if not path.startswith(("manifests", ".writable"))]
        return [f"{target} before {path}" for path in sorted(log)] + ([f"{target} before its bytes"] if source in dirty else [])
    return []
