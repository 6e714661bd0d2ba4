"""EASE: a linear autoencoder without hidden layer, in closed form; here it may also know which items were liked one after the other.

Source: Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019: B = I - P diag(1 / diag P) with P = (G + lambda I)^-1 and
G = X'X. With a `reach`, a pair of items counts in G by how near the two stand in the user's order in time: (1 + k(d)) / 2 with
k(d) = max(0, 1 - d / reach) for d places between them. Such a k is positive definite, so by Schur's product theorem G stays a Gram matrix
and the closed form holds (Scholkopf & Smola, "Learning with kernels", 2002, chapter 13).
"""

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.hyperparameters import Hyperparameters, Parameter, Unsuitable, checked
from ray_apps.algorithms.interactions import Histories, Indices, Interactions, Weights
from ray_apps.algorithms.recommender import ALONE, Arrays, Fitting, Scores, required

MOST_ITEMS = 20_000
"""Items that were liked at all: their matrix has 1.6 GB then, twice that while it is made, and 8e12 operations behind it."""
ROWS_AT_ONCE = 512
"""Rows of B that one answer copies at a time: a history may be as long as the catalogue."""


class EASE:
    """Sums what each liked item says for and against all others. B is dense over the items that anybody liked; the rest score 0."""

    name: ClassVar[str] = "EASE"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "ridge": Parameter(default=100.0, low=0.001, high=1_000_000.0),
        "reach": Parameter(default=50, low=0, high=1_000),
    }

    def __init__(self, rows: Indices, matrix: Scores) -> None:
        """Take `rows`, the row of B of each item or -1, shape (n_items,), rows ascending with items; and `matrix`, B itself."""
        self._rows, self._known, self._matrix = rows, np.flatnonzero(rows >= 0), matrix

    @classmethod
    def fit(cls, interactions: Interactions, hyperparameters: Hyperparameters, seed: int, fitting: Fitting = ALONE) -> Self:
        """Invert the regularised Gram matrix once, on one BLAS thread, in double precision; nothing is left to chance.

        Raises:
            HyperparameterError: a hyperparameter is unknown or out of range.
            Unsuitable: more than MOST_ITEMS items were liked.
        """
        del seed, fitting
        values = checked(cls.name, cls.parameters, hyperparameters)
        liked = interactions.popularity() > 0
        known = int(np.count_nonzero(liked))
        if known > MOST_ITEMS:
            raise Unsuitable(
                f"algorithm: EASE keeps a matrix of items by items, {_megabytes(known):,} MB for the {known:,} items liked; it takes "
                f"at most {MOST_ITEMS:,} items ({_megabytes(MOST_ITEMS):,} MB); use ALS or ItemItem"
            )
        rows = np.where(liked, np.cumsum(liked) - 1, -1).astype(np.int32)
        return cls(rows, _solved(_gram(interactions, rows, known, int(values["reach"])), float(values["ridge"])))

    def scores(self, history: Indices, weights: Weights) -> Scores:
        """Weighted sum of the rows of B that belong to the history, shape (n_items,); 0 for items that nobody liked."""
        rows = self._rows[history]
        mine = rows >= 0
        rows, weights = rows[mine], weights[mine]
        total = np.zeros(self._known.size, dtype=np.float32)
        for start in range(0, rows.size, ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            total += weights[part] @ self._matrix[rows[part]]
        scores = np.zeros(self._rows.size, dtype=np.float32)
        scores[self._known] = total
        return scores

    def scores_many(self, histories: Histories) -> Scores:
        """The same for several users, shape (users, n_items)."""
        if not len(histories):
            return np.empty((0, self._rows.size), dtype=np.float32)
        return np.stack([self.scores(*histories.of(user)) for user in range(len(histories))])

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """`rows` int32 (n_items,): each item's row, -1 for one that nobody liked; `matrix` float32 (known, known): B, its diagonal 0."""
        return {"rows": self._rows, "matrix": self._matrix}

    @classmethod
    def from_arrays(cls, arrays: Arrays, n_items: int) -> Self:
        """The model from its matrix.

        Raises:
            ValueError: an array is missing, does not fit, or the rows are not those of the matrix.
        """
        rows = np.asarray(required(arrays, "rows", "i", (n_items,)), dtype=np.int32)
        known = rows[rows != -1]
        matrix = np.asarray(required(arrays, "matrix", "f", (known.size, known.size)), dtype=np.float32)
        if not np.array_equal(known, np.arange(known.size)):
            raise ValueError(f"model array 'rows' does not number the {known.size} rows of 'matrix' in the order of items")
        return cls(rows, matrix)


def _megabytes(items: int) -> int:
    return 4 * items**2 // 1_000_000


def _gram(interactions: Interactions, rows: Indices, known: int, reach: int) -> NDArray[np.float64]:
    """G, shape (known, known). Sums are made in one order: by distance, then by user and time."""
    liked = interactions.histories().matrix(interactions.n_items)[:, rows >= 0].astype(np.float64)
    gram = np.ascontiguousarray((liked.T @ liked).toarray())
    if not reach:
        return gram
    diagonal = gram.diagonal().copy()
    order = np.lexsort((interactions.items, interactions.times, interactions.users))
    users, weights = interactions.users[order], interactions.weights[order].astype(np.float64)
    places = rows[interactions.items[order]].astype(np.int64)
    flat = gram.reshape(-1)
    for distance in range(1, min(reach, int(np.bincount(users, minlength=1).max()))):
        same = np.flatnonzero(users[distance:] == users[:-distance])
        first, second = places[same], places[same + distance]
        near = (1 - distance / reach) * weights[same] * weights[same + distance]
        np.add.at(flat, first * known + second, near)
        np.add.at(flat, second * known + first, near)
    gram *= 0.5
    gram[np.diag_indices(known)] = diagonal
    return gram


def _solved(gram: NDArray[np.float64], ridge: float) -> Scores:
    """B, shape (known, known); `gram` is overwritten."""
    from scipy.linalg import lapack  # noqa: PLC0415 — training only
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 — training only

    known = len(gram)
    if not known:
        return np.empty((0, 0), dtype=np.float32)
    gram[np.diag_indices(known)] += ridge
    with threadpool_limits(1, "blas"):
        factor, failed = lapack.dpotrf(gram.T, lower=1, overwrite_a=1)  # pyright: ignore[reportAttributeAccessIssue] — made when scipy is imported
        inverse, failed_too = lapack.dpotri(factor, lower=1, overwrite_c=1)  # pyright: ignore[reportAttributeAccessIssue] — as above
    if failed or failed_too:
        raise Unsuitable(f"hyperparameters.ridge: with {ridge:g} the matrix of {known} items cannot be inverted; use a larger one")
    matrix = np.empty((known, known), dtype=np.float32)
    scale = -1 / inverse.diagonal()
    for item in range(known):  # by parts: only the lower triangle of the inverse holds numbers
        matrix[item, : item + 1] = inverse[item, : item + 1] * scale[: item + 1]
        matrix[item, item:] = inverse[item:, item] * scale[item:]
    matrix[np.diag_indices(known)] = 0
    return matrix
