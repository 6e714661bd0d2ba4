"""Rows of a factorisation, solved exactly: the least-squares vector of many users (or items) given the other side's vectors.

Both sides stand in the eigenbasis of the other side's Gram matrix G. There the part of every row's normal matrix that all rows share,
`unobserved * G + penalty * I`, is diagonal, however the penalty differs from row to row. So a row with n entries costs a system of
min(n, factors): by the Woodbury identity one of its own length when it is short. Nothing is approximated, and no d x d matrix is stored.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Histories, Indices, Weights

Factors = NDArray[np.float32]
"""Vectors as rows, shape (rows, factors)."""
Spectrum = NDArray[np.float64]
"""Eigenvalues of the other side's Gram matrix, in the order of the factors' columns, shape (factors,)."""

MOST_FLOATS = 1 << 20
"""Vectors gathered at once, in numbers: 4 MB, so that a batch stays in the cache."""
LEAST_DIAGONAL = 1e-7
"""Keeps a row solvable when nothing regularises it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What is minimised: weight * (1 - x.y)^2 for entries, unobserved * (x.y)^2 for all pairs, and the penalty on each vector.

    Source: Rendle, Krichene, Zhang & Koren, "Revisiting the performance of iALS on item recommendation benchmarks", RecSys 2022.
    """

    regularization: float
    exponent: float
    """1: a vector's penalty grows with what it stands for; 0: all are penalised alike."""
    unobserved: float

    @classmethod
    def balanced(cls, values: Mapping[str, float], users: NDArray[np.integer], items: NDArray[np.integer]) -> "Loss":
        """The loss of hyperparameters, for users and items with so many entries each.

        `regularization` is as it would be at exponent 1: the penalties of all rows sum up to the same whatever the exponent (the paper's
        lambda*), so that one default does for large and small data.
        """
        unobserved, exponent = values["unobserved"], values["exponent"]
        masses = np.concatenate((users + unobserved * items.size, items + unobserved * users.size))
        scale = masses.sum() / (masses**exponent).sum() if masses.size else 1.0
        return cls(regularization=float(values["regularization"] * scale), exponent=exponent, unobserved=unobserved)

    def array(self) -> NDArray[np.float64]:
        """Its numbers in the order of the fields."""
        return np.array([self.regularization, self.exponent, self.unobserved])

    def penalties(self, lengths: NDArray[np.integer], others: int) -> NDArray[np.float64]:
        """The penalty of rows with so many entries, `others` being the number of rows of the other side."""
        return self.regularization * (lengths.astype(np.float64) + self.unobserved * others) ** self.exponent

    def diagonals(self, lengths: NDArray[np.integer], others: int, spectrum: Spectrum) -> NDArray[np.float64]:
        """The shared part of the normal matrices in the eigenbasis, shape (rows, factors)."""
        shared = self.unobserved * np.maximum(spectrum, 0.0)
        return np.maximum(shared[None, :] + self.penalties(lengths, others)[:, None], LEAST_DIAGONAL)


def solve_one(liked: NDArray[np.float64], weights: Weights, diagonal: NDArray[np.float64]) -> NDArray[np.float64]:
    """The vector of one row from the vectors of its entries, shape (entries, factors); zeros without any. numpy alone: serving needs it."""
    if not weights.size:
        return np.zeros(diagonal.size)
    roots = np.sqrt(weights.astype(np.float64))
    root_diagonal = np.sqrt(diagonal)
    scaled = liked * (roots[:, None] / root_diagonal)
    if len(scaled) <= diagonal.size:
        inner = scaled @ scaled.T
        inner.flat[:: len(inner) + 1] += 1
        return (scaled.T @ np.linalg.solve(inner, roots)) / root_diagonal
    outer = scaled.T @ scaled
    outer.flat[:: len(outer) + 1] += 1
    return np.linalg.solve(outer, scaled.T @ roots) / root_diagonal


