"""How soon a user is believed: chosen on users that training leaves out, as they were after a few likes and after many."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Indices, Interactions, Weights

GRID = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Likes after which what is known of a user weighs as much as what is not."""
MIDDLE = 30.0
"""Taken when there are too few users to choose with."""
PREFIXES = (1, 3, 10, 30, 100)
"""How many of their first likes are known of the users that are left out."""
LEFT_OUT, MOST_LEFT_OUT, LEAST_LEFT_OUT = 0.1, 200, 10
LEAST_TO_FIND = 2
"""A user of whom less is left to find says nothing."""
LENGTH = 10

Both = Callable[[Indices, Weights], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""The two scores of all items that are to be blended, for a history."""


def best_shrinkage(interactions: Interactions, seed: int, fit: Callable[[Interactions], Both]) -> float:
    """The k of n / (n + k) with the best mean NDCG@10 over users that are not learned from, each after their first likes.

    Args:
        interactions: Everything known.
        seed: Draws the users.
        fit: Learns from a part of it.

    Source: validation on held-out users, as in Liang, Krishnan, Hoffman & Jebara, WWW 2018 (strong generalisation).
    """
    counts = np.bincount(interactions.users, minlength=interactions.n_users)
    able = np.flatnonzero(counts >= PREFIXES[1] + LEAST_TO_FIND)
    wanted = min(MOST_LEFT_OUT, int(LEFT_OUT * able.size))
    if wanted < LEAST_LEFT_OUT:
        return MIDDLE
    chosen = np.sort(np.random.default_rng(seed).choice(able, size=wanted, replace=False))
    both = fit(interactions.take(~np.isin(interactions.users, chosen)))
    gained = np.zeros(len(GRID))
    for user in chosen:
        own = np.flatnonzero(interactions.users == user)
        own = own[np.lexsort((interactions.items[own], interactions.times[own]))]
        for known in PREFIXES:
            if own.size - known >= LEAST_TO_FIND:
                gained += _gains(both, interactions, own[:known], own[known:])
    return GRID[int(gained.argmax())]


def _gains(both: Both, interactions: Interactions, known: NDArray[np.int64], later: NDArray[np.int64]) -> NDArray[np.float64]:
    """NDCG@10 of what came later, for each k of the grid."""
    known = known[np.argsort(interactions.items[known])]
    history = interactions.items[known]
    collaborative, content = both(history, interactions.weights[known])
    gains = np.empty(len(GRID))
    for place, shrinkage in enumerate(GRID):
        believed = history.size / (history.size + shrinkage)
        blended = believed * collaborative + (1 - believed) * content
        blended[history] = -np.inf
        gains[place] = _ndcg(blended, interactions.items[later])
    return gains


def _ndcg(scores: NDArray[np.float64], relevant: Indices) -> float:
    length = min(LENGTH, scores.size)
    top = np.argpartition(-scores, length - 1)[:length]
    top = top[np.lexsort((top, -scores[top]))]
    gains = 1 / np.log2(np.arange(2, length + 2))
    return float(np.isin(top, relevant) @ gains / gains[: min(relevant.size, length)].sum())
