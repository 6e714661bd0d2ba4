"""Holding out inside a fit: what an algorithm that has something to choose chooses by. Nothing of it is ever a result."""

from dataclasses import dataclass

import numpy as np

from ray_apps.algorithms.interactions import Histories, Interactions

SHARE = 0.1
"""Of each user's items so many are held out, and at least one."""
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
    """Hold out some items of users who have at least two; of a seeded sample, when they are many.

    Drawn, not the newest: what is learned from it (weights of models) then speaks of a user at any moment, not of the last one only. Where
    older likes count less when a model is asked, it is the last moment that is meant, and the newest are held out.
    """
    chance = np.random.default_rng(seed)
    counts = np.bincount(interactions.users, minlength=interactions.n_users)
    able = np.flatnonzero(counts >= 2)
    most = max(1, min(MOST_USERS, MOST_SCORES // max(interactions.n_items, 1)))
    users = np.sort(chance.choice(able, size=min(most, able.size), replace=False))
    late = chance.random(len(interactions)) if interactions.half_life is None else -interactions.times
    order = np.lexsort((interactions.items, late, interactions.users))
    place = np.empty(len(interactions), dtype=np.int64)
    place[order] = np.arange(len(interactions)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = np.maximum(1, np.floor(SHARE * counts))
    held = (place < share[interactions.users]) & np.isin(interactions.users, users)
    train = interactions.take(~held)
    return HeldOut(train=train, histories=train.told().select(users), relevant=interactions.take(held).histories().select(users))
