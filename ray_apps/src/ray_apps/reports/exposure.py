"""Whom a model shows: how its lists are spread over popular and rare items, beside how the events are."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Histories, Indices, Weights

MOST_USERS = 500
LIST = 20
TENTHS = 10

Score = Callable[[Indices, Weights], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Where the lists of some users go; items are ordered by how many users liked them, and cut into ten equally large parts."""

    users: int
    """So many lists of up to LIST items were made."""
    shown: tuple[float, ...]
    """Part of the list places that each tenth of the items has, the most popular tenth first."""
    liked: tuple[float, ...]
    """Part of the interactions that each tenth has."""
    top: tuple[tuple[str, float], ...]
    """The ten items shown to most of these users, and to what part of them."""


def exposure(score: Score, histories: Histories, popularity: NDArray[np.int64], item_ids: Callable[[int], str]) -> Exposure | None:
    """Make lists for some users, evenly drawn, without what they have seen; None when there is nobody or nothing to show.

    Args:
        score: Scores of all items for one history.
        histories: Of all users.
        popularity: Users who liked each item, shape (n_items,).
        item_ids: Id of an item by its index.
    """
    known = np.flatnonzero(np.diff(histories.indptr))
    chosen = known[np.linspace(0, known.size - 1, min(known.size, MOST_USERS)).astype(np.int64)] if known.size else known
    if not chosen.size or popularity.size < TENTHS:
        return None
    counts = np.zeros(popularity.size, dtype=np.int64)
    for user in chosen:
        history, weights = histories.of(int(user))
        scores = np.array(score(history, weights), dtype=np.float64)
        scores[history] = -np.inf
        best = np.argpartition(-scores, min(LIST, scores.size - 1))[:LIST]
        counts[best[np.isfinite(scores[best])]] += 1
    order = np.argsort(-popularity, kind="stable")
    most = np.argsort(-counts, kind="stable")[:10]
    return Exposure(
        users=chosen.size,
        shown=_tenths(counts[order]),
        liked=_tenths(popularity[order]),
        top=tuple((item_ids(int(item)), float(counts[item] / chosen.size)) for item in most if counts[item]),
    )


def _tenths(counts: NDArray[np.int64]) -> tuple[float, ...]:
    total = max(int(counts.sum()), 1)
    return tuple(float(part.sum() / total) for part in np.array_split(counts, TENTHS))
