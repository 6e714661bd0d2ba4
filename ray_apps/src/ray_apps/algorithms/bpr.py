"""Bayesian personalised ranking: matrix factorisation that learns to put what is liked before what is not.

Source: Rendle, Freudenthaler, Gantner & Schmidt-Thieme, "BPR: Bayesian personalized ranking from implicit feedback", UAI 2009.
"""

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.hyperparameters import Hyperparameters, Parameter, checked
from ray_apps.algorithms.interactions import Histories, Indices, Interactions, Weights
from ray_apps.algorithms.recommender import ALONE, Arrays, Fitting, Scores, required

FOLD_RIDGE = 0.1
"""Keeps the map from histories to users small where few users tell it."""


class BPR:
    """Items' vectors and biases from implicit's kernel; a user's vector is mapped from the history.

    BPR itself gives vectors to the users of training only. Those are what a linear map is fitted to (ridge regression, in closed form):
    from the sum of the vectors of the items liked, divided by the root of their number, and a constant, to the user's vector.
    """

    name: ClassVar[str] = "BPR"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "factors": Parameter(default=64, low=1, high=1024),
        "learningRate": Parameter(default=0.02, low=0.00001, high=1.0),
        "regularization": Parameter(default=0.03, low=0.0, high=10_000.0),
        "iterations": Parameter(default=100, low=1, high=500),
    }

    def __init__(self, item_factors: Scores, item_biases: Scores, fold: Scores) -> None:
        """Take items' vectors (n_items, factors), their biases (n_items,), and the map to users (factors + 1, factors).

        The last row of the map is the vector of a user without history.
        """
        self._items, self._biases, self._fold = item_factors, item_biases, fold

    @classmethod
    def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
        """Learn with one thread, whatever is allowed: with several, the order of the updates would be chance.

        Raises:
            HyperparameterError: a hyperparameter is unknown or out of range.
        """
        values = checked(cls.name, cls.parameters, hyperparameters)
        from implicit.cpu.bpr import BayesianPersonalizedRanking  # noqa: PLC0415 — training only
        from threadpoolctl import threadpool_limits  # noqa: PLC0415 — training only

        factors, steps = int(values["factors"]), int(values["iterations"])
        histories = interactions.histories()
        with threadpool_limits(1, "blas"):
            kernel = BayesianPersonalizedRanking(
                factors=factors,
                learning_rate=float(values["learningRate"]),
                regularization=float(values["regularization"]),
                iterations=steps,
                num_threads=1,
                random_state=seed,
                dtype=np.float32,
            )

            def model() -> Self:
                items = kernel.item_factors[:, :factors].astype(np.float32)
                users = np.asarray(kernel.user_factors[:, :factors], dtype=np.float64)
                fold = _fitted(_profiles(items, histories), users)
                return cls(items, kernel.item_factors[:, factors].astype(np.float32), fold)

            def stepped(step: int, *_: object) -> None:
                fitting.tell(step + 1, steps)
                fitting.show(step + 1, steps, model)

            kernel.fit(histories.matrix(interactions.n_items), show_progress=False, callback=stepped)
            return model()

    def scores(self, history: Indices, weights: Weights) -> Scores:
        """Preferences, shape (n_items,): only their order within one user means anything."""
        user = _profile(self._items, history, weights) @ self._fold
        return (self._items @ user + self._biases).astype(np.float32)

    def scores_many(self, histories: Histories) -> Scores:
        """The same for several users, shape (users, n_items)."""
        users = _profiles(self._items, histories) @ self._fold
        return (users @ self._items.T + self._biases).astype(np.float32)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Float32: `item_factors` (n_items, factors), `item_biases` (n_items,), `fold` (factors + 1, factors)."""
        return {"item_factors": self._items, "item_biases": self._biases, "fold": self._fold}

    @classmethod
    def from_arrays(cls, arrays: Arrays, n_items: int) -> Self:
        """The model from its arrays.

        Raises:
            ValueError: an array is missing or does not fit.
        """
        items = np.asarray(required(arrays, "item_factors", "f", (n_items, None)), dtype=np.float32)
        biases = np.asarray(required(arrays, "item_biases", "f", (n_items,)), dtype=np.float32)
        fold = np.asarray(required(arrays, "fold", "f", (items.shape[1] + 1, items.shape[1])), dtype=np.float32)
        return cls(items, biases, fold)


def _profile(items: Scores, history: Indices, weights: Weights) -> Scores:
    """What a history says, shape (factors + 1,)."""
    summed = weights @ items[history] / np.float32(np.sqrt(max(history.size, 1)))
    return np.append(summed, np.float32(1)).astype(np.float32)


def _profiles(items: Scores, histories: Histories) -> Scores:
    rows = np.empty((len(histories), items.shape[1] + 1), dtype=np.float32)
    for user in range(len(histories)):
        rows[user] = _profile(items, *histories.of(user))
    return rows


def _fitted(profiles: Scores, users: NDArray[np.float64]) -> Scores:
    wide = profiles.astype(np.float64)
    gram = wide.T @ wide + FOLD_RIDGE * np.eye(wide.shape[1])
    return np.linalg.solve(gram, wide.T @ users).astype(np.float32)
