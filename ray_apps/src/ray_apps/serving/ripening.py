"""Ripening: answers and their rewards become evidence once the answer is old enough to have been rewarded.

Counted at once, a young arm would look unloved: its newest answers could not have been rewarded yet. An answer and a reward for it
ripen at the same moment, the answer's time plus the attribution time, whichever replicas they came to.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from ray_apps.serving.counters import Tallies

SPANS = 600
"""Parts of the attribution time in which answers ripen together: an answer ripens late by at most so small a part of it."""
MAX_SPANS = 4 * SPANS
"""Spans remembered: room for a change of the attribution time."""


class Shown(NamedTuple):
    """Which answers are alike: whose, under which shares, to which group of users."""

    version: str
    stratum: str
    group: int


@dataclass(slots=True)
class _Span:
    """What one span's answers earned."""

    end: int
    impressions: dict[Shown, int] = field(default_factory=dict[Shown, int])
    rewards: dict[Shown, int] = field(default_factory=dict[Shown, int])


class Ripening:
    """Green answers and rewards by the time of the answer; memory is bounded by spans, versions and groups, not by traffic."""

    def __init__(self, tallies: Tallies, clock: Callable[[], float] = time.time) -> None:
        self._tallies = tallies
        self._clock = clock
        self._spans: dict[int, _Span] = {}
        self._width = 1
        self._lock = threading.Lock()

    def shown(self, what: Shown) -> int:
        """An answer was given now; returns its second (Unix time), which its request id carries."""
        second = int(self._clock())
        with self._lock:
            green = self._span(second).impressions
            green[what] = green.get(what, 0) + 1
        return second

    def rewarded(self, what: Shown, shown_at: int) -> None:
        """An event named an answer of that second."""
        with self._lock:
            green = self._span(shown_at).rewards
            green[what] = green.get(what, 0) + 1

    def in_time(self, shown_at: int, attribution_seconds: float) -> bool:
        """Whether an answer of that second may still be rewarded now."""
        return -1 <= self._clock() - shown_at < attribution_seconds

    def ripen(self, attribution_seconds: float) -> None:
        """Count what is old enough; called before each report."""
        now = self._clock()
        with self._lock:
            self._width = max(1, int(attribution_seconds) // SPANS)
            ripe = [start for start, span in self._spans.items() if span.end + attribution_seconds <= now]
            for start in sorted(ripe):
                span = self._spans.pop(start)
                for what, count in span.impressions.items():
                    tally = self._tallies.of(what.version)
                    tally.impressions += count
                    tally.under(what.stratum).impressions[what.group] += count
                for what, count in span.rewards.items():
                    tally = self._tallies.of(what.version)
                    tally.rewards += count
                    tally.under(what.stratum).rewards[what.group] += count

    def _span(self, second: int) -> _Span:
        start = second - second % self._width
        found = self._spans.get(start)
        if found is None:
            if len(self._spans) >= MAX_SPANS:
                del self._spans[min(self._spans)]
            found = self._spans[start] = _Span(start + self._width)
        return found
