"""The version that serves now, asked about held-out users as the candidate is, and only about what it has not seen.

The champion learned from all interactions of its own snapshot, so it has often learned from some that are held out for the baselines.
Judged on those, or against a candidate that had to do without them, it would beat any honest successor. Its version carries the
histories that it learned from, so what it has seen is known, one by one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Histories, Indices, Weights
from ray_apps.stores.registry import LoadedVersion
from ray_apps.training.dataset import Dataset

UNKNOWN = -1
"""Stands for an item that the champion has never seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """A champion that speaks of the new catalogue: histories go to its own items, its scores come back; what it lacks is never best.

    `own` is the champion's index of each item of the new catalogue, shape (n_items,), UNKNOWN where it has none.
    """

    version: LoadedVersion
    own: NDArray[np.int64]

    def scores(self, history: Indices, weights: Weights) -> NDArray[np.float32]:
        """Its scores over the new catalogue, shape (n_items,): -inf for items that it does not know."""
        mapped = self.own[history]
        known = mapped != UNKNOWN
        order = np.argsort(mapped[known])
        scores = self.version.model.scores(mapped[known][order].astype(np.int32), weights[known][order])
        return np.where(self.own == UNKNOWN, np.float32(-np.inf), scores[np.maximum(self.own, 0)])

    def scores_many(self, histories: Histories) -> NDArray[np.float32]:
        """The same for several users, shape (users, n_items)."""
        return np.stack([self.scores(*histories.of(user)) for user in range(len(histories))])

    def liked_lately(self) -> NDArray[np.float64]:
        """What its strangers are shown by, over the new catalogue, shape (n_items,): -inf for items that it does not know."""
        liked = self.version.popularity if self.version.recent is None else self.version.recent
        return np.where(self.own == UNKNOWN, -np.inf, liked[np.maximum(self.own, 0)])


def as_champion(version: LoadedVersion, dataset: Dataset) -> Champion:
    """Let a version speak of another catalogue."""
    positions = (version.item_ids.position(item) for item in dataset.item_ids)
    return Champion(version=version, own=np.array([UNKNOWN if position is None else position for position in positions], dtype=np.int64))


def seen(champion: Champion, dataset: Dataset) -> NDArray[np.bool_]:
    """Which interactions the champion learned from, by the histories that its version carries: shape (interactions,)."""
    version, known = champion.version, dataset.interactions
    items = np.full(len(version.item_ids), UNKNOWN, dtype=np.int64)
    ours = np.flatnonzero(champion.own != UNKNOWN)
    items[champion.own[ours]] = ours
    rows = (version.user_ids.position(user) for user in dataset.user_ids)
    row_of = np.array([UNKNOWN if row is None else row for row in rows], dtype=np.int64)
    histories = Histories(indptr=version.history_indptr, indices=version.history_indices, weights=version.history_weights)

    def of(asked: slice, entries: slice) -> NDArray[np.bool_]:
        rows = row_of[asked]
        theirs = np.flatnonzero(rows != UNKNOWN)
        learned = histories.select(rows[theirs])
        pairs = np.repeat(asked.start + theirs, np.diff(learned.indptr)) * known.n_items + items[learned.indices]
        pairs = pairs[items[learned.indices] != UNKNOWN]
        return np.isin(known.users[entries].astype(np.int64) * known.n_items + known.items[entries], pairs)

    return known.made_by_user(np.bool_, of)
