"""Alternating least squares for implicit feedback.

Source: Hu, Koren & Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008: a user likes (1) or does not (0)
each item, with confidence c = 1 + alpha * weight for items liked and 1 for all others. Here alpha is divided by how much longer the
user's history is than the mean one, to the power of `damping`: who likes everything says less by each like. 0: as in the paper.
The penalty is lowered with the root of the number of interactions below FULL_PENALTY, as the noise that it is there for: the same number
would leave nothing of a small data set's tastes.
"""

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.factored import Factored
from ray_apps.algorithms.hyperparameters import Hyperparameters, Parameter, checked
from ray_apps.algorithms.interactions import Indices, Interactions, Weights
from ray_apps.algorithms.kernels import als_kernel, item_vectors
from ray_apps.algorithms.recommender import ALONE, Arrays, Fitting, required
from ray_apps.algorithms.trust import Trust

LEAST_RIDGE = 1e-6
"""Keeps the Gram matrix invertible when there are fewer items than factors and no regularization was asked for."""


FULL_PENALTY = 10_000
"""Interactions from which on `regularization` counts in full."""
MOST_PROJECTED = 32 << 20
"""Bytes of items' vectors times G^-1 that a model keeps, made when it is first asked: half of what a user's vector takes. Larger models
have each item's made when it is needed: their scoring takes far longer anyway, and the bytes would be each process's own."""


class ALS(Factored):
    """Matrix factorisation. A user's vector is solved from the history when it is asked for, so no user vector is stored."""

    name: ClassVar[str] = "ALS"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "factors": Parameter(default=128, low=1, high=1024),
        "alpha": Parameter(default=3.0, low=0.0, high=10_000.0),
        "damping": Parameter(default=0.5, low=0.0, high=1.0),
        "regularization": Parameter(default=30.0, low=0.0, high=10_000.0),
        "iterations": Parameter(default=15, low=1, high=500),
    }

    def __init__(self, item_factors: NDArray[np.float32], gram_inverse: NDArray[np.float64], trust: Trust) -> None:
        """Take items' vectors Y of shape (n_items, factors) and (Y'Y + regularization I)^-1 of shape (factors, factors)."""
        self._items, self._gram_inverse, self._trust = item_factors, gram_inverse, trust
        self._all_projected: NDArray[np.float64] | None = None

    @classmethod
    def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
        """Factorise with implicit's conjugate gradient kernel, then invert the Gram matrix once for fold-in.

        Raises:
            HyperparameterError: a hyperparameter is unknown or out of range.
        """
        values = checked(cls.name, cls.parameters, hyperparameters)
        from threadpoolctl import threadpool_limits  # noqa: PLC0415 — training only

        regularization = float(values["regularization"]) * min(1.0, np.sqrt(len(interactions) / FULL_PENALTY))
        histories = interactions.histories()
        lengths = np.diff(histories.indptr)
        trust = Trust.in_histories(lengths, alpha=float(values["alpha"]), damping=float(values["damping"]))
        confidence = histories.matrix(interactions.n_items)
        confidence.data = (1 + np.repeat(trust.of(lengths), lengths) * confidence.data).astype(np.float32)
        steps = int(values["iterations"])
        with threadpool_limits(1, "blas"):
            kernel = als_kernel(fitting, factors=int(values["factors"]), regularization=regularization, iterations=steps, seed=seed)

            def model() -> Self:
                return cls._of(item_vectors(kernel), regularization, trust)

            def stepped(step: int, *_: object) -> None:
                fitting.tell(step + 1, steps)
                fitting.show(step + 1, steps, model)

            kernel.fit(confidence, show_progress=False, callback=stepped)
            return model()

    @classmethod
    def _of(cls, items: NDArray[np.float32], regularization: float, trust: Trust) -> Self:
        wide = items.astype(np.float64)
        gram = wide.T @ wide + max(regularization, LEAST_RIDGE) * np.eye(wide.shape[1])
        return cls(items, np.linalg.inv(gram).astype(np.float64), trust)

    def user_vector(self, history: Indices, weights: Weights) -> NDArray[np.float64]:
        """The exact least-squares vector of a user, shape (factors,); zeros for an empty history.

        It solves (G + U D U') x = U c with G the regularised Gram matrix, U the liked items' vectors as columns and D = diag(c - 1).
        By the push-through identity x = G^-1 U (I + D U' G^-1 U)^-1 c: a system of the history's size; for a long history the
        system of the factors' size is the smaller one.
        """
        liked = self._items[history].astype(np.float64)
        extra = self._trust.of_one(history.size) * weights.astype(np.float64)
        projected = self._projected(history, liked)
        if history.size <= liked.shape[1]:
            inner = extra[:, None] * (projected @ liked.T)
            inner.flat[:: history.size + 1] += 1
            return (projected.T @ np.linalg.solve(inner, 1 + extra)).astype(np.float64)
        outer = np.eye(liked.shape[1]) + projected.T @ (extra[:, None] * liked)
        return np.linalg.solve(outer, projected.T @ (1 + extra)).astype(np.float64)

    def _projected(self, history: Indices, liked: NDArray[np.float64]) -> NDArray[np.float64]:
        """Vectors of these items times G^-1, shape (liked, factors)."""
        if self._items.size * self._gram_inverse.itemsize > MOST_PROJECTED:
            return liked @ self._gram_inverse
        if self._all_projected is None:
            self._all_projected = self._items.astype(np.float64) @ self._gram_inverse
        return self._all_projected[history]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """`item_factors` float32 (n_items, factors), `gram_inverse` float64 (factors, factors), `trust` float64 (3,): see `Trust`."""
        return {"item_factors": self._items, "gram_inverse": self._gram_inverse, "trust": self._trust.array()}

    @classmethod
    def from_arrays(cls, arrays: Arrays, n_items: int) -> Self:
        """The model from its arrays.

        Raises:
            ValueError: an array is missing or does not fit.
        """
        items = np.asarray(required(arrays, "item_factors", "f", (n_items, None)), dtype=np.float32)
        factors = items.shape[1]
        gram_inverse = np.asarray(required(arrays, "gram_inverse", "f", (factors, factors)), dtype=np.float64)
        required(arrays, "trust", "f", (3,))
        return cls(items, gram_inverse, Trust.from_arrays(arrays))
