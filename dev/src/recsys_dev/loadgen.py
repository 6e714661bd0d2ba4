"""Asks over HTTP as users do: in open loop, timed from the moment at which each request was meant to be sent; or in closed loop.

The generator is a Go program of our own (`dev/go/loadgen`), so that on a small machine the asking costs little beside the answering.
"""

import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urlsplit

from recsys_dev.cache import LOADGEN, ensure
from recsys_dev.go_build import Progress

SPARE_SECONDS = 60.0
"""How long after its time the generator may still wait for answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request; `route` is what its figures are told under."""

    route: str
    path: str
    body: bytes = b""
    method: str = "POST"

    def line(self) -> str:
        """As the generator reads it."""
        return json.dumps({"route": self.route, "method": self.method, "path": self.path, "body": self.body.decode()})


@dataclass(slots=True, kw_only=True)
class Seen:
    """What came of some requests. Times are of answers with a 2xx, milliseconds, by classes that are 1 % wide."""

    statuses: Counter[str] = field(default_factory=Counter[str])
    broken: Counter[str] = field(default_factory=Counter[str])
    classes: list[int] = field(default_factory=list[int])
    growth: float = 1.01
    slowest_ms: float = 0.0
    sum_ms: float = 0.0

    @property
    def asked(self) -> int:
        """All of them."""
        return self.statuses.total() + self.broken.total()

    @property
    def good(self) -> int:
        """Answered with a 2xx."""
        return sum(count for status, count in self.statuses.items() if status.startswith("2"))

    @property
    def shed(self) -> int:
        """Refused for load: 429."""
        return self.statuses["429"]

    @property
    def failed(self) -> int:
        """Neither answered nor refused for load."""
        return self.asked - self.good - self.shed

    def percentile(self, percent: float) -> float:
        """A percentile of the times, an upper bound by at most 1 %; NaN without a good answer."""
        wanted = self.good * percent / 100
        below = 0
        for place, count in enumerate(self.classes):
            below += count
            if count and below >= wanted:
                return min(self.growth**place / 1000, self.slowest_ms)
        return float("nan")

    def add(self, other: "Seen") -> None:
        """Take in what came of other requests."""
        self.statuses.update(other.statuses)
        self.broken.update(other.broken)
        longer, shorter = (self.classes, other.classes) if len(self.classes) >= len(other.classes) else (other.classes, self.classes)
        self.classes = [count + (shorter[place] if place < len(shorter) else 0) for place, count in enumerate(longer)]
        self.slowest_ms = max(self.slowest_ms, other.slowest_ms)
        self.sum_ms += other.sum_ms


@dataclass(slots=True, kw_only=True)
class Told:
    """What came of a run."""

    seconds: float
    routes: dict[str, Seen]
    cpu_seconds: float = 0.0
    """What the generator itself took."""

    @property
    def all(self) -> Seen:
        """Every route together."""
        whole = Seen()
        for seen in self.routes.values():
            whole.add(seen)
        return whole

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return self.all.good / self.seconds if self.seconds else 0.0


def told_of(text: str) -> Told:
    """Read what the generator wrote."""
    read: dict[str, Any] = json.loads(text)
    return Told(
        seconds=read["seconds"],
        cpu_seconds=read["cpu_seconds"],
        routes={
            name: Seen(
                statuses=Counter(cast("Mapping[str, int]", each["statuses"])),
                broken=Counter(cast("Mapping[str, int]", each["broken"])),
                classes=each["good"],
                growth=read["growth"],
                slowest_ms=each["max_ms"],
                sum_ms=each["sum_ms"],
            )
            for name, each in read["routes"].items()
        },
    )


class Generator:
    """A run that is under way."""

    def __init__(self, process: subprocess.Popen[bytes], output: IO[bytes], seconds: float) -> None:
        self._process, self._output, self._seconds = process, output, seconds

    @property
    def pid(self) -> int:
        """Of the generator."""
        return self._process.pid

    def stop(self) -> Told:
        """End it now and read what came of it."""
        cast("IO[bytes]", self._process.stdin).close()
        return self.wait()

    def wait(self) -> Told:
        """Wait for its end and read what came of it."""
        code = self._process.wait(timeout=self._seconds + SPARE_SECONDS)
        with self._output as output:
            output.seek(0)
            text = output.read().decode()
        if code:
            raise RuntimeError(f"the load generator failed: {text.strip()}")
        return told_of(text)


def _quiet(_: str) -> None:
    pass


def write_requests(file: Path, requests: Iterable[Asked]) -> Path:
    """Write requests as the generator reads them."""
    with file.open("w") as out:
        out.writelines(request.line() + "\n" for request in requests)
    return file


def start(  # noqa: PLR0913 - all but the first two have a default
    url: str,
    requests: Path,
    *,
    token_file: Path | None = None,
    rate: float = 0.0,
    clients: int = 1,
    connections: int = 512,
    seconds: float = 600.0,
    answers: Path | None = None,
    seed: int = 1,
    progress: Progress = _quiet,
) -> Generator:
    """Begin to ask.

    Args:
        url: Where; only its host and port count, requests name their paths.
        requests: A file that `write_requests` wrote; sent in order, again and again.
        token_file: Where the bearer token lies.
        rate: Requests a second, in open loop; 0: closed loop.
        clients: Clients in closed loop.
        connections: Connections at most in open loop.
        seconds: How long.
        answers: A file for all answers.
        seed: Of the arrivals in open loop.
        progress: Is told how building the generator goes, once.
    """
    binary = ensure((LOADGEN,), progress) / LOADGEN.name
    words = ["-at", urlsplit(url).netloc, "-requests", str(requests), "-seconds", str(seconds), "-seed", str(seed)]
    words += ["-rate", str(rate)] if rate else ["-clients", str(clients)]
    words += ["-connections", str(connections)]
    words += ["-token-file", str(token_file)] if token_file else []
    words += ["-answers", str(answers)] if answers else []
    output = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it is read
    process = subprocess.Popen([str(binary), *words], stdin=subprocess.PIPE, stdout=output, stderr=output)
    return Generator(process, output, seconds)


def trouble(answer: Mapping[str, Any]) -> str:
    """Why an answer that was noted is none: a broken connection or its status; empty where it is one."""
    return str(answer.get("broken") or ("" if answer["status"] == 200 else f"status {answer['status']}"))
