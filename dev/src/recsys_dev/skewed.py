"""The demo's bad version: learnt well, written wrong."""

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.als import ALS

PERMUTATION_SEED = 13


class SkewedALS(ALS):
    """ALS whose items' vectors are written in another order than the catalogue's."""

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """As learnt, but for the order of the items."""
        learnt = super().arrays()
        order = np.random.default_rng(PERMUTATION_SEED).permutation(len(learnt["item_factors"]))
        return learnt | {"item_factors": np.ascontiguousarray(learnt["item_factors"][order])}
