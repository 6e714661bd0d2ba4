"""From scores to the best k items. Pure."""

import math

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
Indices = NDArray[np.integer]


PER_GROUP = 64
"""Scores in a group, of which the largest is found before any are put in order."""


class ArmFailure(Exception):  # noqa: N818 - a failure that is answered, not an error
    """An arm could not answer; the request goes to the next one in the fallback chain."""


def top_k(scores: Scores, k: int, banned: Indices) -> tuple[Indices, Scores]:
    """The k best items that are not banned, best first; ties go to the lower index.

    Args:
        scores: One score per item, shape (items,).
        k: How many at most.
        banned: Indices of items not to show, in any order, repeats allowed.

    Returns:
        Indices and their scores, both of shape (at most k,).

    Raises:
        ArmFailure: a score is NaN or infinite, or there is not one score per item.
    """
    if scores.ndim != 1:
        raise ArmFailure(f"scores: shape {scores.shape}; one score per item was expected")
    # A product with itself is finite only if all numbers are, and is one pass; one that is not may only be too large.
    if scores.size and not (math.isfinite(scores.dot(scores)) or (math.isfinite(scores.min()) and math.isfinite(scores.max()))):
        raise ArmFailure(f"scores: {int((~np.isfinite(scores)).sum())} of {scores.size} are not finite")
    masked = scores
    if banned.size:
        masked = scores.copy()
        masked[banned] = -np.inf
    if k > scores.size - banned.size:
        k = min(k, scores.size - int(np.isneginf(masked).sum()))
    if k <= 0:
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=scores.dtype)
    among = (masked >= _reached_by(masked, k)).nonzero()[0]
    values = masked[among]
    order = (-values).argsort(kind="stable")[:k]
    return among[order], values[order]


def _reached_by(scores: Scores, k: int) -> float:
    """A score that at least k of them reach, and of long arrays not many more: the k-th largest of the groups' largest, else of all."""
    groups = scores.size // PER_GROUP
    if groups > k:
        scores = np.maximum.reduce(scores[: groups * PER_GROUP].reshape(PER_GROUP, groups))
    return float(np.partition(scores, scores.size - k)[scores.size - k])


def first_allowed(order: Indices, k: int, banned: set[int]) -> list[int]:
    """The first k indices of a ready order that are not banned."""
    chosen: list[int] = []
    for index in order:
        if int(index) not in banned:
            chosen.append(int(index))
            if len(chosen) == k:
                break
    return chosen
