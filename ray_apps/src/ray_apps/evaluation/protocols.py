"""Splits of published tables, for comparison with them: they know the future of other users, which a model in service does not."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Histories, Interactions
from ray_apps.evaluation.splits import Split, split_at

FOLDED_IN = 0.8
"""Share of a held-out user's history that a model is told."""
LEAST_HISTORY = 5
"""Users with fewer interactions are not held out under strong generalisation."""


def leave_one_out(interactions: Interactions, seed: int, which: Literal["last", "random"] = "last") -> Split:
    """Hold out one interaction of each user that has at least two: the newest, or one drawn by the seed.

    Args:
        interactions: Everything known.
        seed: Draws the interactions.
        which: Of several newest ones of a user, the last in the catalogue's order is taken.

    Source: He et al., "Neural collaborative filtering", WWW 2017 (last); the same with a random one is common for MovieLens.
    """
    counts = np.bincount(interactions.users, minlength=interactions.n_users)
    last = np.cumsum(counts) - 1
    if which == "last":
        order = np.lexsort((interactions.items, interactions.times, interactions.users))
        chosen = order[last[counts > 1]]
    else:
        drawn = np.random.default_rng(seed).integers(np.maximum(counts, 1))
        chosen = (last - counts + 1 + drawn)[counts > 1]
    held = np.zeros(len(interactions), dtype=np.bool_)
    held[chosen] = True
    words = "each user's newest interaction" if which == "last" else f"one interaction of each user, drawn by seed {seed}"
    return split_at(interactions, held, words)


def strong_generalisation(interactions: Interactions, seed: int, users: int) -> Split:
    """Hold out whole users: nothing of them is in training, and a model is told FOLDED_IN of each one's history, to find the rest.

    Only users with LEAST_HISTORY interactions are held out. As in the source, items that nobody in training liked are neither told nor
    asked for; a user for whom nothing remains to be told or found is not measured.

    Args:
        interactions: Everything known.
        seed: Draws the users and what is told of each.
        users: How many are held out; at most half of those that could be.

    Source: Liang et al., "Variational autoencoders for collaborative filtering", WWW 2018, section 4.1.
    """
    chance = np.random.default_rng(seed)
    able = np.flatnonzero(np.bincount(interactions.users, minlength=interactions.n_users) >= LEAST_HISTORY)
    chosen = np.zeros(interactions.n_users, dtype=np.bool_)
    chosen[chance.permutation(able)[: min(users, able.size // 2)]] = True
    held = chosen[interactions.users]
    train = interactions.take(~held)
    told, asked = _divided(interactions.take(held & (train.popularity() > 0)[interactions.items]), chance)
    measured = np.intersect1d(told.users, asked.users).astype(np.int32)
    return Split(
        held=held,
        train=train,
        users=measured,
        relevant=_rows(asked, measured),
        words=f"{measured.size} whole users drawn by seed {seed}, {FOLDED_IN:.0%} of each one's history told (strong generalisation)",
        shown=_rows(told, measured),
    )


def _divided(known: Interactions, chance: np.random.Generator) -> tuple[Interactions, Interactions]:
    """FOLDED_IN of each user's interactions at random, and the rest, rounded down."""
    order = np.lexsort((chance.random(len(known)), known.users))
    counts = np.bincount(known.users, minlength=known.n_users)
    place = np.arange(len(known)) - np.repeat(np.cumsum(counts) - counts, counts)
    asked: NDArray[np.bool_] = np.zeros(len(known), dtype=np.bool_)
    asked[order] = place < np.floor((1 - FOLDED_IN) * counts + 1e-9)[known.users[order]]
    return known.take(~asked), known.take(asked)


def _rows(known: Interactions, users: NDArray[np.int32]) -> Histories:
    return known.histories().select(users)
