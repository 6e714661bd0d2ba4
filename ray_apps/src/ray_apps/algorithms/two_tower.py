"""Two towers: items by what they are and who they are, users by what they liked, both as vectors whose product says how well they meet.

An item's vector is the sum of its features' vectors and one of its own, which training leaves out at times, so that an item nobody has
liked yet still has its place. A user's vector is made of the vectors of the liked items, so none is stored. Learned by sampled softmax with
the other items of the batch as negatives, corrected for how often each is drawn.

Source: Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019; leaving out the items' own
vectors: Volkovs, Yu & Poutanen, "DropoutNet: addressing cold start in recommender systems", NeurIPS 2017.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.content import needed
from ray_apps.algorithms.hyperparameters import Hyperparameters, Parameter, checked
from ray_apps.algorithms.interactions import Histories, Indices, Interactions, Weights
from ray_apps.algorithms.recommender import ALONE, Arrays, Fitting, Scores, required


class TwoTower:
    """Item vectors, and what makes a user's vector of a history. Learning takes JAX, which finds a GPU by itself; scoring numpy."""

    name: ClassVar[str] = "TwoTower"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "factors": Parameter(default=64, low=1, high=1024),
        "iterations": Parameter(default=15, low=1, high=500),
        "learningRate": Parameter(default=0.01, low=0.000_01, high=1.0),
        "batchSize": Parameter(default=512, low=8, high=65_536),
        "idDropout": Parameter(default=0.3, low=0.0, high=1.0),
    }

    def __init__(
        self, items: NDArray[np.float32], bias: NDArray[np.float32], mixing: NDArray[np.float32], nobody: NDArray[np.float32]
    ) -> None:
        """Take vectors (n_items, factors) and biases (n_items,) of items, the user's mixing (factors, factors), and nobody's (factors,)."""
        self._items, self._bias, self._mixing, self._nobody = items, bias, mixing, nobody

    @classmethod
    def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
        """Learn both towers; on a CPU the same seed gives the same bytes, whatever the number of threads.

        Raises:
            HyperparameterError: a hyperparameter is unknown or out of range.
            ContentNeeded: nothing is known of the items.
            Unsuitable: JAX is not installed.
        """
        values = checked(cls.name, cls.parameters, hyperparameters)
        content = needed(interactions.content, cls.name)
        from ray_apps.algorithms.towers import Learned, Settings, learned  # noqa: PLC0415 — training only

        settings = Settings(
            factors=int(values["factors"]),
            epochs=int(values["iterations"]),
            rate=float(values["learningRate"]),
            batch=int(values["batchSize"]),
            dropout=float(values["idDropout"]),
        )

        def stepped(epoch: int, arrays: Callable[[], Learned]) -> None:
            fitting.tell(epoch, settings.epochs)
            fitting.show(epoch, settings.epochs, lambda: cls(*arrays()))

        return cls(*learned(interactions, content, settings, seed, stepped))

    def user_vector(self, history: Indices, weights: Weights) -> NDArray[np.float32]:
        """A user's vector, shape (factors,): the weighted sum of the liked items over the root of their weight, mixed."""
        total = float(weights.astype(np.float64).sum())
        if total <= 0:
            return self._nobody
        pooled = weights @ self._items[history] / np.float32(np.sqrt(total))
        return (pooled + pooled @ self._mixing + self._nobody).astype(np.float32)

    def scores(self, history: Indices, weights: Weights) -> Scores:
        """Logarithms of odds, shape (n_items,)."""
        return self._items @ self.user_vector(history, weights) + self._bias

    def scores_many(self, histories: Histories) -> Scores:
        """The same for several users, shape (users, n_items)."""
        users = np.empty((len(histories), self._items.shape[1]), dtype=np.float32)
        for row in range(len(histories)):
            users[row] = self.user_vector(*histories.of(row))
        return users @ self._items.T + self._bias

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """`items` (n_items, factors), `bias` (n_items,), `mixing` (factors, factors), `nobody` (factors,), all float32."""
        return {"items": self._items, "bias": self._bias, "mixing": self._mixing, "nobody": self._nobody}

    @classmethod
    def from_arrays(cls, arrays: Arrays, n_items: int) -> Self:
        """The model from its arrays.

        Raises:
            ValueError: an array is missing, does not fit, or is not finite.
        """
        items = np.asarray(required(arrays, "items", "f", (n_items, None)), dtype=np.float32)
        factors = items.shape[1]
        bias = np.asarray(required(arrays, "bias", "f", (n_items,)), dtype=np.float32)
        mixing = np.asarray(required(arrays, "mixing", "f", (factors, factors)), dtype=np.float32)
        nobody = np.asarray(required(arrays, "nobody", "f", (factors,)), dtype=np.float32)
        for name, array in (("items", items), ("bias", bias), ("mixing", mixing), ("nobody", nobody)):
            if not np.isfinite(array).all():
                raise ValueError(f"model array {name!r}: has values that are not finite")
        return cls(items, bias, mixing, nobody)
