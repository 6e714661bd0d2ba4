"""What an algorithm learns from: who liked which item, how strongly, and when."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.recency import faded
from ray_apps.stores.content import Content

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["Content", "Histories", "Indices", "Interactions", "Weights"]

Indices = NDArray[np.int32]
"""Positions in the item (or user) catalogue."""
Weights = NDArray[np.float32]
"""How strongly an item was liked, greater than 0 and at most 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histories:
    """Items that users liked, in compressed sparse rows: user u owns `indices[indptr[u]:indptr[u + 1]]`, ascending."""

    indptr: NDArray[np.int64]
    indices: Indices
    weights: Weights

    def __len__(self) -> int:
        return self.indptr.size - 1

    def of(self, user: int) -> tuple[Indices, Weights]:
        """Item indices and weights of one user, both of shape (liked,)."""
        low, high = int(self.indptr[user]), int(self.indptr[user + 1])
        return self.indices[low:high], self.weights[low:high]

    def select(self, users: NDArray[np.integer]) -> "Histories":
        """The histories of some users, in the order asked."""
        lengths = self.indptr[users + 1] - self.indptr[users]
        indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        flat = np.repeat(self.indptr[users] - indptr[:-1], lengths) + np.arange(indptr[-1])
        return Histories(indptr=indptr, indices=self.indices[flat], weights=self.weights[flat])

    def matrix(self, n_items: int) -> "csr_matrix":
        """The same as a scipy matrix of shape (users, n_items), float32."""
        from scipy.sparse import csr_matrix  # noqa: PLC0415 — serving scores with numpy alone

        return csr_matrix((self.weights, self.indices, self.indptr), shape=(len(self), n_items))


@dataclass(frozen=True, slots=True, kw_only=True)
class Interactions:
    """One entry for each (user, item), sorted by user, then item: the same events give the same arrays in any row order.

    `users`, `items`, `weights` and `times` (milliseconds since the epoch) have shape (interactions,). The catalogue may be wider
    than the entries: a training part keeps the users and items of the whole, and items may be known that nobody has liked yet.
    """

    users: Indices
    items: Indices
    weights: Weights
    times: NDArray[np.int64]
    n_users: int
    n_items: int
    content: Content | None = None
    """What is known of the `n_items` items; None without a catalogue."""
    half_life: float | None = None
    """Likes after which an older one counts half when a model is asked (see `recency`); None: all count alike. Nothing is learned by it."""

    def __len__(self) -> int:
        return self.users.size

    def take(self, chosen: NDArray[np.bool_]) -> "Interactions":
        """The entries where `chosen` is true, over the same catalogue."""
        return replace(self, users=self.users[chosen], items=self.items[chosen], weights=self.weights[chosen], times=self.times[chosen])

    def histories(self) -> Histories:
        """What each user liked, for all `n_users`."""
        counts = np.bincount(self.users, minlength=self.n_users)
        indptr = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        return Histories(indptr=indptr, indices=self.items, weights=self.weights)

    def told(self) -> Histories:
        """The same as a model is told of it when it is asked what a user wants now: with a half-life, older likes count less."""
        if self.half_life is None:
            return self.histories()
        order = np.lexsort((self.items, self.times, self.users))
        later = np.empty(len(self), dtype=np.int64)
        later[order] = np.cumsum(np.bincount(self.users, minlength=self.n_users))[self.users[order]] - 1 - np.arange(len(self))
        return replace(self.histories(), weights=faded(self.weights, later, self.half_life))

    def popularity(self) -> NDArray[np.int64]:
        """How many users liked each item, shape (n_items,)."""
        return np.bincount(self.items, minlength=self.n_items).astype(np.int64)
