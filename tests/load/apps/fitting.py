"""A training job beside the serving: ALS is fitted over and over, as a job on the same head, until it is stopped."""

import os

import numpy as np

from ray_apps.algorithms.als import ALS
from ray_apps.algorithms.interactions import Interactions
from ray_apps.training.workers import GIVES_WAY

USERS, ITEMS, DRAWN = 6000, 4000, 300_000


def drawn_interactions() -> Interactions:
    """Likes that follow no taste: what they cost to learn from is the same."""
    pairs = np.unique(np.random.default_rng(1).integers(0, USERS * ITEMS, DRAWN))
    return Interactions(
        users=(pairs // ITEMS).astype(np.int32),
        items=(pairs % ITEMS).astype(np.int32),
        weights=np.ones(pairs.size, dtype=np.float32),
        times=np.zeros(pairs.size, dtype=np.int64),
        n_users=USERS,
        n_items=ITEMS,
    )


if __name__ == "__main__":
    os.nice(GIVES_WAY)
    known = drawn_interactions()
    while True:
        ALS.fit(known, {}, seed=1)
