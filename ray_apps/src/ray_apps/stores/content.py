"""What is known of the items themselves, and the five arrays that carry it within a version."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ray_apps.stores.identifiers import Identifiers, packed

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

CONTENT_FILES = ("content_indptr", "content_indices", "content_weights", "feature_offsets", "feature_bytes")
"""Arrays of a version that learned from a catalogue; older ones and those without a catalogue have none of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is known of the items themselves, in compressed sparse rows: item i owns `indices[indptr[i]:indptr[i + 1]]`, ascending.

    `indices` point into `features` (names such as `genre:Comedy` or `text:robot`, sorted by their UTF-8 bytes), `weights` say how much
    each says of the item. Rows have length 1 (L2) or, where nothing is known, 0.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    weights: NDArray[np.float32]
    features: tuple[str, ...]

    def __len__(self) -> int:
        return self.indptr.size - 1

    def of(self, item: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Feature indices and weights of one item, both of shape (known,)."""
        low, high = int(self.indptr[item]), int(self.indptr[item + 1])
        return self.indices[low:high], self.weights[low:high]

    def matrix(self) -> "csr_matrix":
        """The same as a scipy matrix of shape (n_items, features), float32."""
        from scipy.sparse import csr_matrix  # noqa: PLC0415 — serving scores with numpy alone

        return csr_matrix((self.weights, self.indices, self.indptr), shape=(len(self), len(self.features)))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The arrays by the names in `CONTENT_FILES`.

        Raises:
            ValueError: the features are not sorted by their UTF-8 bytes, or one stands twice.
        """
        offsets, data = packed(self.features)
        own = (self.indptr.astype(np.int64), self.indices.astype(np.int32), self.weights.astype(np.float32), offsets, data)
        return dict(zip(CONTENT_FILES, own, strict=True))


def content_of_arrays(arrays: Mapping[str, NDArray[np.generic]], n_items: int) -> Content | None:
    """The content that a version's arrays carry; None when they carry none.

    Raises:
        ValueError: some of the five are missing, or they do not fit each other or `n_items`.
    """
    there = [name for name in CONTENT_FILES if name in arrays]
    if not there:
        return None
    missing = sorted(set(CONTENT_FILES) - set(there))
    if missing:
        raise ValueError(f"{missing[0]}.npy: a version with {there[0]}.npy has it, this one does not")
    for name in CONTENT_FILES[3:]:
        _check_kind(arrays, name, "iu"[name == "feature_bytes"])
    offsets, data = np.asarray(arrays["feature_offsets"], np.int64), np.asarray(arrays["feature_bytes"], np.uint8)
    _check_steps("feature_offsets", offsets, offsets.size - 1, data.size)
    return content_of_rows(arrays, n_items, tuple(Identifiers(offsets=offsets, data=data)))


def content_of_rows(arrays: Mapping[str, NDArray[np.generic]], n_items: int, features: tuple[str, ...]) -> Content:
    """Content from its first three arrays and the names of its features.

    Raises:
        ValueError: an array is missing, or they do not fit each other, the features or `n_items`.
    """
    for name, kind in zip(CONTENT_FILES[:3], "iif", strict=True):
        _check_kind(arrays, name, kind)
    indptr, indices, weights = (arrays[name] for name in CONTENT_FILES[:3])
    _check_steps("content_indptr", indptr, n_items, indices.size)
    if weights.shape != indices.shape:
        raise ValueError(f"content_weights: shape {weights.shape}; {indices.shape} was expected")
    points = np.asarray(indices, np.int32)
    if points.size and not 0 <= int(points.min()) <= int(points.max()) < len(features):
        raise ValueError(f"content_indices: points outside the {len(features)} features")
    if not np.isfinite(np.asarray(weights, np.float32)).all():
        raise ValueError("content_weights: has values that are not finite")
    return Content(indptr=np.asarray(indptr, np.int64), indices=points, weights=np.asarray(weights, np.float32), features=features)


def _check_kind(arrays: Mapping[str, NDArray[np.generic]], name: str, kind: str) -> None:
    """Refuse an array that is missing, or not one row of numbers of a kind."""
    if name not in arrays:
        raise ValueError(f"{name}: is missing")
    if arrays[name].ndim != 1 or arrays[name].dtype.kind != kind:
        raise ValueError(f"{name}: {arrays[name].dtype} of shape {arrays[name].shape}; kind {kind} with one dimension was expected")


def _check_steps(name: str, steps: NDArray[np.generic], rows: int, last: int) -> None:
    """Refuse row bounds that do not begin at 0, end at `last`, or ever fall."""
    bounds = np.asarray(steps, dtype=np.int64)
    if bounds.shape != (rows + 1,) or rows < 0 or int(bounds[0]) != 0 or int(bounds[-1]) != last or bool((np.diff(bounds) < 0).any()):
        raise ValueError(f"{name}: {bounds.size} bounds; {rows + 1} that rise from 0 to {last} were expected")
