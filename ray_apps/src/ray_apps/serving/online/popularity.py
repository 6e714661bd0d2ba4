"""Popularity that moves: what is liked these days as a version found it in training, and what was liked since.

A like of training has faded by then (`onboarding.HALF_LIFE_DAYS`); one since counts one. What those lose until the next version is little.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_OTHERS = 20_000
"""Items that the version does not know and whose likes are counted; the first that were liked are forgotten first."""
Worth = NDArray[np.float64 | np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Likes:
    """What training knew of each item, arrays of shape (items,)."""

    counts: NDArray[np.int64]
    """Users who liked it."""
    recent: NDArray[np.float64] | None = None
    """The same where older likes count less; None for a version that does not know: all count alike then."""


class LivePopularity:
    """How much each item is liked now, and the items in that order. Written by one thread, read by any."""

    def __init__(self, trained: Likes, places: Mapping[str, int]) -> None:
        """Begin with what training knew, and the place of each item."""
        self._places = places
        self._trained = trained
        self._since: dict[int, int] = {}
        self._moved = False
        self.turns = 0
        """Grows whenever counts, worth and order are replaced."""
        self.others: OrderedDict[str, int] = OrderedDict()
        """Users who liked an item since that the version does not know; the newest few."""
        self.counts = trained.counts
        """Users who ever liked each item, shape (items,)."""
        self.worth: Worth = trained.counts if trained.recent is None else trained.recent
        """The same where likes of before training have faded, which is what popular means; shape (items,)."""
        self.order = ordered(self.worth)
        """Places of items, most popular first; equal ones by place. Shape (items,)."""

    def liked(self, item: str) -> None:
        """One more user likes an item; one that the version does not know is counted beside it."""
        place = self._places.get(item)
        if place is not None:
            self._since[place] = self._since.get(place, 0) + 1
        else:
            self.others[item] = self.others.get(item, 0) + 1
            if len(self.others) > MOST_OTHERS:
                self.others.popitem(last=False)
        self._moved = True

    def refresh(self) -> bool:
        """Bring counts, worth and order up to date, each replaced as a whole; False when nothing has moved."""
        if not self._moved:
            return False
        self._moved = False
        trained = self._trained
        counts = trained.counts.copy()
        # Of no length an array would be one of floats: all that was liked since may be new items.
        more = np.fromiter(self._since.values(), counts.dtype, len(self._since))
        counts[np.fromiter(self._since, np.intp, len(self._since))] += more
        worth = counts if trained.recent is None else trained.recent + (counts - trained.counts)
        self.counts, self.worth, self.order = counts, worth, ordered(worth)
        self.turns += 1
        return True


def ordered(worth: Worth) -> NDArray[np.int32]:
    """Places by worth, largest first; equal ones by place."""
    return np.argsort(-worth, kind="stable").astype(np.int32)
