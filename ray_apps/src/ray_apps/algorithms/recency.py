"""How much an older like says of what a user wants now: half as much for each so many likes that came after it.

Models learn from likes as they are: what goes together does not age so fast. But they are asked about now, so the histories that they are
asked with may be faded, where they are measured and where they serve alike (`spec.training.historyHalfLife`; ADR 47 says what it is
worth). Likes are counted, not days: a user who comes back after a year has the taste that they left with.
"""

import numpy as np
from numpy.typing import NDArray

LEAST = 1e-6
"""What a like is worth at least: it is liked all the same."""


def faded(weights: NDArray[np.float32], later: NDArray[np.integer] | int, half_life: float | None) -> NDArray[np.float32]:
    """Weights of likes after each of which so many others came; as they are without a half-life. Fading twice fades by the sum."""
    if half_life is None:
        return weights
    return np.maximum(weights * np.exp2(-np.asarray(later) / half_life), LEAST).astype(np.float32)
