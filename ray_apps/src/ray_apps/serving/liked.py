"""Liked: how often each item is rewarded once it is shown, to say what a list would earn that nobody has seen.

Every list is valued with the same rates, so two lists for the same user are compared fairly as far as items' own appeal goes; that one
user likes what another does not, these rates do not know. It is told, and nothing is decided by it.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence

MOST_ITEMS = 100_000
"""Items remembered; those that were shown longest ago are forgotten first."""
PRIOR = 20.0
"""An item's rate begins as that of all items, worth so many answers."""


class Liked:
    """Shown and rewarded, by item."""

    def __init__(self) -> None:
        self._shown: OrderedDict[str, int] = OrderedDict()
        self._rewarded: dict[str, int] = {}
        self._all = [0, 0]
        self._lock = threading.Lock()

    def shown(self, items: Sequence[str]) -> None:
        """An answer held these."""
        with self._lock:
            self._all[0] += len(items)
            for item in items:
                self._shown[item] = self._shown.get(item, 0) + 1
                self._shown.move_to_end(item)
            while len(self._shown) > MOST_ITEMS:
                gone, _ = self._shown.popitem(last=False)
                self._rewarded.pop(gone, None)

    def rewarded(self, item: str) -> None:
        """An event named an answer and this item."""
        with self._lock:
            if item in self._shown:
                self._all[1] += 1
                self._rewarded[item] = self._rewarded.get(item, 0) + 1

    def worth(self, items: Sequence[str]) -> float:
        """Expected rewards of a list, each of its items by its own rate."""
        rate = self._all[1] / self._all[0] if self._all[0] else 0.0
        return sum((self._rewarded.get(item, 0) + rate * PRIOR) / (self._shown.get(item, 0) + PRIOR) for item in items)
