"""What follows what: an item is good when it comes soon after what the user liked last, in the order in which others liked things.

Two likes of a user that stand d places apart count 1 / sqrt(d) for the later one after the earlier one, and a part of it the other way
round; how often an item was liked at all is divided out on both sides. It is asked with the newest likes first of all: with
`spec.training.historyHalfLife` an older like counts less, and the more so here.

Source: pairs by their distance in a session, as in Garg, Gupta, Malhotra, Vig & Shroff, "Sequence and time aware neighborhood for session-
based recommendations: STAN", SIGIR 2019, and the rules of Ludewig & Jannach, "Evaluation of session-based recommendation algorithms", UMUAI
28, 2018.
"""

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.hyperparameters import Hyperparameters, Parameter, checked
from ray_apps.algorithms.interactions import Indices, Interactions, Weights
from ray_apps.algorithms.item_knn import ItemItem
from ray_apps.algorithms.recommender import ALONE, Fitting, Scores

BACKWARDS = 0.3
"""What the earlier of two likes counts after the later one, beside 1 the other way round."""
LIKES, OTHERS = 10.0, 5.0
"""Likes of an item that is asked from, and of one that is asked for, below which little is believed."""
POPULAR = 0.4
"""The power of an item's popularity by which it is held back."""
SHARPNESS = 3.0
"""The power of a like's weight that counts: a history that fades by half with ten likes fades by half with three here."""


class NextItem(ItemItem):
    """Sums what follows each liked item, the newest first of all; only what follows most often, `neighbours` of each, is kept."""

    name: ClassVar[str] = "NextItem"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "neighbours": Parameter(default=200, low=1, high=10_000),
        "reach": Parameter(default=30, low=1, high=1_000),
    }

    @classmethod
    def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
        """Count what follows what; nothing is left to chance.

        Raises:
            HyperparameterError: a hyperparameter is unknown or out of range.
        """
        del seed, fitting
        values = checked(cls.name, cls.parameters, hyperparameters)
        from scipy.sparse import csr_matrix, diags  # noqa: PLC0415 — training only

        order = interactions.in_order_of_time(slice(0, len(interactions)))
        users, items = interactions.users[order], interactions.items[order]
        counted = csr_matrix((interactions.n_items, interactions.n_items), dtype=np.float64)
        longest = int(np.bincount(users, minlength=1).max())
        for distance in range(1, min(int(values["reach"]) + 1, longest)):
            same = np.flatnonzero(users[distance:] == users[:-distance])
            weight = np.full(same.size, distance**-0.5)
            counted += csr_matrix((weight, (items[same], items[same + distance])), shape=counted.shape)
        counted += BACKWARDS * counted.T
        likes = interactions.popularity()
        follows = (diags(1 / (likes + LIKES)) @ counted @ diags((likes + OTHERS) ** -POPULAR)).tocsr()
        follows.setdiag(0)
        follows.eliminate_zeros()
        follows.sort_indices()
        kept = _most(follows.indptr, follows.data, int(values["neighbours"]))
        indptr = np.concatenate(([0], np.cumsum(kept)))[follows.indptr].astype(np.int64)
        return cls(indptr, follows.indices[kept].astype(np.int32), follows.data[kept].astype(np.float32))

    def scores(self, history: Indices, weights: Weights) -> Scores:
        """Weighted sum of what follows each item of the history, shape (n_items,)."""
        return super().scores(history, (weights**SHARPNESS).astype(np.float32))


def _most(indptr: NDArray[np.integer], values: NDArray[np.float64], most: int) -> NDArray[np.bool_]:
    """Which values are among the greatest of their row, at most so many; of equal ones the first."""
    rows = np.repeat(np.arange(indptr.size - 1), np.diff(indptr))
    order = np.lexsort((-values, rows))
    kept = np.empty(values.size, dtype=np.bool_)
    kept[order] = np.arange(values.size) - indptr[rows] < most
    return kept
