"""Likes by context: one cell for each declared value of each declared key; likes fade, and few of them say little.

An item's popularity in a cell is its popularity everywhere times how many more likes it has there than were to be expected, drawn towards
1 (a Gamma prior on the ratio of Poisson rates: DuMouchel, "Bayesian data mining in large frequency tables", The American Statistician
1999). Of several keys the ratios are multiplied, as if they were independent.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from ray_apps.serving.online.popularity import Worth
from ray_apps.serving.shelf import Shelf
from recsys_schemas.filters import ContextValue
from recsys_schemas.serving_record import ContextCounting, ContextKey

MOST_ITEMS = 10_000
"""Items of which likes are counted in one cell; those that were liked first are forgotten first."""
MOST_PAIRS = 200_000
"""Users' likes of items that are remembered, so that each counts once."""
_DAY_MS = 86_400_000.0
_REBASED_AFTER = 200.0
"""Half-lives, after which weights are made small again."""
_ARMS = 8

logger = logging.getLogger(__name__)
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The likes of one value of one key, as they were at one moment; replaced as a whole."""

    total: float
    items: Sequence[str]
    weights: Floats
    """Likes of each item, faded. Shape (items,)."""
    _places: list[tuple[Shelf, NDArray[np.int64], Floats]] = field(default_factory=list[tuple[Shelf, NDArray[np.int64], Floats]])

    def on(self, shelf: Shelf) -> tuple[NDArray[np.int64], Floats]:
        """Places of those that a shelf has, and their likes."""
        for of, places, weights in self._places:
            if of is shelf:
                return places, weights
        found = [(place, weight) for item, weight in zip(self.items, self.weights, strict=True) if (place := shelf.place(item)) is not None]
        places = np.array([place for place, _ in found], dtype=np.int64)
        weights = np.array([weight for _, weight in found])
        self._places.append((shelf, places, weights))
        del self._places[:-_ARMS]
        return places, weights


class Contexts:
    """What is liked in which context. Written by one thread, read by any."""

    def __init__(self, counting: ContextCounting, clock: Callable[[], float] = time.time) -> None:
        """Begin with nothing; `clock` tells seconds since the epoch."""
        self.counting = counting
        self._clock = clock
        self._begun = clock() * 1000
        self._likes: dict[tuple[str, str], OrderedDict[str, float]] = {}
        self._pairs: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._moved: set[tuple[str, str]] = set()
        self.cells: Mapping[tuple[str, str], Cell] = {}
        """(key, value) → its likes."""

    def take(self, user: str, item: str, at_ms: int, said: Mapping[str, ContextValue]) -> None:
        """A user likes an item, in a context; once for each pair that is remembered."""
        if (user, item) in self._pairs:
            return
        self._pairs[user, item] = None
        if len(self._pairs) > MOST_PAIRS:
            self._pairs.popitem(last=False)
        worth = 2.0 ** min(self._half_lives(at_ms), _REBASED_AFTER)
        for named in self._named(said, at_ms / 1000):
            likes = self._likes.setdefault(named, OrderedDict())
            likes[item] = likes.get(item, 0.0) + worth
            if len(likes) > MOST_ITEMS:
                likes.popitem(last=False)
            self._moved.add(named)

    def refresh(self) -> bool:
        """Make the cells that have moved anew; False when none has."""
        if not self._moved:
            return False
        now = self._half_lives(self._clock() * 1000)
        if now > _REBASED_AFTER / 2:
            self._rebase(now)
            now = 0.0
        moved, self._moved = self._moved, set()
        fresh = dict(self.cells)
        for named in moved:
            likes = self._likes[named]
            weights = np.fromiter(likes.values(), np.float64, len(likes)) * 2.0**-now
            fresh[named] = Cell(total=float(weights.sum()), items=list(likes), weights=weights)
        self.cells = fresh
        return True

    def within(self, said: Mapping[str, ContextValue]) -> list[Cell]:
        """The cells of a question that is asked now; none where nothing declared is said, or nothing was liked there."""
        cells = self.cells
        return [cells[named] for named in self._named(said, self._clock()) if named in cells] if cells else []

    def _half_lives(self, at_ms: float) -> float:
        return (at_ms - self._begun) / (self.counting.half_life_days * _DAY_MS)

    def _rebase(self, now: float) -> None:
        self._begun = self._clock() * 1000
        for named, likes in self._likes.items():
            self._likes[named] = OrderedDict((item, weight * 2.0**-now) for item, weight in likes.items())
            self._moved.add(named)

    def _named(self, said: Mapping[str, ContextValue], seconds: float) -> list[tuple[str, str]]:
        named = ((key.name, _value(key, said, seconds)) for key in self.counting.keys)
        return [(name, value) for name, value in named if value is not None]


def _value(key: ContextKey, said: Mapping[str, ContextValue], seconds: float) -> str | None:
    """The declared value that a context has of a key; the part of the day is known without being said."""
    if key.hours:
        zone = _zone(key.time_zone)
        if zone is None:
            return None
        hour = datetime.fromtimestamp(seconds, zone).hour
        return str(max((start for start in key.hours if start <= hour), default=key.hours[-1]))
    word = said.get(key.name)
    if word is None:
        return None
    text = str(word).strip().casefold()
    return next((value for value in key.values if value.casefold() == text), None)


@cache
def _zone(name: str | None) -> tzinfo | None:
    """Whose clock; None, and a word in the log, for one that this machine does not know."""
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        words = {"event": "UnknownTimeZone", "reason": f"spec.serving.popularity.contexts: timeZone {name!r} is not known here"}
        logger.error("the part of the day says nothing", extra=words)  # noqa: TRY400 - the trace would say no more
        return None


def in_context(worth: Worth, shelf: Shelf, cells: Sequence[Cell], shrinkage: float) -> Floats:
    """How much each place is liked in these cells at once, on the scale of `worth`. Shape (places,)."""
    scores = worth.astype(np.float64)
    total = scores.sum()
    if total <= 0:
        scores, total = np.full(scores.size, 0.5), scores.size / 2.0
    part = np.maximum(scores, 0.5) / total
    for cell in cells:
        lift = shrinkage / (cell.total * part + shrinkage)
        places, weights = cell.on(shelf)
        lift[places] = (weights + shrinkage) / (cell.total * part[places] + shrinkage)
        scores = np.maximum(scores, 0.5) * lift
    return scores
