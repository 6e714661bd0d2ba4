"""The version that serves now, asked about the held-out users as the candidate is, and only about what it has not seen.

The champion learned from all interactions of its own snapshot, so it has often learned from some that are held out here. Judged on
those it would beat any honest candidate. Its version carries the histories that it learned from, so they are known, one by one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Histories, Indices, Weights
from ray_apps.evaluation.splits import Split
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


def as_champion(version: LoadedVersion, dataset: Dataset) -> Champion:
    """Let a version speak of another catalogue."""
    positions = (version.item_ids.position(item) for item in dataset.item_ids)
    return Champion(version=version, own=np.array([UNKNOWN if position is None else position for position in positions], dtype=np.int64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """The part of a split that a champion has not seen: users with at least one such item, and what is not recommended to them.

    `banned` holds what a user has in training and what the champion learned of them, rows as in `split.users`.
    """

    split: Split
    banned: Histories


def unseen(champion: Champion, dataset: Dataset, split: Split) -> Unseen:
    """Leave out of a split what the champion learned from."""
    known = np.flatnonzero(champion.own != UNKNOWN).astype(np.int32)
    ours = np.full(len(champion.version.item_ids), UNKNOWN, dtype=np.int32)
    ours[champion.own[known]] = known
    training = split.train.histories()
    kept: list[int] = []
    relevant: list[Indices] = []
    banned: list[Indices] = []
    for row, user in enumerate(split.users.tolist()):
        learned = ours[champion.version.history(dataset.user_ids[user])[0]]
        wanted = np.setdiff1d(split.relevant.of(row)[0], learned)
        if wanted.size:
            kept.append(user)
            relevant.append(wanted)
            banned.append(np.union1d(training.of(user)[0], learned[learned != UNKNOWN]))
    rest = Split(train=split.train, users=np.array(kept, dtype=np.int32), relevant=_rows(relevant), words=split.words)
    return Unseen(split=rest, banned=_rows(banned))


def _rows(lists: list[Indices]) -> Histories:
    indptr = np.cumsum([0, *(each.size for each in lists)]).astype(np.int64)
    flat = np.concatenate([np.empty(0, dtype=np.int32), *lists]).astype(np.int32)
    return Histories(indptr=indptr, indices=flat, weights=np.ones(flat.size, dtype=np.float32))