def solve_rows(rows: Histories, other: Factors, spectrum: Spectrum, loss: Loss) -> Factors:
    """The vectors of all rows, shape (rows, factors). `other` must stand in its own eigenbasis, whose eigenvalues `spectrum` has.

    What a row's vector is depends on the row alone (and on `other`), not on the rows beside it in other blocks. Single-threaded BLAS
    is the caller's to see to (threadpoolctl).
    """
    solved = np.zeros((len(rows), other.shape[1]), dtype=np.float32)
    lengths = np.diff(rows.indptr)
    for chosen, width in _batches(lengths, other.shape[1]):
        diagonal = loss.diagonals(lengths[chosen], len(other), spectrum).astype(np.float32)
        if chosen.size == 1 and width * other.shape[1] > MOST_FLOATS:
            solved[chosen[0]] = _long(*rows.of(int(chosen[0])), other, diagonal[0])
        else:
            solved[chosen] = _batch(rows, chosen, width, other, diagonal)
    return solved


def _batches(lengths: NDArray[np.int64], factors: int) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Rows of about the same length with the longest one's, as many as fit; rows without entries are left out."""
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order]
    start = int(np.searchsorted(ordered, 1))
    while start < order.size:
        # At most a quarter of a batch is padding, and no batch is larger than the cache takes.
        stop = int(np.searchsorted(ordered, max(ordered[start] * 5 // 4, ordered[start] + 4), side="right"))
        room = max(1, MOST_FLOATS // (int(ordered[stop - 1]) * factors))
        stop = min(stop, start + room)
        yield order[start:stop], int(ordered[stop - 1])
        start = stop


def _batch(rows: Histories, chosen: NDArray[np.int64], width: int, other: Factors, diagonal: Factors) -> Factors:
    """Rows padded to `width` with entries of weight 0, which change nothing."""
    starts, lengths = rows.indptr[chosen], rows.indptr[chosen + 1] - rows.indptr[chosen]
    steps = np.arange(width)
    real = steps < lengths[:, None]
    flat = np.where(real, starts[:, None] + steps, 0)
    roots = np.sqrt(np.where(real, rows.weights[flat], np.float32(0)))
    root_diagonal = np.sqrt(diagonal)
    scaled = np.take(other, rows.indices[flat], axis=0)
    scaled *= roots[:, :, None]
    scaled /= root_diagonal[:, None, :]
    turned = scaled.transpose(0, 2, 1)
    if width <= other.shape[1]:
        solution = turned @ _systems(scaled @ turned, roots)[:, :, None]
    else:
        solution = _systems(turned @ scaled, (turned @ roots[:, :, None])[:, :, 0])[:, :, None]
    return (solution[:, :, 0] / root_diagonal).astype(np.float32, copy=False)


def _long(entries: Indices, weights: Weights, other: Factors, diagonal: Factors) -> Factors:
    """A row with more entries than are gathered at once: its normal matrix is summed up piece by piece."""
    step = max(1, MOST_FLOATS // other.shape[1])
    root_diagonal = np.sqrt(diagonal)
    matrix = np.zeros((other.shape[1], other.shape[1]), dtype=np.float64)
    right = np.zeros(other.shape[1], dtype=np.float64)
    for start in range(0, entries.size, step):
        roots = np.sqrt(weights[start : start + step])
        scaled = other[entries[start : start + step]] * roots[:, None] / root_diagonal
        matrix += scaled.T @ scaled
        right += scaled.T @ roots
    matrix.flat[:: len(matrix) + 1] += 1
    return (np.linalg.solve(matrix, right) / root_diagonal).astype(np.float32)


def _systems(matrices: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Solve (I + matrix) x = right for each: shapes (systems, n, n) and (systems, n). LAPACK's Cholesky, a third of the time of LU."""
    from scipy.linalg.lapack import sposv  # pyright: ignore[reportAttributeAccessIssue] # noqa: PLC0415 — training only: serving needs numpy alone

    size = matrices.shape[1]
    matrices.reshape(len(matrices), -1)[:, :: size + 1] += 1
    solved = np.empty_like(right)
    for row, matrix in enumerate(matrices):
        _, solved[row], failed = sposv(matrix.T, right[row], lower=1, overwrite_a=0)
        if failed:  # float32 does not do for this one
            solved[row] = np.linalg.solve(matrix.astype(np.float64), right[row].astype(np.float64))
    return solved
