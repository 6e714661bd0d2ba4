"""Holding out inside a fit: what an algorithm that has something to choose chooses by. Nothing of it is ever a result."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Histories, Interactions

SHARE = 0.1
"""Of each user's items, the newest so many are held out, and at least one."""
MOST_USERS = 1_000
MOST_SCORES = 10_000_000
"""Scores of one model that are held in memory at a time, 40 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Interactions to learn from; histories of some users in them, and what these went on to like: row u of both is one user."""

    train: Interactions
    histories: Histories
    relevant: Histories


def held_out(interactions: Interactions, seed: int) -> HeldOut:
    """Hold out the newest items of users who have at least two; of a seeded sample, when they are many."""
    counts = np.bincount(interactions.users, minlength=interactions.n_users)
    able = np.flatnonzero(counts >= 2)
    most = max(1, min(MOST_USERS, MOST_SCORES // max(interactions.n_items, 1)))
    users = np.sort(np.random.default_rng(seed).choice(able, size=min(most, able.size), replace=False))
    held = _newest(interactions, counts) & np.isin(interactions.users, users)
    train = interactions.take(~held)
    return HeldOut(train=train, histories=train.histories().select(users), relevant=interactions.take(held).histories().select(users))


def _newest(interactions: Interactions, counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    kept = counts - np.maximum(1, np.floor(SHARE * counts))
    order = np.lexsort((interactions.items, interactions.times, interactions.users))
    users = interactions.users[order]
    starts = np.cumsum(counts) - counts
    newest = np.empty(len(interactions), dtype=np.bool_)
    newest[order] = np.arange(len(interactions)) - starts[users] >= kept[users]
    return newest
