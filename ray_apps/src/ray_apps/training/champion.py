"""The version that serves now, asked about the same held-out users as the candidate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Histories, Indices, Weights
from ray_apps.stores.registry import LoadedVersion

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


def as_champion(version: LoadedVersion, item_ids: Sequence[str]) -> Champion:
    """Let a version speak of another catalogue."""
    positions = (version.item_ids.position(item) for item in item_ids)
    return Champion(version=version, own=np.array([UNKNOWN if position is None else position for position in positions], dtype=np.int64))
