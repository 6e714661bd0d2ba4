"""A small load generator: keep-alive HTTP/1.1 connections, one request at a time on each, in one asyncio thread."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from urllib.parse import urlsplit


@dataclass(slots=True, kw_only=True)
class Load:
    """What the clients saw."""

    times_ms: list[float] = field(default_factory=list[float])
    statuses: Counter[int] = field(default_factory=Counter[int])
    broken: int = 0
    """Connections that ended in the middle of a request."""
    seconds: float = 0.0

    @property
    def failed(self) -> int:
        """Requests without a 200."""
        return self.broken + sum(count for status, count in self.statuses.items() if status != 200)

    def percentile(self, percent: float) -> float:
        """A percentile of the times, milliseconds."""
        ordered = sorted(self.times_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("nan")

    @property
    def rate(self) -> float:
        """Requests answered per second."""
        return len(self.times_ms) / self.seconds if self.seconds else 0.0


def post(url: str, body: bytes, token: str) -> bytes:
    """A POST request as bytes on the wire."""
    where = urlsplit(url)
    head = f"POST {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {token}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def drive(url: str, requests: list[bytes], *, clients: int, stop: asyncio.Event | None = None, seconds: float = 600) -> Load:
    """Send the requests over and over from several clients until `stop` is set or the time is up."""
    load = Load()
    turn = cycle(requests)
    started = time.perf_counter()
    until = started + seconds
    await asyncio.gather(*(_client(url, turn, load, stop, until) for _ in range(clients)))
    load.seconds = time.perf_counter() - started
    return load


async def _client(url: str, turn: Iterator[bytes], load: Load, stop: asyncio.Event | None, until: float) -> None:
    where = urlsplit(url)
    reader = writer = None
    while time.perf_counter() < until and not (stop and stop.is_set()):
        if reader is None or writer is None:
            reader, writer = await asyncio.open_connection(where.hostname, where.port)
        started = time.perf_counter()
        writer.write(next(turn))
        try:
            status, keep = await _answer(reader)
        except (ConnectionError, asyncio.IncompleteReadError):
            load.broken += 1
            reader = None
            continue
        load.times_ms.append((time.perf_counter() - started) * 1000)
        load.statuses[status] += 1
        if not keep:
            writer.close()
            reader = None
    if writer is not None:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head[9:12])
    start = head.index(b"content-length:") + 15
    await reader.readexactly(int(head[start : head.index(b"\r\n", start)]))
    return status, b"connection: close" not in head
