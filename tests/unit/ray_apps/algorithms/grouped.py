"""Interactions of two groups of users: what the tests of algorithms stand on."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.content import content_of
from ray_apps.algorithms.interactions import Content, Interactions
from recsys_schemas.catalogue import CatalogueItem


def interactions(users: int = 120, items: int = 60, seed: int = 1) -> Interactions:
    """Two groups of users, each with a half of the items, told by a genre; times are drawn, so that a user's items come in any order."""
    chance = np.random.default_rng(seed)
    group = np.arange(users)[:, None] % 2 == np.arange(items)[None, :] % 2
    user, item = np.nonzero(chance.random((users, items)) < np.where(group, 0.35, 0.03))
    known = made(user, item, chance.uniform(0.1, 1, user.size), chance.permutation(user.size), n_users=users, n_items=items)
    return replace(known, content=halves(items))


def halves(items: int, unknown: Sequence[int] = ()) -> Content:
    """Each item has the genre of its half; of some nothing is known."""
    ids = [f"{item:06d}" for item in range(items)]
    described = [
        CatalogueItem(item_id=name, genres=["odd" if item % 2 else "even"]) for item, name in enumerate(ids) if item not in unknown
    ]
    return content_of(described, ids)


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
