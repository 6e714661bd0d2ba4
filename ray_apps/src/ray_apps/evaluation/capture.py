"""Capture: which part of the lists of known users has gone to items that only newcomers brought up.

Somebody who makes many users up, and lets them like what all like and a few items of theirs, wants these items in everybody's lists (a
shilling attack: Lam & Riedl, "Shilling recommender systems for fun and profit", WWW 2004). A new release is liked by newcomers and by
known users alike; such items are not.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.columns import counted
from ray_apps.algorithms.interactions import Indices, Interactions
from ray_apps.evaluation.measuring import LONGEST, ScoreMany
from ray_apps.evaluation.quiz import top_lists
from ray_apps.evaluation.ranking import Value

MOST_USERS = 300
LEAST_NEWCOMERS = 5
Z = 3.0
"""Standard errors by which an item's part of newcomers must exceed what is expected: there are many items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """Suspicious items, those with the largest part of the lists first, and that part for each known user, less the champion's."""

    newcomers: int
    items: Indices
    share: Value


def suspicious(interactions: Interactions, newcomers: NDArray[np.bool_], unseen: NDArray[np.bool_]) -> Indices:
    """Items whose new lovers are newcomers far more than those of other items.

    With r the newcomers' part of all new interactions, an item that nobody had is expected to have new lovers of whom the part r are
    newcomers; one that the part p of the known users had before has the fewer known users left, so its odds are r / (1 - r) / (1 - p). An
    item is suspicious when the lower end of Wilson's interval of the part found lies nearer to 1 than to the part expected. When all
    new interactions are newcomers', nothing can be told, and no item is.

    Args:
        interactions: Everything known.
        newcomers: Users that the champion did not know, shape (n_users,).
        unseen: Interactions that the champion did not learn from, shape (interactions,).
    """
    users, items, count = interactions.users, interactions.items, interactions.n_items
    new = counted(items, count, lambda part: unseen[part])
    fresh = counted(items, count, lambda part: unseen[part] & newcomers[users[part]])
    known = np.count_nonzero(counted(users, interactions.n_users, lambda part: ~unseen[part]))
    left = 1 - counted(items, count, lambda part: ~unseen[part]) / max(known, 1)
    total, ours = int(new.sum()), int(fresh.sum())
    expected = ours / np.maximum(ours + (total - ours) * left, 1e-9)
    trials = np.maximum(new, 1)
    part, z2 = fresh / trials, Z * Z
    low = (part + z2 / (2 * trials) - Z * np.sqrt(part * (1 - part) / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
    return np.flatnonzero((low > (1 + expected) / 2) & (fresh >= LEAST_NEWCOMERS)).astype(np.int32)


def captured(  # noqa: PLR0913, PLR0917 - two models over one population
    candidate: ScoreMany,
    champion: ScoreMany,
    interactions: Interactions,
    newcomers: NDArray[np.bool_],
    unseen: NDArray[np.bool_],
    seed: int,
) -> Captured | None:
    """Compare the lists of a sample of known users; None when the champion knew everybody, or nobody."""
    known = interactions.active()
    known = known[~newcomers[known]]
    if not newcomers.any() or not known.size:
        return None
    items = suspicious(interactions, newcomers, unseen)
    if known.size > MOST_USERS:
        known = np.sort(np.random.default_rng(seed).choice(known, size=MOST_USERS, replace=False))
    histories = interactions.told().select(known)
    ours, theirs = (np.zeros((known.size, LONGEST), dtype=np.bool_) for _ in range(2))
    counts = np.zeros(interactions.n_items, dtype=np.int64)
    if items.size:
        lists = top_lists(candidate, histories, LONGEST)
        ours, theirs = np.isin(lists, items), np.isin(top_lists(champion, histories, LONGEST), items)
        np.add.at(counts, lists[ours], 1)
    order = np.lexsort((items, -counts[items]))
    share = Value(per_user=ours.mean(axis=1) - theirs.mean(axis=1), lowest=-1.0)
    return Captured(newcomers=int(newcomers.sum()), items=items[order], share=share)
