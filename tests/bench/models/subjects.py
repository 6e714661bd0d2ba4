"""What is measured: our algorithms with their defaults, and `implicit` with its own defaults and tuned."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Protocol

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray

from bench.models.data import leave_one_out
from ray_apps.algorithms import ALGORITHMS
from ray_apps.algorithms.hyperparameters import Hyperparameters
from ray_apps.algorithms.interactions import Histories, Indices, Interactions, Weights
from ray_apps.evaluation.measuring import measure

SEED = 42
TUNING_SEED = 1_000
"""Of the split on which `implicit` is tuned; none of the splits that are reported."""
GRID: Mapping[str, tuple[float, ...]] = {"factors": (64, 128, 256), "alpha": (1.0, 3.0), "regularization": (10.0, 20.0, 30.0)}
GRID_SIZE = prod(len(each) for each in GRID.values())
DEFAULTS: Mapping[str, float] = {"factors": 100, "alpha": 1.0, "regularization": 0.01}


TUNED = "implicit ALS, tuned"
COSTLY: Mapping[str, float] = {TUNED: 5, "EASE": 5, "EASE, reach 0": 5, "Ensemble": 10}
"""How much of the time a subject may have, beside 1 of the others."""


class Fitted(Protocol):
    """What is asked of a model."""

    def scores(self, history: Indices, weights: Weights) -> NDArray[np.float32]: ...
    def scores_many(self, histories: Histories) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class Implicit:
    """`implicit`'s ALS, asked with the user vectors that it calculates from histories itself."""

    kernel: Any
    alpha: float
    n_items: int

    def scores_many(self, histories: Histories) -> NDArray[np.float32]:
        users = self.kernel.recalculate_user(np.arange(len(histories)), _weighed(histories, self.alpha, self.n_items))
        return users @ self.kernel.item_factors.T

    def scores(self, history: Indices, weights: Weights) -> NDArray[np.float32]:
        one = Histories(indptr=np.array([0, history.size]), indices=history, weights=weights)
        return self.scores_many(one)[0]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        return {"item_factors": self.kernel.item_factors, "user_factors": self.kernel.user_factors}


def _weighed(histories: Histories, alpha: float, n_items: int) -> Any:
    matrix = histories.matrix(n_items)
    matrix.data = (1 + alpha * matrix.data).astype(np.float32)
    return matrix


def implicit(known: Interactions, values: Mapping[str, float]) -> Implicit:
    """Fit it with one thread."""
    kernel = AlternatingLeastSquares(
        factors=int(values["factors"]),
        regularization=values["regularization"],
        alpha=1.0,
        iterations=15,
        num_threads=1,
        random_state=SEED,
        dtype=np.float32,
    )
    kernel.fit(_weighed(known.histories(), values["alpha"], known.n_items), show_progress=False)
    return Implicit(kernel, values["alpha"], known.n_items)


def tuned(known: Interactions, until: float) -> tuple[dict[str, float], int]:
    """The values of GRID with the best NDCG@10 on a split of its own, and how many were tried until then (by the monotonic clock)."""
    split = leave_one_out(known, TUNING_SEED)
    grid = [dict(zip(GRID, values, strict=True)) for values in product(*GRID.values())]
    best, quality, tried = grid[0], -1.0, 0
    for place in np.random.default_rng(SEED).permutation(len(grid)):
        model = implicit(split.train, grid[place])
        found = measure(model.scores, model.scores_many, split).per_user["ndcg@10"].mean
        tried += 1
        if found > quality:
            best, quality = grid[place], found
        if time.monotonic() > until:
            break
    return best, tried


def _ours(name: str, given: Hyperparameters) -> Callable[[Interactions], Fitted]:
    return lambda known: ALGORITHMS[name].fit(known, given, SEED)


def subjects() -> dict[str, Callable[[Interactions], Fitted] | None]:
    """By name: how it is fitted; None for the one that is tuned first."""
    ours: dict[str, Callable[[Interactions], Fitted] | None] = {name: _ours(name, {}) for name in sorted(ALGORITHMS) if name not in SKIPPED}
    ours |= {"ItemItem, BM25": _ours("ItemItem", {"similarity": "BM25"}), "EASE, reach 0": _ours("EASE", {"reach": 0})}
    return ours | {"implicit ALS, defaults": lambda known: implicit(known, DEFAULTS), TUNED: None}


SKIPPED = frozenset({"TwoTower", "Hybrid"})
"""They learn from a catalogue too, and are measured on cold users and items elsewhere."""
