"""How much a like counts by whose it is: who likes everything says less by each like."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.recommender import Arrays, required


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What one like counts, divided by how much longer its user's history is than the mean one, to the power of `damping`."""

    alpha: float
    """What it counts in a history of the usual length."""
    damping: float
    """0: in all histories alike."""
    usual: float
    """Mean length of the histories that were learned from."""

    @classmethod
    def in_histories(cls, lengths: NDArray[np.integer], *, alpha: float, damping: float) -> "Trust":
        """The trust that histories of such lengths are learned from with; empty ones do not count for the mean."""
        filled = lengths[lengths > 0]
        return cls(alpha=alpha, damping=damping, usual=float(filled.mean()) if filled.size else 1.0)

    def of(self, lengths: NDArray[np.integer]) -> NDArray[np.float64]:
        """What a like of weight 1 counts in histories of such lengths; in an empty one, of which there is none, as in one of length 1."""
        return self.alpha * (np.maximum(lengths, 1) / self.usual) ** -self.damping

    def of_one(self, length: int) -> float:
        """The same for one history, without an array."""
        return self.alpha * (max(length, 1) / self.usual) ** -self.damping

    def array(self) -> NDArray[np.float64]:
        """Its numbers in the order of the fields."""
        return np.array([self.alpha, self.damping, self.usual])

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Trust":
        """The trust from a model's array `trust`; that of a model without one, which trusts all histories alike.

        Raises:
            ValueError: it does not fit.
        """
        if "trust" not in arrays:
            return cls(alpha=1.0, damping=0.0, usual=1.0)
        alpha, damping, usual = (float(value) for value in np.asarray(required(arrays, "trust", "f", (3,))))
        if not (np.isfinite([alpha, damping, usual]).all() and usual > 0):
            raise ValueError(f"model array 'trust': ({alpha}, {damping}, {usual}); finite numbers, the last above 0, were expected")
        return cls(alpha=alpha, damping=damping, usual=usual)
