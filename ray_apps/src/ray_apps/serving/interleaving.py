"""Team-draft interleaving (Radlinski, Kurup & Joachims 2008): one list from two, fair to both. Pure, but for the coin that is handed in."""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Picked(NamedTuple):
    """One place of a mixed list."""

    item: str
    of_candidate: bool


def team_draft(stable: Sequence[str], candidate: Sequence[str], k: int, coin: Callable[[], bool]) -> list[Picked]:
    """Mix two ranked lists as captains pick teams.

    Who has fewer picks is next, a coin decides between equals, and each picks its best that is left. So a list earns credit only for what
    it ranked, and neither is shown higher up in the long run.

    Args:
        stable: Items, best first.
        candidate: The same of the other version.
        k: How many at most.
        coin: True lets the candidate pick first among equals.

    >>> [place.item for place in team_draft(["a", "b"], ["b", "c"], 3, lambda: False)]
    ['a', 'b', 'c']
    """
    picked: list[Picked] = []
    taken: set[str] = set()
    lists = (list(reversed(stable)), list(reversed(candidate)))
    counts = [0, 0]
    while len(picked) < k and (lists[0] or lists[1]):
        team = int(coin()) if counts[0] == counts[1] else int(counts[1] < counts[0])
        item = _best_left(lists[team], taken)
        if item is None:
            team = 1 - team
            item = _best_left(lists[team], taken)
            if item is None:
                break
        taken.add(item)
        counts[team] += 1
        picked.append(Picked(item, bool(team)))
    return picked


def _best_left(upside_down: list[str], taken: set[str]) -> str | None:
    while upside_down:
        item = upside_down.pop()
        if item not in taken:
            return item
    return None
