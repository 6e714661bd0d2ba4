"""How far a user is believed after so many likes: learned within training, on what a fit of its own is not shown.

Two kinds of users tell. The newest are left out whole, and looked at as they were after some likes: what they go on to like is what is
liked these days. Of others the newest likes are left out: those users have seen what everybody likes, and tell how far a history goes, be
it a short one. A history does not say of which kind its user is; who asks knows whether training has seen the user. Up to FAMILIAR likes
both are believed as newcomers are.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Indices, Interactions, Weights

PREFIXES = (1, 3, 6, 10, 30, 100)
"""Numbers of likes for which a share is learned; between them it is interpolated."""
FEW = 3
"""The first so many are learned on new users for all; the others on users who were there before, and on new ones for those."""
FAMILIAR = PREFIXES[FEW]
"""So many likes make a user who was there before."""
GRID = np.array([0.0, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0])
"""Shares that the collaborative scores may have."""
CAUTIOUS, CAUTIOUS_OF_NEWCOMERS = np.array([0.1, 0.1, 0.2, 0.5, 0.8, 1.0]), np.array([0.1, 0.1, 0.2, 0.2, 0.35, 0.5])
"""Taken when there are too few users to learn from."""
LEFT_OUT, MOST_LEFT_OUT, LEAST_LEFT_OUT = 0.1, 200, 10
"""Share of the users who are left out whole, the most and the fewest; and share of the likes of the others."""
MOST_ASKED = 600
"""Of the others so many are asked at most."""
LEAST_TO_FIND = 2
"""A new user of whom less is left to find says nothing."""
LENGTH = 10

EARLIER = (1, 3, 10, 30, 100)
"""The prefixes of versions that were made before newcomers were looked at apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beliefs:
    """Shares of the collaborative scores for each of PREFIXES, never falling, from 0 to 1; both of shape (prefixes,)."""

    regulars: NDArray[np.float64]
    """Of users whom training knows."""
    newcomers: NDArray[np.float64]
    """Of all others, the same for the first FEW."""
    gained: float = 0.0
    """The sum of NDCG@10 that the regulars' shares gave, over all who were asked; 0 where nobody could be."""


