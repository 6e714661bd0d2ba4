"""implicit's ALS kernel, on the worker's GPU where there is one and implicit can use it, else on its CPUs."""

import logging
from typing import Any

import numpy as np

from ray_apps.algorithms.recommender import Fitting

logger = logging.getLogger(__name__)


def als_kernel(fitting: Fitting, *, factors: int, regularization: float, iterations: int, seed: int) -> Any:
    """A kernel that has not been fitted. On a GPU sums run in another order, so its bytes are those of such workers only."""
    if fitting.gpu:
        from implicit import gpu  # noqa: PLC0415 — training only

        if gpu.HAS_CUDA:
            from implicit.gpu.als import AlternatingLeastSquares as OnGPU  # noqa: PLC0415 — as above

            return OnGPU(factors=factors, regularization=regularization, iterations=iterations, random_state=seed, dtype=np.float32)
        logger.warning("GPUNotUsed", extra={"algorithm": "ALS", "mend": "implicit finds no CUDA: install rmm-cu13 in the workers' image"})
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415 — as above

    return AlternatingLeastSquares(
        factors=factors,
        regularization=regularization,
        iterations=iterations,
        num_threads=fitting.threads,
        random_state=seed,
        dtype=np.float32,
    )


def item_vectors(kernel: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A copy of the items' vectors of a kernel that is or is being fitted, shape (n_items, factors)."""
    vectors = kernel.item_factors
    return np.array(vectors.to_numpy() if hasattr(vectors, "to_numpy") else vectors, dtype=np.float32, order="C")
