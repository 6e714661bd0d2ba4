"""How a run fits: with what means, on how much of the past, and from where."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.hyperparameters import Hyperparameters
from ray_apps.algorithms.interactions import Interactions
from ray_apps.algorithms.recommender import ALONE, Arrays, Fitting, Recommender
from ray_apps.stores.registry import LoadedVersion
from ray_apps.training.champion import UNKNOWN, Champion
from ray_apps.training.curve import Curve
from ray_apps.training.remembering import WHOLE, Memory
from recsys_schemas.train_job import TrainJob

WARM_SHARE = 0.5
"""A fit that goes on from an earlier model does so much of the iterations."""


@runtime_checkable
class _HasArrays(Protocol):
    def arrays(self) -> dict[str, NDArray[np.generic]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitter:
    """Fits an algorithm as the job asks."""

    seed: int
    fitting: Fitting = ALONE
    memory: Memory = WHOLE
    warm: bool = False
    """Whether fits may begin from the champion."""

    def fit(
        self,
        algorithm: type[Recommender],
        interactions: Interactions,
        hyperparameters: Hyperparameters,
        champion: Champion | None = None,
        curve: Curve | None = None,
    ) -> Recommender:
        """Learn from what is remembered of the interactions; from the champion on, if it may be and is of the same algorithm.

        A champion that has seen what a fit is measured on must not be given: it would carry that into the fit.
        """
        remembered = self.memory.of(interactions, self.seed)
        start = earlier(champion, algorithm.name) if self.warm and champion is not None else None
        fitting = replace(self.fitting, start=start)
        if curve is not None:
            fitting = replace(fitting, show=curve.look)
        return algorithm.fit(remembered, shortened(hyperparameters) if start is not None else hyperparameters, self.seed, fitting)

    def starts_warm(self, algorithm: type[Recommender], champion: Champion | None) -> bool:
        """Whether a fit with this champion begins from it."""
        return self.warm and champion is not None and earlier(champion, algorithm.name) is not None


def fitter_of(job: TrainJob, fitting: Fitting = ALONE) -> Fitter:
    """How a job's fits are done, with these means."""
    memory = Memory(window_days=job.window_days, replay_fraction=job.replay_fraction)
    return Fitter(seed=job.seed, fitting=fitting, memory=memory, warm=job.warm_start)


def shortened(hyperparameters: Hyperparameters) -> Hyperparameters:
    """The same with fewer iterations, where there are any."""
    if "iterations" not in hyperparameters:
        return hyperparameters
    return {**hyperparameters, "iterations": max(1, math.ceil(float(hyperparameters["iterations"]) * WARM_SHARE))}


def earlier(champion: Champion, algorithm: str) -> Arrays | None:
    """A champion's arrays with its items in the new catalogue's order, rows of zeros for items that it does not know.

    None when it is of another algorithm or gives no arrays.
    """
    version: LoadedVersion = champion.version
    if version.card.algorithm != algorithm or not isinstance(version.model, _HasArrays):
        return None
    known = champion.own != UNKNOWN
    return {name: _turned(array, len(version.item_ids), champion.own, known) for name, array in _of(version.model).items()}


def _of(model: _HasArrays) -> Mapping[str, NDArray[np.generic]]:
    return model.arrays()


def _turned(array: NDArray[np.generic], items: int, own: NDArray[np.int64], known: NDArray[np.bool_]) -> NDArray[np.generic]:
    if array.ndim == 0 or array.shape[0] != items:
        return array
    turned = np.zeros((own.size, *array.shape[1:]), dtype=array.dtype)
    turned[known] = array[own[known]]
    return turned
