"""Connections to a replica's own HTTP server are bounded: how many there are, and how long one may go without its first request.

The server knows neither bound (ADR 43). A connection costs some 5 KiB and, when it comes, 35 µs of the event loop; when it says nothing it
costs no time. Where there are too many, whoever has been there longest without a whole request makes room for who comes; those
that have asked something, the ingress among them, stay.
"""

import asyncio
import os
import resource
from collections.abc import Mapping
from typing import Any, ClassVar

from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST, SILENT_SECONDS = "RECSYS_MOST_CONNECTIONS", "RECSYS_SILENT_SECONDS"
"""Environment variables of a replica."""
MOST_CONNECTIONS, LEAST_CONNECTIONS = 16_000, 64
KEPT_DESCRIPTORS = 256
"""For everything else that a replica opens."""
SECONDS = 60.0


class Guest(HttpToolsProtocol):
    """One connection."""

    most: ClassVar[int] = MOST_CONNECTIONS
    seconds: ClassVar[float] = SECONDS
    strangers: ClassVar[dict["Guest", None]] = {}
    """Connections by age; those that have asked something since they came are among them until somebody looks."""
    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn's
        """Let it in, and somebody else out if there are too many."""
        super().connection_made(transport)
        self.strangers[self] = None
        self._due = self.loop.call_later(self.seconds, self._look)
        if len(self.connections) > self.most:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self.strangers.pop(self, None)
        if self._due is not None:
            self._due.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        self._due = None
        self.strangers.pop(self, None)
        if not self._asked():
            self.transport.abort()

    def _asked(self) -> bool:
        """Whether the head of a request has come whole."""
        cycle: Any = self.cycle
        return cycle is not None

    def _make_room(self) -> None:
        while self.strangers:
            oldest = next(iter(self.strangers))
            del self.strangers[oldest]
            if not oldest._asked():  # noqa: SLF001 - one of us
                oldest.transport.abort()
                return
        self.transport.abort()


def bound_connections(environment: Mapping[str, str] = os.environ) -> None:
    """Bound the connections of every HTTP server that this process starts from now on.

    Raises:
        ValueError: a variable is no number, or too small; names it.
    """
    room = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = _number(environment, MOST, MOST_CONNECTIONS, LEAST_CONNECTIONS)
    Guest.most = int(most) if room < 0 else max(LEAST_CONNECTIONS, min(int(most), room - KEPT_DESCRIPTORS))
    Guest.seconds = _number(environment, SILENT_SECONDS, SECONDS, 1)
    auto.AutoHTTPProtocol = Guest


def _number(environment: Mapping[str, str], name: str, usual: float, least: float) -> float:
    said = environment.get(name, str(usual))
    try:
        number = float(said)
    except ValueError:
        number = least - 1
    if not least <= number < float("inf"):
        raise ValueError(f"{name}: saw {said!r}; set a number of {least:g} or more, or leave it out for {usual:g}")
    return number
