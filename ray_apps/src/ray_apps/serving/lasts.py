"""The last answers, for users whose next one cannot be computed in time: bounded, the longest unasked go first."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

MOST = 10_000
"""Users remembered: about 20 MB."""


class Last(NamedTuple):
    """An answer as it was given."""

    version: str
    items: Sequence[tuple[str, float]]


class Lasts:
    """Last answers by who asked. Used on the event loop only."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._of: OrderedDict[str, Last] = OrderedDict()

    def keep(self, who: str, last: Last) -> None:
        """Remember an answer in place of the one before."""
        self._of[who] = last
        self._of.move_to_end(who)
        if len(self._of) > self._most:
            self._of.popitem(last=False)

    def of(self, who: str) -> Last | None:
        """The last answer, if it is remembered."""
        return self._of.get(who)