Both = Callable[[Indices, Weights], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""The two scores of all items that are to be blended, for a history."""


def belief(beliefs: NDArray[np.float64], likes: int) -> float:
    """Share of the collaborative scores for a user with so many likes: 0 for none, between the prefixes by the logarithm."""
    if not likes:
        return 0.0
    return float(np.interp(np.log(likes), np.log(PREFIXES), beliefs))


def at_prefixes(beliefs: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shares of a version, shape (prefixes,): those of an earlier one with a step more between them, which changes no share."""
    if beliefs.size != len(EARLIER):
        return beliefs
    return np.interp(np.log(PREFIXES), np.log(EARLIER), beliefs)


def beliefs_of(interactions: Interactions, seed: int, fit: Callable[[Interactions], Both]) -> Beliefs:
    """The shares with the best sums of NDCG@10.

    Args:
        interactions: Everything known.
        seed: Draws from the users who were there before, when there are more than needed.
        fit: Learns from a part of it.

    Source: users held out whole, as in Liang, Krishnan, Hoffman & Jebara, WWW 2018 (strong generalisation).
    """
    order = np.lexsort((interactions.items, interactions.times, interactions.users))
    counts = np.bincount(interactions.users, minlength=interactions.n_users)
    starts = np.cumsum(counts) - counts
    able = np.flatnonzero(counts >= PREFIXES[1] + LEAST_TO_FIND)
    wanted = min(MOST_LEFT_OUT, int(LEFT_OUT * able.size))
    if wanted < LEAST_LEFT_OUT:
        return Beliefs(regulars=CAUTIOUS.copy(), newcomers=CAUTIOUS_OF_NEWCOMERS.copy())
    began = interactions.times[order][np.minimum(starts, order.size - 1)]
    new = able[np.lexsort((able, -began[able]))[:wanted]]
    kept = np.minimum(np.floor(counts * (1 - LEFT_OUT)), counts - 1).astype(np.int64)
    old = np.setdiff1d(np.flatnonzero(kept >= FAMILIAR), new)
    if old.size > MOST_ASKED:
        old = np.sort(np.random.default_rng(seed).choice(old, size=MOST_ASKED, replace=False))
    shown = np.ones(order.size, dtype=np.bool_)
    for users, knows in ((new, np.zeros_like(kept)), (old, kept)):
        for user in users:
            shown[order[starts[user] + knows[user] : starts[user] + counts[user]]] = False
    both = fit(interactions.take(shown))
    gained, welcomed, tell = np.zeros((len(PREFIXES), GRID.size)), np.zeros((len(PREFIXES), GRID.size)), np.zeros(len(PREFIXES))
    for user in new:
        own = order[starts[user] : starts[user] + counts[user]]
        for row, known in enumerate(PREFIXES):
            if own.size - known >= LEAST_TO_FIND:
                welcomed[row] += _gains(both, interactions, own[:known], own[known:])
                tell[row] += 1
    gained[:FEW] = welcomed[:FEW]
    for user in old:
        own = order[starts[user] : starts[user] + counts[user]]
        row = int(np.abs(np.log(PREFIXES[FEW:]) - np.log(kept[user])).argmin()) + FEW
        gained[row] += _gains(both, interactions, own[: kept[user]], own[kept[user] :])
    chosen = rising(gained)
    won = float(gained[np.arange(len(PREFIXES)), chosen].sum())
    return Beliefs(regulars=GRID[chosen], newcomers=_of_newcomers(welcomed, tell, chosen[:FEW]), gained=won)


def _of_newcomers(gained: NDArray[np.float64], tell: NDArray[np.float64], few: NDArray[np.int64]) -> NDArray[np.float64]:
    """Shares for newcomers that begin with those of the first FEW, and stay where they were from where too few newcomers tell."""
    gained[:FEW][np.arange(GRID.size) != few[:, None]] = -np.inf
    told = (tell >= LEAST_LEFT_OUT) | (np.arange(tell.size) < FEW)
    return np.interp(np.log(PREFIXES), np.log(np.array(PREFIXES)[told]), GRID[rising(gained[told])])


def rising(gained: NDArray[np.float64]) -> NDArray[np.int64]:
    """A column for each row, never falling, with the greatest sum; of equal ones the rightmost."""
    best = gained[0]
    came = np.zeros(gained.shape, dtype=np.int64)
    for row in range(1, len(gained)):
        so_far = np.maximum.accumulate(best)
        came[row] = [int(np.flatnonzero(best[: column + 1] == best[: column + 1].max())[-1]) for column in range(best.size)]
        best = so_far + gained[row]
    path = [int(np.flatnonzero(best == best.max())[-1])]
    for row in range(len(gained) - 1, 0, -1):
        path.append(int(came[row, path[-1]]))
    return np.array(path[::-1], dtype=np.int64)


def _gains(both: Both, interactions: Interactions, known: NDArray[np.int64], later: NDArray[np.int64]) -> NDArray[np.float64]:
    """NDCG@10 of what came later, for each share of the grid."""
    known = known[np.argsort(interactions.items[known])]
    history = interactions.items[known]
    collaborative, content = both(history, interactions.weights[known])
    gains = np.empty(GRID.size)
    for place, share in enumerate(GRID):
        blended = share * collaborative + (1 - share) * content
        blended[history] = -np.inf
        gains[place] = _ndcg(blended, interactions.items[later])
    return gains


def _ndcg(scores: NDArray[np.float64], relevant: Indices) -> float:
    length = min(LENGTH, scores.size)
    top = np.argpartition(-scores, length - 1)[:length]
    top = top[np.lexsort((top, -scores[top]))]
    gains = 1 / np.log2(np.arange(2, length + 2))
    return float(np.isin(top, relevant) @ gains / gains[: min(relevant.size, length)].sum())
