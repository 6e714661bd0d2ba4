"""Recent popularity: the same list for everyone, of what is liked these days.

Source: exponentially decayed counts, as in Ji, Sun, Zhang & Li, "A re-visit of the popularity baseline in recommender systems", SIGIR 2020.
"""

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.columns import pieces
from ray_apps.algorithms.hyperparameters import Hyperparameters, Parameter, checked
from ray_apps.algorithms.interactions import Interactions
from ray_apps.algorithms.popularity import Popularity
from ray_apps.algorithms.recommender import ALONE, Fitting

_DAY_MS = 86_400_000.0


def recent_popularity(interactions: Interactions, half_life_days: float) -> NDArray[np.float64]:
    """How many users like each item these days, shape (n_items,): a like counts half for every half-life before the newest one.

    Ages are counted from the newest interaction, never from the clock: the same snapshot gives the same counts.
    """
    if not len(interactions):
        return np.zeros(interactions.n_items)
    newest, found = interactions.times.max(), np.zeros(interactions.n_items)
    for part in pieces(len(interactions)):
        ages = (newest - interactions.times[part]) / (half_life_days * _DAY_MS)
        np.add.at(found, interactions.items[part], np.exp2(-ages))
    return found


class RecentPopularity(Popularity):
    """Scores an item by how many users liked it, each like worth half as much for every `halfLifeDays` of its age."""

    name: ClassVar[str] = "RecentPopularity"
    parameters: ClassVar[Mapping[str, Parameter]] = {"halfLifeDays": Parameter(default=30.0, low=0.01, high=36_500.0)}

    @classmethod
    def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
        """Add up the decayed likes of each item; nothing is left to chance.

        Raises:
            HyperparameterError: a hyperparameter is unknown or out of range.
        """
        del seed, fitting
        half_life = float(checked(cls.name, cls.parameters, hyperparameters)["halfLifeDays"])
        return cls(recent_popularity(interactions, half_life).astype(np.float32))
