"""Alternating least squares with a penalty that grows with how much a vector stands for.

Source: Rendle, Krichene, Zhang & Koren, "Revisiting the performance of iALS on item recommendation benchmarks", RecSys 2022. Its
subspace solver (iALS++) is not needed here: see `ials_rows` for why exact rows are cheap, and ADR 20 for the figures. Beyond the paper, a
like counts less in a long history (`damping`); 0: as in the paper.
"""

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.factored import Factored
from ray_apps.algorithms.hyperparameters import Hyperparameters, Parameter, Value, checked
from ray_apps.algorithms.ials_blocks import Alone, Plan, Side, beginning, learn, sides
from ray_apps.algorithms.ials_rows import Factors, Loss, Spectrum, solve_one
from ray_apps.algorithms.interactions import Indices, Interactions, Weights
from ray_apps.algorithms.recommender import ALONE, Arrays, Fitting, required
from ray_apps.algorithms.trust import Trust


class IALS(Factored):
    """Matrix factorisation whose penalty is scaled by frequency. No user vector is stored: it is solved from the history when asked for."""

    name: ClassVar[str] = "IALS"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "factors": Parameter(default=128, low=1, high=1024),
        "regularization": Parameter(default=0.0055, low=0.0, high=10_000.0),
        "iterations": Parameter(default=16, low=1, high=500),
        "unobserved": Parameter(default=0.5, low=0.0001, high=10.0),
        "exponent": Parameter(default=0.75, low=0.0, high=2.0),
        "damping": Parameter(default=0.25, low=0.0, high=1.0),
    }

    def __init__(self, item_factors: Factors, spectrum: Spectrum, loss: Loss, trust: Trust) -> None:
        """Take items' vectors in the eigenbasis of their Gram matrix, shape (n_items, factors), and its eigenvalues."""
        self._items, self._spectrum, self._loss, self._trust = item_factors, spectrum, loss, trust

    @classmethod
    def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
        """Factorise in this process, or with the crew's.

        Raises:
            HyperparameterError: a hyperparameter is unknown or out of range.
        """
        from threadpoolctl import threadpool_limits  # noqa: PLC0415 — training only

        values = {name: float(value) for name, value in checked(cls.name, cls.parameters, hyperparameters).items()}
        start = started(fitting, int(values["factors"]))
        if fitting.crew is not None:
            return cls.from_arrays(fitting.crew.factorise(interactions, values, seed, fitting, start), interactions.n_items)
        users, items = sides(interactions)
        plan = planned(values, (users, items), seed, fitting)
        with threadpool_limits(1, "blas"):
            factors, spectrum = learn(users, items, plan, beginning(items, plan, start), Alone())
        return cls(factors, spectrum, plan.loss, plan.trust)

    def user_vector(self, history: Indices, weights: Weights) -> NDArray[np.float64]:
        """The exact least-squares vector of a user, shape (factors,); zeros for an empty history."""
        diagonal = self._loss.diagonals(np.array([history.size]), len(self._items), self._spectrum)[0]
        trusted = weights * np.float64(self._trust.of_one(history.size))
        return solve_one(self._items[history].astype(np.float64), trusted.astype(np.float32), diagonal)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """`item_factors` float32 (n_items, factors), `spectrum` float64 (factors,), `loss` and `trust` float64 (3,), in their order."""
        return {"item_factors": self._items, "spectrum": self._spectrum, "loss": self._loss.array(), "trust": self._trust.array()}

    @classmethod
    def from_arrays(cls, arrays: Arrays, n_items: int) -> Self:
        """The model from its arrays.

        Raises:
            ValueError: an array is missing or does not fit.
        """
        items = np.asarray(required(arrays, "item_factors", "f", (n_items, None)), dtype=np.float32)
        spectrum = np.asarray(required(arrays, "spectrum", "f", (items.shape[1],)), dtype=np.float64)
        regularization, exponent, unobserved = (float(value) for value in np.asarray(required(arrays, "loss", "f", (3,))))
        loss = Loss(regularization=regularization, exponent=exponent, unobserved=unobserved)
        return cls(items, spectrum, loss, Trust.from_arrays(arrays))


def planned(values: Mapping[str, Value], both: tuple[Side, Side], seed: int, fitting: Fitting) -> Plan:
    """What to learn, from checked hyperparameters."""
    loss = Loss.balanced({name: float(value) for name, value in values.items()}, both[0].lengths, both[1].lengths)
    trust = Trust.in_histories(both[0].lengths, alpha=1.0, damping=float(values["damping"]))
    epochs = int(values["iterations"])

    def show(epoch: int, items: Factors, spectrum: Spectrum) -> None:
        fitting.show(epoch, epochs, lambda: IALS(items, spectrum, loss, trust))

    return Plan(factors=int(values["factors"]), epochs=epochs, loss=loss, trust=trust, seed=seed, tell=fitting.tell, show=show)


def started(fitting: Fitting, factors: int) -> Factors | None:
    """Items' vectors of an earlier model to go on from; None without one, or when its vectors have another length."""
    start = None if fitting.start is None else fitting.start.get("item_factors")
    if start is None or start.ndim != 2 or start.shape[1] != factors:
        return None
    return np.asarray(start, dtype=np.float32)
