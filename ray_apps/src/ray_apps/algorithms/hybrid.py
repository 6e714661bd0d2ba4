"""Hybrid: what those with the same taste like, as far as user and item are known; what is like it by content and liked these days, beyond.

Two shrinkages of the form n / (n + k). An item that few liked takes its collaborative score from the well-known items that are most like
it (see `neighbours`); a user with a short history is mostly given `onboarding`'s list, by the content of what they liked. The user's k is
chosen within training, on users that are left out of it.
"""

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.als import ALS
from ray_apps.algorithms.blending import best_shrinkage
from ray_apps.algorithms.content import needed
from ray_apps.algorithms.hyperparameters import Hyperparameters, Parameter, Value, checked
from ray_apps.algorithms.interactions import Histories, Indices, Interactions, Weights
from ray_apps.algorithms.neighbours import Neighbours, neighbours_of
from ray_apps.algorithms.onboarding import HALF_LIFE_DAYS, TASTE, profile_of, recent_popularity, similarity, with_prior
from ray_apps.algorithms.recommender import ALONE, Arrays, Fitting, Recommender, Scores, required
from ray_apps.stores.content import Content, content_of_rows

PART = "part_"
PARTS: Mapping[str, type[Recommender]] = {"ALS": ALS}


class Hybrid:
    """Collaborative where user and item are known, content where they are not."""

    name: ClassVar[str] = "Hybrid"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "userShrinkage": Parameter(default=0.0, low=0.0, high=10_000.0),
        "itemShrinkage": Parameter(default=5.0, low=0.0, high=10_000.0),
        "neighbours": Parameter(default=20, low=1, high=1_000),
        "halfLifeDays": Parameter(default=HALF_LIFE_DAYS, low=0.01, high=36_500.0),
    }

    def __init__(self, part: Recommender, content: Content, near: Neighbours, wanted: NDArray[np.float64], shrinkage: float) -> None:
        """Take the collaborative part, what is known of items, who speaks for whom, popularity with its prior, and the user's k."""
        self._part, self._content, self._near, self._wanted, self._shrinkage = part, content, near, wanted, shrinkage

    @classmethod
    def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
        """Fit the collaborative part, find neighbours by content, and choose how soon a user is believed.

        Raises:
            HyperparameterError: a hyperparameter is unknown or out of range.
            ContentNeeded: nothing is known of the items.
        """
        values = checked(cls.name, cls.parameters, hyperparameters)
        needed(interactions.content, cls.name)
        if not values["userShrinkage"]:
            values["userShrinkage"] = best_shrinkage(interactions, seed, lambda known: cls._fitted(known, values, seed, ALONE).both)
        return cls._fitted(interactions, values, seed, fitting)

    @classmethod
    def _fitted(cls, interactions: Interactions, values: Mapping[str, Value], seed: int, fitting: Fitting) -> Self:
        content = needed(interactions.content, cls.name)
        near = neighbours_of(content, interactions.popularity(), shrinkage=float(values["itemShrinkage"]), most=int(values["neighbours"]))
        wanted = with_prior(recent_popularity(interactions, float(values["halfLifeDays"])), content)
        return cls(PARTS["ALS"].fit(interactions, {}, seed, fitting), content, near, wanted, float(values["userShrinkage"]))

    def both(self, history: Indices, weights: Weights) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Collaborative scores and those by content and popularity, each at most 1, both of shape (n_items,)."""
        return self._shared(history, weights, self._part.scores(history, weights))

    def _shared(self, history: Indices, weights: Weights, own: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        near = similarity(self._content, profile_of(self._content, (), history, weights, {}))
        return _at_most_one(self._near.blended(own)), _at_most_one(self._wanted * np.exp(TASTE * near))

    def _blended(self, history: Indices, weights: Weights, own: Scores) -> Scores:
        believed = history.size / (history.size + self._shrinkage)
        collaborative, content = self._shared(history, weights, own)
        return (believed * collaborative + (1 - believed) * content).astype(np.float32)

    def scores(self, history: Indices, weights: Weights) -> Scores:
        """Blended scores, at most 1, shape (n_items,)."""
        return self._blended(history, weights, self._part.scores(history, weights))

    def scores_many(self, histories: Histories) -> Scores:
        """The same for several users, shape (users, n_items)."""
        own = self._part.scores_many(histories)
        rows = [self._blended(*histories.of(row), own[row]) for row in range(len(histories))]
        return np.stack(rows) if rows else np.empty((0, self._wanted.size), dtype=np.float32)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The part's own with the prefix `part_`, content without names, neighbours, `wanted` float64 (n_items,), `shrinkage` ()."""
        own = {f"{PART}{name}": array for name, array in self._part.arrays().items()}
        content = {f"content_{name}": getattr(self._content, name) for name in ("indptr", "indices", "weights")}
        numbers = {"wanted": self._wanted, "shrinkage": np.array(self._shrinkage), "features": np.array(len(self._content.features))}
        return own | content | self._near.arrays() | numbers

    @classmethod
    def from_arrays(cls, arrays: Arrays, n_items: int) -> Self:
        """The model from its arrays.

        Raises:
            ValueError: an array is missing or does not fit.
        """
        own = {name.removeprefix(PART): array for name, array in arrays.items() if name.startswith(PART)}
        wanted = np.asarray(required(arrays, "wanted", "f", (n_items,)), dtype=np.float64)
        shrinkage = float(np.asarray(required(arrays, "shrinkage", "f", ())))
        if not (np.isfinite(wanted).all() and np.isfinite(shrinkage) and shrinkage > 0):
            raise ValueError(f"model arrays 'wanted' and 'shrinkage' ({shrinkage}): finite numbers and a shrinkage above 0 were expected")
        return cls(
            PARTS["ALS"].from_arrays(own, n_items), _content(arrays, n_items), Neighbours.from_arrays(arrays, n_items), wanted, shrinkage
        )


def _at_most_one(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    best = float(scores.max(initial=0.0))
    return scores / best if best > 0 else scores


def _content(arrays: Arrays, n_items: int) -> Content:
    """The content that a model scores with; what its features are called is written with the version, once."""
    features = int(np.asarray(required(arrays, "features", "i", ())))
    nameless = {name: np.asarray(arrays[name]) for name in ("content_indptr", "content_indices", "content_weights") if name in arrays}
    return content_of_rows(nameless, n_items, ("",) * max(features, 0))
