"""How long events took from their producer to the answers: a rolling distribution in bounded memory."""

from bisect import bisect_left
from collections import deque

BOUNDS_MS = (5, 10, 20, 35, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000, 10_000, 30_000, 60_000, 600_000)
"""Upper bounds of the classes, milliseconds; one more is open."""
WINDOW_S = 300
"""Seconds looked back on."""
_SPAN_S = 10


class Delays:
    """Counts by class, in spans of ten seconds. Written by one thread; a reader may be an event behind."""

    def __init__(self) -> None:
        self._spans: deque[tuple[int, list[int]]] = deque(maxlen=WINDOW_S // _SPAN_S)

    def take(self, milliseconds: float, now: float) -> None:
        """Count one delay; `now` in seconds, from any clock that does not go back."""
        start = int(now) // _SPAN_S
        if not self._spans or self._spans[-1][0] != start:
            self._spans.append((start, [0] * (len(BOUNDS_MS) + 1)))
        self._spans[-1][1][bisect_left(BOUNDS_MS, milliseconds)] += 1

    def quantiles(self, now: float) -> tuple[int, float, float]:
        """How many there were in the window, and the upper bounds of the classes that hold the median and the 99th percentile."""
        oldest = int(now) // _SPAN_S - WINDOW_S // _SPAN_S
        rows = [counts for start, counts in list(self._spans) if start > oldest]
        total = [sum(column) for column in zip(*rows, strict=True)] if rows else []
        return sum(total), _bound(total, 0.5), _bound(total, 0.99)


def _bound(counts: list[int], share: float) -> float:
    wanted, seen = share * sum(counts), 0
    for bound, count in zip((*BOUNDS_MS, float("inf")), counts, strict=False):
        seen += count
        if count and seen >= wanted:
            return float(bound)
    return 0.0
