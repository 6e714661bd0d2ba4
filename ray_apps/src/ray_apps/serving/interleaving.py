"""Team-draft interleaving (Radlinski, Kurup & Joachims 2008): one list from two, fair to both. Pure, but for the coin that is handed in."""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Picked(NamedTuple):
    """One place of a mixed list."""

    item: str
    of_candidate: bool
    tells: bool = True
    """Whether a click on it says anything: not where the item would be at this very place whichever way the coin had fallen."""


def team_draft(stable: Sequence[str], candidate: Sequence[str], k: int, coin: Callable[[], bool]) -> list[Picked]:
    """Mix two ranked lists as captains pick teams.

    In each round a coin decides who picks first, and each picks its best that is left. So a list earns credit only for what it ranked, and
    neither is shown higher up in the long run. Where both captains would pick the same item first, the coin decides whose it is and not
    what is shown: a click on it is a coin's, and tells nothing. To leave it out changes no mean (for whoever clicks by place alone, each
    side earns as much as before, and both the same), and takes the coin's noise away. An item that both lists hold at different
    places tells something: to leave such out too would favour the list whose other items are shown higher up.

    Args:
        stable: Items, best first.
        candidate: The same of the other version.
        k: How many at most.
        coin: True lets the candidate pick first.

    >>> team_draft(["a", "b"], ["a", "c"], 2, lambda: False)
    [Picked(item='a', of_candidate=False, tells=False), Picked(item='c', of_candidate=True, tells=True)]
    """
    picked: list[Picked] = []
    taken: set[str] = set()
    lists = (list(reversed(stable)), list(reversed(candidate)))
    while len(picked) < k:
        either = (_round(lists, taken, 0), _round(lists, taken, 1))
        if not either[0]:
            break
        first = int(coin())
        drawn, other = either[first], either[1 - first]
        for number, (item, team) in enumerate(drawn[: k - len(picked)]):
            taken.add(item)
            picked.append(Picked(item, bool(team), tells=item != other[number][0]))
    return picked


def _round(upside_down: tuple[list[str], list[str]], taken: set[str], first: int) -> list[tuple[str, int]]:
    """What the two pick, with whose it is; who has nothing left leaves the pick to the other."""
    drawn: list[tuple[str, int]] = []
    for turn in (first, 1 - first):
        before = drawn[0][0] if drawn else None
        for team in (turn, 1 - turn):
            item = _best_left(upside_down[team], taken, before)
            if item is not None:
                drawn.append((item, team))
                break
    return drawn


def _best_left(upside_down: list[str], taken: set[str], before: str | None) -> str | None:
    while upside_down and upside_down[-1] in taken:
        upside_down.pop()
    return next((item for item in reversed(upside_down) if item not in taken and item != before), None)
