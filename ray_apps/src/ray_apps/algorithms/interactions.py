"""What an algorithm learns from: who liked which item, how strongly, and when."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.columns import Growing, Number, Room, counted, made, pieces, taken, whole_rows
from ray_apps.algorithms.recency import faded
from ray_apps.stores.content import Content

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["Content", "Histories", "Indices", "Interactions", "Weights"]

Indices = NDArray[np.int32]
"""Positions in the item (or user) catalogue."""
Weights = NDArray[np.float32]
"""How strongly an item was liked, greater than 0 and at most 1."""


def ranges(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """All numbers from each start up to its end, one range after another."""
    lengths = ends - starts
    return np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(int(lengths.sum()))


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
        starts, ends = self.indptr[users], self.indptr[users + 1]
        indptr = np.concatenate(([0], np.cumsum(ends - starts))).astype(np.int64)
        flat = ranges(starts, ends)
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
    room: Room | None = None
    """Where these columns lie, and those that are made of them; None: in memory."""

    def __len__(self) -> int:
        return self.users.size

    def take(self, chosen: NDArray[np.bool_]) -> "Interactions":
        """The entries where `chosen` is true, over the same catalogue."""
        return replace(
            self,
            users=taken(self.users, chosen, self.room),
            items=taken(self.items, chosen, self.room),
            weights=taken(self.weights, chosen, self.room),
            times=taken(self.times, chosen, self.room),
        )

    def of_users(self, users: NDArray[np.integer]) -> "Interactions":
        """The entries of some users, in memory, over the same catalogue."""
        own = self.places_of(users)
        mine = {"users": self.users[own], "items": self.items[own], "weights": self.weights[own], "times": self.times[own]}
        return replace(self, **mine, room=None)

    def made(self, dtype: type[Number], of: Callable[[slice], NDArray[np.generic]]) -> NDArray[Number]:
        """A column of what `of` makes of each piece of the entries, where the others lie."""
        return made(pieces(len(self)), dtype, of, self.room)

    def made_by_user(self, dtype: type[Number], of: Callable[[slice, slice], NDArray[np.generic]]) -> NDArray[Number]:
        """The same of pieces that hold whole users: `of` is given these, and their entries."""
        column = Growing(dtype, self.room)
        bounds = self.histories().indptr
        for users in whole_rows(bounds):
            column.add(of(users, slice(int(bounds[users.start]), int(bounds[users.stop]))))
        return column.whole()

    def places_of(self, users: NDArray[np.integer]) -> NDArray[np.int64]:
        """Where the entries of some users are, in the order asked, shape (entries of these,)."""
        bounds = self.histories().indptr
        return ranges(bounds[users], bounds[users + 1])

    def in_order_of_time(self, entries: slice) -> NDArray[np.int64]:
        """The order by user, then time, then item, of entries that follow each other."""
        return np.lexsort((self.items[entries], self.times[entries], self.users[entries]))

    def _faded(self, users: slice, entries: slice) -> Weights:
        order = self.in_order_of_time(entries)
        counts = np.bincount(self.users[entries] - users.start, minlength=users.stop - users.start)
        later = np.empty(order.size, dtype=np.int64)
        later[order] = np.repeat(np.cumsum(counts), counts) - 1 - np.arange(order.size)
        return faded(self.weights[entries], later, self.half_life)

    def histories(self) -> Histories:
        """What each user liked, for all `n_users`."""
        indptr = np.concatenate(([0], np.cumsum(counted(self.users, self.n_users)))).astype(np.int64)
        return Histories(indptr=indptr, indices=self.items, weights=self.weights)

    def told(self) -> Histories:
        """The same as a model is told of it when it is asked what a user wants now: with a half-life, older likes count less."""
        histories = self.histories()
        if self.half_life is None:
            return histories
        return replace(histories, weights=self.made_by_user(np.float32, self._faded))

    def popularity(self) -> NDArray[np.int64]:
        """How many users liked each item, shape (n_items,)."""
        return counted(self.items, self.n_items)

    def active(self) -> Indices:
        """Users with an entry, ascending."""
        return np.flatnonzero(counted(self.users, self.n_users)).astype(np.int32)
