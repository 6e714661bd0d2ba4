"""Readings that many models share: a place is asked once for all who ask it at about the same time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

GOOD_FOR = 20.0
"""A reading is shared for so many times as long as it took: asking again and again costs a twentieth of the time at most."""
MOST_S = 2.0
"""But never for longer."""

K = TypeVar("K")
T = TypeVar("T")


@dataclass(slots=True)
class _Reading(Generic[T]):
    task: asyncio.Task[T]
    good_until: float = float("inf")


@dataclass(slots=True)
class Shared(Generic[K, T]):
    """The newest reading of each place. Bounded by the places that were asked within `MOST_S`."""

    clock: Callable[[], float] = time.monotonic
    readings: dict[K, _Reading[T]] = field(default_factory=dict[K, _Reading[T]])

    async def get(self, key: K, read: Callable[[], Awaitable[T]]) -> T:
        """What `read` returns now, or what it returned a moment ago; its errors reach all who wait for it, and are not kept."""
        now = self.clock()
        for stale in [each for each, reading in self.readings.items() if now >= reading.good_until]:
            del self.readings[stale]
        reading = self.readings.get(key)
        if reading is None:
            reading = self.readings[key] = _Reading(asyncio.create_task(_of(read)))
            reading.task.add_done_callback(lambda task, key=key, reading=reading: self._ended(key, reading, task, now))
        # Who gives up must not take the answer from the others.
        return await asyncio.shield(reading.task)

    def forget(self, key: K) -> None:
        """Something was changed there: nobody else is told what was read before."""
        self.readings.pop(key, None)

    def _ended(self, key: K, reading: _Reading[T], task: asyncio.Task[T], began: float) -> None:
        now = self.clock()
        reading.good_until = now + min(MOST_S, GOOD_FOR * (now - began))
        if (task.cancelled() or task.exception() is not None) and self.readings.get(key) is reading:
            del self.readings[key]


async def _of(read: Callable[[], Awaitable[T]]) -> T:
    return await read()
