"""Ripening: answers and their rewards become evidence once the answer is old enough to have been rewarded.

Counted at once, a young arm would look unloved: its newest answers could not have been rewarded yet. An answer and a reward for it
ripen at the same moment, the answer's time plus the attribution time, whichever replicas they came to.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ray_apps.serving.counters import Tallies

MAX_SECONDS = 700_000
"""Seconds remembered; more than the longest attribution time that a spec allows."""


@dataclass(slots=True)
class _Second:
    """What one second's answers of each version earned."""

    impressions: dict[str, int] = field(default_factory=dict[str, int])
    rewards: dict[str, int] = field(default_factory=dict[str, int])


class Ripening:
    """Green answers and rewards by the second of the answer; memory is bounded by seconds and versions, not by traffic."""

    def __init__(self, tallies: Tallies, clock: Callable[[], float] = time.time) -> None:
        self._tallies = tallies
        self._clock = clock
        self._seconds: dict[int, _Second] = {}
        self._lock = threading.Lock()

    def shown(self, version: str) -> int:
        """An answer was given now; returns its second (Unix time), which its request id carries."""
        second = int(self._clock())
        with self._lock:
            green = self._second(second).impressions
            green[version] = green.get(version, 0) + 1
        return second

    def rewarded(self, version: str, shown_at: int) -> None:
        """An event named an answer of that second."""
        with self._lock:
            green = self._second(shown_at).rewards
            green[version] = green.get(version, 0) + 1

    def in_time(self, shown_at: int, attribution_seconds: float) -> bool:
        """Whether an answer of that second may still be rewarded now."""
        return -1 <= self._clock() - shown_at < attribution_seconds

    def ripen(self, attribution_seconds: float) -> None:
        """Count what is old enough; called before each report."""
        now = self._clock()
        with self._lock:
            ripe = [second for second in self._seconds if second + 1 + attribution_seconds <= now]
            for second in sorted(ripe):
                counted = self._seconds.pop(second)
                for version, count in counted.impressions.items():
                    self._tallies.of(version).impressions += count
                for version, count in counted.rewards.items():
                    self._tallies.of(version).rewards += count

    def _second(self, second: int) -> _Second:
        found = self._seconds.get(second)
        if found is None:
            if len(self._seconds) >= MAX_SECONDS:
                del self._seconds[min(self._seconds)]
            found = self._seconds[second] = _Second()
        return found
