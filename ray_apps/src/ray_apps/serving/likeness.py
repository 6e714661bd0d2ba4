"""Likeness of two ranked lists. Pure."""

from collections.abc import Sequence


def overlap(left: Sequence[str], right: Sequence[str]) -> float:
    """The part of the best k that is in both, 0 to 1; k is the longer list's length. Two empty lists are alike.

    >>> overlap(["a", "b"], ["b", "c"])
    0.5
    """
    most = max(len(left), len(right))
    return len(set(left) & set(right)) / most if most else 1.0


def rank_correlation(left: Sequence[str], right: Sequence[str]) -> float | None:
    """Spearman's correlation of the order of the items that both lists hold, -1 to 1; None with fewer than two of them.

    >>> rank_correlation(["a", "b", "c"], ["c", "b", "a"])
    -1.0
    """
    places = {item: place for place, item in enumerate(right)}
    common = [item for item in left if item in places]
    n = len(common)
    if n < 2:
        return None
    there = {item: place for place, item in enumerate(sorted(common, key=places.__getitem__))}
    squares = sum((place - there[item]) ** 2 for place, item in enumerate(common))
    return 1 - 6 * squares / (n * (n * n - 1))
