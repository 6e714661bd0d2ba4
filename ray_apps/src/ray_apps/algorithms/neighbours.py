"""For each item the well-known items that are most like it by content: they speak for it until it is known itself."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.onboarding import row_sums
from ray_apps.algorithms.recommender import Arrays, required
from ray_apps.stores.content import Content

MOST_ANCHORS = 4096
"""The most liked items; only they speak for others, for they are known best. It bounds the time to look for neighbours."""
BLOCK = 512
"""Items looked at in one go, to bound memory."""
HEARSAY = 0.5
"""What neighbours say counts half: an item that is like others is seldom liked as much. It keeps known items in their places."""
LEAST_DOUBT = 0.05
"""An item that is known so well speaks for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Sparse rows: row i holds the items that speak for item i, and how much each says."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    shares: NDArray[np.float32]
    trust: NDArray[np.float32]
    """How much each item speaks for itself, shape (n_items,): 1 where nobody else does."""

    def blended(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        """Scores of all items, of which the little known ones are drawn to those of their neighbours, shape (n_items,)."""
        return self.trust * scores.astype(np.float64) + row_sums(self.indptr, self.shares * scores[self.indices])

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The four arrays, named `near_...`."""
        return {"near_indptr": self.indptr, "near_indices": self.indices, "near_shares": self.shares, "near_trust": self.trust}

    @classmethod
    def from_arrays(cls, arrays: Arrays, n_items: int) -> "Neighbours":
        """The neighbours from their arrays.

        Raises:
            ValueError: an array is missing or does not fit.
        """
        indptr = np.asarray(required(arrays, "near_indptr", "i", (n_items + 1,)), dtype=np.int64)
        indices = np.asarray(required(arrays, "near_indices", "i", (None,)), dtype=np.int32)
        shares = np.asarray(required(arrays, "near_shares", "f", (indices.size,)), dtype=np.float32)
        trust = np.asarray(required(arrays, "near_trust", "f", (n_items,)), dtype=np.float32)
        if int(indptr[0]) != 0 or int(indptr[-1]) != indices.size or bool((np.diff(indptr) < 0).any()):
            raise ValueError(f"model array 'near_indptr': bounds that rise from 0 to {indices.size} were expected")
        if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < n_items:
            raise ValueError(f"model array 'near_indices': points outside the {n_items} items")
        if not (np.isfinite(shares).all() and np.isfinite(trust).all()):
            raise ValueError("model arrays 'near_shares' and 'near_trust': have values that are not finite")
        return cls(indptr=indptr, indices=indices, shares=shares, trust=trust)


def neighbours_of(content: Content, popularity: NDArray[np.int64], *, shrinkage: float, most: int) -> Neighbours:
    """Who speaks for whom: an item that n users liked speaks for itself with n / (n + shrinkage), its neighbours for the rest.

    Args:
        content: What is known of the items.
        popularity: Users who liked each, shape (n_items,).
        shrinkage: Users after whom an item is believed half; 0: at once.
        most: Neighbours of one item.
    """
    n_items = popularity.size
    doubt = shrinkage / (popularity + shrinkage) if shrinkage else np.zeros(n_items)
    asks = np.flatnonzero((doubt >= LEAST_DOUBT) & (np.diff(content.indptr) > 0))
    anchors = np.lexsort((np.arange(n_items), -popularity))[:MOST_ANCHORS]
    anchors = np.sort(anchors[(popularity[anchors] > 0) & (doubt[anchors] < 0.5)])
    matrix = content.matrix()
    speaking = matrix[anchors].T.tocsr()
    lengths, found, shares = np.zeros(n_items, dtype=np.int64), [np.empty(0, np.int64)], [np.empty(0)]
    for start in range(0, asks.size, BLOCK):
        rows = asks[start : start + BLOCK]
        near = (matrix[rows] @ speaking).toarray().astype(np.float64)
        near[anchors[None, :] == rows[:, None]] = 0
        for row, similar in zip(rows, near, strict=True):
            chosen = _nearest(similar, most)
            lengths[row] = chosen.size
            found.append(anchors[chosen])
            shares.append(HEARSAY * doubt[row] * similar[chosen] / similar[chosen].sum() if chosen.size else np.empty(0))
    return Neighbours(
        indptr=np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        indices=np.concatenate(found).astype(np.int32),
        shares=np.concatenate(shares).astype(np.float32),
        trust=np.where(lengths > 0, 1 - doubt, 1.0).astype(np.float32),
    )


def _nearest(similar: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """The most similar, those that are similar at all, ascending; of equally similar ones the first."""
    near = np.flatnonzero(similar > 0)
    if near.size > most:
        near = near[np.lexsort((near, -similar[near]))[:most]]
    return np.sort(near)
