"""Interactions of two groups of users: what the tests of algorithms stand on."""

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Interactions


def interactions(users: int = 120, items: int = 60, seed: int = 1) -> Interactions:
    """Two groups of users, each with a half of the items; times are drawn, so that a user's items come in any order."""
    chance = np.random.default_rng(seed)
    group = np.arange(users)[:, None] % 2 == np.arange(items)[None, :] % 2
    user, item = np.nonzero(chance.random((users, items)) < np.where(group, 0.35, 0.03))
    return made(user, item, chance.uniform(0.1, 1, user.size), chance.permutation(user.size), n_users=users, n_items=items)


def made(
    users: NDArray[np.integer],
    items: NDArray[np.integer],
    weights: NDArray[np.floating],
    times: NDArray[np.integer],
    *,
    n_users: int | None = None,
    n_items: int | None = None,
) -> Interactions:
    """Interactions of what is given, in the order given; by default the catalogue ends with the last user and item."""
    return Interactions(
        users=users.astype(np.int32),
        items=items.astype(np.int32),
        weights=weights.astype(np.float32),
        times=times.astype(np.int64),
        n_users=int(users.max()) + 1 if n_users is None else n_users,
        n_items=int(items.max()) + 1 if n_items is None else n_items,
    )


def dense(known: Interactions) -> NDArray[np.float64]:
    """The weights as a matrix of users by items."""
    matrix = np.zeros((known.n_users, known.n_items))
    matrix[known.users, known.items] = known.weights
    return matrix
