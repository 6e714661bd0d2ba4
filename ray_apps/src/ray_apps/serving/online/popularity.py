"""Popularity that moves: what a version counted in training, and what was liked since."""

from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

MOST_OTHERS = 20_000
"""Items that the version does not know and whose likes are counted; the first that were liked are forgotten first."""


class LivePopularity:
    """Counts of users who liked each item, and the items in that order. Written by one thread, read by any."""

    def __init__(self, trained: NDArray[np.int64], places: Mapping[str, int]) -> None:
        """Begin with the counts of training, shape (items,), and the place of each item among them."""
        self._places = places
        self._trained = trained
        self._since: dict[int, int] = {}
        self._moved = False
        self.turns = 0
        """Grows whenever counts or order are replaced."""
        self.others: OrderedDict[str, int] = OrderedDict()
        """Users who liked an item since that the version does not know; the newest few."""
        self.counts = trained
        """Users who liked each item, shape (items,)."""
        self.order = ordered(trained)
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
        """Bring counts and order up to date, each replaced as a whole; False when nothing has moved."""
        if not self._moved:
            return False
        self._moved = False
        counts = self._trained.copy()
        # Of no length an array would be one of floats: all that was liked since may be new items.
        more = np.fromiter(self._since.values(), counts.dtype, len(self._since))
        counts[np.fromiter(self._since, np.intp, len(self._since))] += more
        self.counts, self.order = counts, ordered(counts)
        self.turns += 1
        return True


def ordered(counts: NDArray[np.int64]) -> NDArray[np.int32]:
    """Places by count, largest first; equal ones by place."""
    return np.argsort(-counts, kind="stable").astype(np.int32)
