"""Recent popularity: the same list for everyone, of what is liked these days.

Source: exponentially decayed counts, as in Ji, Sun, Zhang & Li, "A re-visit of the popularity baseline in recommender systems", SIGIR 2020.
"""

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.hyperparameters import Hyperparameters, Parameter, checked
from ray_apps.algorithms.interactions import Histories, Indices, Interactions, Weights
from ray_apps.algorithms.recommender import ALONE, Arrays, Fitting, Scores, required

MILLISECONDS_PER_DAY = 86_400_000.0


class RecentPopularity:
    """Scores an item by how many users liked it, each like worth half as much for every `halfLifeDays` of its age.

    Ages are counted from the newest interaction that is learned from, never from the clock: the same snapshot gives the same list.
    """

    name: ClassVar[str] = "RecentPopularity"
    parameters: ClassVar[Mapping[str, Parameter]] = {"halfLifeDays": Parameter(default=30.0, low=0.01, high=36_500.0)}

    def __init__(self, counts: Scores) -> None:
        self._counts = counts

    @classmethod
    def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
        """Add up the decayed likes of each item; nothing is left to chance.

        Raises:
            HyperparameterError: a hyperparameter is unknown or out of range.
        """
        del seed, fitting
        half_life = float(checked(cls.name, cls.parameters, hyperparameters)["halfLifeDays"]) * MILLISECONDS_PER_DAY
        newest = interactions.times.max(initial=np.iinfo(np.int64).min)
        likes = np.exp2((interactions.times - newest) / half_life)
        return cls(np.bincount(interactions.items, weights=likes, minlength=interactions.n_items).astype(np.float32))

    def scores(self, history: Indices, weights: Weights) -> Scores:
        """The decayed counts, whoever asks; read-only."""
        del history, weights
        return self._counts

    def scores_many(self, histories: Histories) -> Scores:
        """The decayed counts, once for each user; read-only."""
        return np.broadcast_to(self._counts, (len(histories), self._counts.size))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """`counts`: float32 of shape (n_items,)."""
        return {"counts": self._counts}

    @classmethod
    def from_arrays(cls, arrays: Arrays, n_items: int) -> Self:
        """The model from its counts.

        Raises:
            ValueError: they are missing or do not fit.
        """
        return cls(np.asarray(required(arrays, "counts", "f", (n_items,)), dtype=np.float32))
