"""An ensemble: several algorithms whose normalised scores are added up, with weights learned on held-out items.

Source: the weights are found by greedy selection with replacement, as in Caruana, Niculescu-Mizil, Crew & Ksikes, "Ensemble selection from
libraries of models", ICML 2004.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.als import ALS
from ray_apps.algorithms.ease import EASE
from ray_apps.algorithms.holding_out import held_out
from ray_apps.algorithms.hyperparameters import Hyperparameters, Parameter, Unsuitable, checked
from ray_apps.algorithms.ials import IALS
from ray_apps.algorithms.interactions import Histories, Indices, Interactions, Weights
from ray_apps.algorithms.item_knn import ItemItem
from ray_apps.algorithms.next_item import NextItem
from ray_apps.algorithms.recent_popularity import RecentPopularity
from ray_apps.algorithms.recommender import ALONE, Arrays, Fitting, Recommender, Scores, required
from ray_apps.algorithms.weighing import normalised, selected

PARTS: Mapping[str, type[Recommender]] = MappingProxyType(
    {each.name: each for each in (EASE, IALS, ALS, ItemItem, RecentPopularity, NextItem)}
)
"""What an ensemble may be made of, each with its own defaults; what does not suit the data is left out."""
LONGEST_NAMES = 200


class Ensemble:
    """Adds up what its parts think of each item: within one user each part has mean 0 and deviation 1, so that no scale speaks louder."""

    name: ClassVar[str] = "Ensemble"
    parameters: ClassVar[Mapping[str, Parameter]] = {}

    def __init__(self, parts: Mapping[str, tuple[float, Recommender]], n_items: int) -> None:
        """Take weight and model of each part, by name; there is at least one."""
        self._parts, self._n_items = parts, n_items

    @classmethod
    def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
        """Learn the weights from parts that do not know the newest items of some users, then the parts again from everything.

        Raises:
            HyperparameterError: there is a hyperparameter, and it takes none.
        """
        checked(cls.name, cls.parameters, hyperparameters)
        tried = held_out(interactions, seed)
        steps = 2 * len(PARTS)
        known = _fitted(tuple(PARTS), tried.train, seed, fitting, (0, steps))
        weights = selected({name: model.scores_many(tried.histories) for name, model in known.items()}, tried)
        models = _fitted(tuple(weights), interactions, seed, fitting, (len(PARTS), steps))
        fitting.tell(steps, steps)
        return cls({name: (weights[name], models[name]) for name in weights}, interactions.n_items)

    def scores(self, history: Indices, weights: Weights) -> Scores:
        """Weighted sum of the parts' normalised scores, shape (n_items,)."""
        total = np.zeros(self._n_items, dtype=np.float32)
        for weight, model in self._parts.values():
            total += np.float32(weight) * normalised(model.scores(history, weights))
        return total

    def scores_many(self, histories: Histories) -> Scores:
        """The same for several users, shape (users, n_items)."""
        total = np.zeros((len(histories), self._n_items), dtype=np.float32)
        for weight, model in self._parts.values():
            for row, scores in enumerate(model.scores_many(histories)):
                total[row] += np.float32(weight) * normalised(scores)
        return total

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Those of the parts, each with its part's name in lower case before it; and `parts`, `weights`.

        `parts`: the names in ASCII, with commas between them, uint8 (letters,); `weights`: float64 (parts,), in the same order.
        """
        names = np.frombuffer(",".join(self._parts).encode("ascii"), dtype=np.uint8)
        weights = np.array([weight for weight, _ in self._parts.values()])
        own = {f"{name.lower()}_{key}": array for name, (_, model) in self._parts.items() for key, array in model.arrays().items()}
        return {"parts": names, "weights": weights} | own

    @classmethod
    def from_arrays(cls, arrays: Arrays, n_items: int) -> Self:
        """The model from the arrays of its parts.

        Raises:
            ValueError: an array is missing or does not fit, or a part is unknown.
        """
        names = _names(np.asarray(required(arrays, "parts", "u", (None,))))
        weights = np.asarray(required(arrays, "weights", "f", (len(names),)), dtype=np.float64)
        if not (np.isfinite(weights).all() and (weights > 0).all()):
            raise ValueError(f"model array 'weights': {weights.tolist()}; finite numbers above 0 were expected")
        parts = {name: _part(name, arrays, n_items) for name in names}
        return cls({name: (float(weight), parts[name]) for name, weight in zip(names, weights, strict=True)}, n_items)


def _fitted(
    names: tuple[str, ...], interactions: Interactions, seed: int, fitting: Fitting, steps: tuple[int, int]
) -> dict[str, Recommender]:
    done, of = steps
    models: dict[str, Recommender] = {}
    for place, name in enumerate(names):
        fitting.tell(done + place, of)
        try:
            models[name] = PARTS[name].fit(interactions, {}, seed, Fitting(threads=fitting.threads, start=_own(name, fitting.start)))
        except Unsuitable:
            continue
    return models


def _own(name: str, arrays: Arrays | None) -> Arrays | None:
    """A part's own arrays among those of the ensemble; None when there are none."""
    prefix = f"{name.lower()}_"
    own = {key.removeprefix(prefix): array for key, array in (arrays or {}).items() if key.startswith(prefix)}
    return own or None


def _part(name: str, arrays: Arrays, n_items: int) -> Recommender:
    try:
        return PARTS[name].from_arrays(_own(name, arrays) or {}, n_items)
    except ValueError as error:
        raise ValueError(f"part {name}: {error}") from error


def _names(letters: NDArray[np.generic]) -> list[str]:
    names = bytes(letters[:LONGEST_NAMES].astype(np.uint8)).decode("ascii", "replace").split(",")
    if letters.size > LONGEST_NAMES or len(set(names)) < len(names) or not set(names) <= set(PARTS):
        raise ValueError(f"model array 'parts' names {', '.join(names)!r}; different ones of {', '.join(PARTS)} were expected")
    return names
