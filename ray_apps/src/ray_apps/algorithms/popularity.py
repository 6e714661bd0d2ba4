"""Popularity: the same list for everyone. The floor that any other algorithm must beat."""

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.hyperparameters import Hyperparameters, Parameter, checked
from ray_apps.algorithms.interactions import Histories, Indices, Interactions, Weights
from ray_apps.algorithms.recommender import ALONE, Arrays, Fitting, Scores, required


class Popularity:
    """Scores an item by how many users liked it."""

    name: ClassVar[str] = "Popularity"
    parameters: ClassVar[Mapping[str, Parameter]] = {}

    def __init__(self, counts: Scores) -> None:
        self._counts = counts

    @classmethod
    def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
        """Count the users of each item; nothing is left to chance."""
        del seed, fitting
        checked(cls.name, cls.parameters, hyperparameters)
        return cls(interactions.popularity().astype(np.float32))

    def scores(self, history: Indices, weights: Weights) -> Scores:
        """The counts, whoever asks; read-only."""
        del history, weights
        return self._counts

    def scores_many(self, histories: Histories) -> Scores:
        """The counts, once for each user; read-only."""
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
