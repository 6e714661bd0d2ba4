"""Readings that many models share: a place is asked once for all who ask it at about the same time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
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
    begun: int
    """After so many changes of ours."""
    good_until: float = float("inf")


@dataclass(slots=True)
class Shared(Generic[K, T]):
    """The newest reading of each place. Bounded by the places that were asked within `MOST_S`, and by what we have changed since."""

    clock: Callable[[], float] = time.monotonic
    readings: dict[K, _Reading[T]] = field(default_factory=dict[K, _Reading[T]])
    changes: dict[tuple[K, str], int] = field(default_factory=dict[tuple[K, str], int])
    """A part of a place that we have changed → which of our changes that was; in their order."""
    _changed: int = 0

    async def get(self, key: K, read: Callable[[], Awaitable[T]], *, of: Iterable[str] = ()) -> T:
        """What `read` returns now, or what it returned a moment ago; its errors reach all who wait for it, and are not kept.

        Args:
            key: the place.
            read: asks it.
            of: the parts of it that matter: what is told of them is as new as our own last change of any.
        """
        now = self.clock()
        for stale in [each for each, reading in self.readings.items() if now >= reading.good_until]:
            del self.readings[stale]
        reading = self.readings.get(key)
        if reading is None or reading.begun < max((self.changes.get((key, part), 0) for part in of), default=0):
            reading = self.readings[key] = _Reading(asyncio.create_task(_of(read)), self._changed)
            reading.task.add_done_callback(lambda task, key=key, reading=reading: self._ended(key, reading, task, now))
        # Who gives up must not take the answer from the others.
        return await asyncio.shield(reading.task)

    def forget(self, key: K, part: str | None = None) -> None:
        """Something was changed there: who asks for this part, or for any when none is named, is not told what was read before."""
        if part is None:
            self.readings.pop(key, None)
            return
        self._changed += 1
        self.changes.pop((key, part), None)
        self.changes[key, part] = self._changed
        oldest = min((reading.begun for reading in self.readings.values()), default=self._changed)
        while self.changes and next(iter(self.changes.values())) <= oldest:  # all readings that there are know of it
            del self.changes[next(iter(self.changes))]

    def _ended(self, key: K, reading: _Reading[T], task: asyncio.Task[T], began: float) -> None:
        now = self.clock()
        reading.good_until = now + min(MOST_S, GOOD_FOR * (now - began))
        if (task.cancelled() or task.exception() is not None) and self.readings.get(key) is reading:
            del self.readings[key]


async def _of(read: Callable[[], Awaitable[T]]) -> T:
    return await read()
