"""Item-item collaborative filtering: an item is good when it is liked by those who like what the user likes.

Source: Deshpande & Karypis, "Item-based top-N recommendation algorithms", ACM TOIS 22(1), 2004. BM25 as the weight of an interaction, users
being the words of which an item is made: Robertson & Zaragoza, "The probabilistic relevance framework: BM25 and beyond", FnTIR 3(4), 2009.
"""

import warnings
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.hyperparameters import Hyperparameters, Parameter, checked
from ray_apps.algorithms.interactions import Histories, Indices, Interactions, Weights
from ray_apps.algorithms.recommender import ALONE, Arrays, Fitting, Scores, required


class ItemItem:
    """Sums the similarity of each item to the items liked; only the nearest `neighbours` of each are kept.

    Similarity: Cosine of the items' columns, or the product of their BM25 weights, which trusts popular items more.
    """

    name: ClassVar[str] = "ItemItem"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "neighbours": Parameter(default=50, low=1, high=10_000),
        "similarity": Parameter(default="Cosine", choices=("Cosine", "BM25")),
    }

    def __init__(self, indptr: NDArray[np.int64], indices: Indices, similarities: Scores) -> None:
        self._indptr, self._indices, self._similarities = indptr, indices, similarities
        self._n_items = indptr.size - 1

    @classmethod
    def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
        """Find each item's nearest neighbours with implicit's kernel; nothing is left to chance.

        Raises:
            HyperparameterError: a hyperparameter is unknown or out of range.
        """
        del seed, fitting
        values = checked(cls.name, cls.parameters, hyperparameters)
        from implicit.nearest_neighbours import BM25Recommender, CosineRecommender  # noqa: PLC0415 — training only
        from scipy.sparse import csr_matrix  # noqa: PLC0415 — training only

        # One more than asked: an item is its own nearest neighbour, and that one is dropped.
        kinds = {"Cosine": CosineRecommender, "BM25": BM25Recommender}
        kernel = kinds[str(values["similarity"])](K=int(values["neighbours"]) + 1, num_threads=1)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Method expects CSR input")  # of its own normalised copy
            kernel.fit(interactions.histories().matrix(interactions.n_items), show_progress=False)
        near = csr_matrix(kernel.similarity, dtype=np.float32)
        near.setdiag(0)
        near.eliminate_zeros()
        near.sort_indices()
        return cls(near.indptr.astype(np.int64), near.indices.astype(np.int32), np.asarray(near.data, dtype=np.float32))

    def scores(self, history: Indices, weights: Weights) -> Scores:
        """Weighted sum of the rows of similarity that belong to the history, shape (n_items,)."""
        starts = self._indptr[history]
        lengths = self._indptr[np.add(history, 1)] - starts
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if ends.size else 0
        flat = np.repeat(starts - (ends - lengths), lengths) + np.arange(total)
        terms = self._similarities[flat] * np.repeat(weights, lengths)
        return np.bincount(self._indices[flat], weights=terms, minlength=self._n_items).astype(np.float32)

    def scores_many(self, histories: Histories) -> Scores:
        """The same for several users, shape (users, n_items)."""
        if not len(histories):
            return np.empty((0, self._n_items), dtype=np.float32)
        return np.stack([self.scores(*histories.of(user)) for user in range(len(histories))])

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Rows of the similarity matrix: `indptr` int64 (n_items + 1,), `indices` int32 and `similarities` float32 (kept,)."""
        return {"indptr": self._indptr, "indices": self._indices, "similarities": self._similarities}

    @classmethod
    def from_arrays(cls, arrays: Arrays, n_items: int) -> Self:
        """The model from its rows.

        Raises:
            ValueError: an array is missing, does not fit, or points outside the catalogue.
        """
        indptr = np.asarray(required(arrays, "indptr", "i", (n_items + 1,)), dtype=np.int64)
        indices = np.asarray(required(arrays, "indices", "i", (None,)), dtype=np.int32)
        similarities = np.asarray(required(arrays, "similarities", "f", (indices.size,)), dtype=np.float32)
        if indptr[0] != 0 or indptr[-1] != indices.size or (np.diff(indptr) < 0).any():
            raise ValueError(f"model array 'indptr' does not divide the {indices.size} neighbours into rows")
        if indices.size and not 0 <= indices.min() <= indices.max() < n_items:
            raise ValueError(f"model array 'indices' points outside the {n_items} items")
        return cls(indptr, indices, similarities)
