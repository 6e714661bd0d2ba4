"""What may be asked of items by name, and since when they have been there: five arrays of a version that learned from a catalogue.

Unlike the content that models learn from, nothing is weighed and nothing is left out: an answer to a question with filters is exact.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ray_apps.stores.identifiers import Identifiers, packed
from recsys_schemas.catalogue import CatalogueItem

FACET_FILES = ("facet_indptr", "facet_indices", "facet_offsets", "facet_bytes", "facet_released")
"""Arrays of a version that learned from a catalogue; older ones have none of them."""
UNKNOWN = -1
"""Stands for the release of an item of which it is not known."""
SORTS = ("category", "genre", "tag")
"""What a facet speaks of, as in `genre:comedy`."""


@dataclass(frozen=True, kw_only=True)
class Facets:
    """Sparse rows: facet f is that of the items `indices[indptr[f]:indptr[f + 1]]`, ascending."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    names: Identifiers
    """Such as `category:books`, case folded, sorted by their UTF-8 bytes."""
    released: NDArray[np.int64]
    """Milliseconds since the epoch, shape (n_items,); UNKNOWN where it is not known."""

    @cached_property
    def sorts(self) -> frozenset[str]:
        """Of which sorts there is any, `released` among them."""
        found = {name.partition(":")[0] for name in self.names}
        return frozenset(found | ({"released"} if (self.released != UNKNOWN).any() else set()))

    def items(self, name: str) -> NDArray[np.int32]:
        """Items that have a facet, ascending; none when there is no such facet."""
        row = self.names.position(name)
        return self.indices[:0] if row is None else self.indices[int(self.indptr[row]) : int(self.indptr[row + 1])]

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The arrays by the names in `FACET_FILES`."""
        own = (self.indptr, self.indices, self.names.offsets, self.names.data, self.released)
        return dict(zip(FACET_FILES, own, strict=True))


def facets_said(item: CatalogueItem) -> Iterator[str]:
    """The facets of one item; some may come twice."""
    for sort, words in zip(SORTS, ([item.category] if item.category else [], item.genres or [], item.tags or []), strict=True):
        for word in words:
            yield facet(sort, word)


def facet(sort: str, word: str) -> str:
    """The name of a facet: `facet("genre", " Comedy")` is `genre:comedy`."""
    return f"{sort}:{word.strip().casefold()}"


def facets_of(items: Iterable[CatalogueItem], item_ids: Sequence[str]) -> Facets:
    """Facets of the items `item_ids`, in that order; what is not among `items` has none. Their order does not matter."""
    position = {item: index for index, item in enumerate(item_ids)}
    released = np.full(len(item_ids), UNKNOWN, dtype=np.int64)
    having: dict[str, set[int]] = {}
    for item in items:
        row = position.get(item.item_id)
        if row is None:
            continue
        if item.released_at is not None:
            released[row] = item.released_at
        for name in facets_said(item):
            having.setdefault(name, set()).add(row)
    names = sorted(having, key=str.encode)
    rows = [np.array(sorted(having[name]), dtype=np.int32) for name in names]
    offsets, data = packed(names)
    return Facets(
        indptr=np.concatenate(([0], np.cumsum([row.size for row in rows], dtype=np.int64))).astype(np.int64),
        indices=np.concatenate([np.empty(0, dtype=np.int32), *rows]),
        names=Identifiers(offsets=offsets, data=data),
        released=released,
    )


def facets_of_arrays(arrays: Mapping[str, NDArray[np.generic]], n_items: int) -> Facets | None:
    """The facets that a version's arrays carry; None when they carry none.

    Raises:
        ValueError: some of the five are missing, or they do not fit each other or `n_items`.
    """
    there = [name for name in FACET_FILES if name in arrays]
    if not there:
        return None
    for name, kind in zip(FACET_FILES, "iiiui", strict=True):
        if name not in arrays:
            raise ValueError(f"{name}.npy: a version with {there[0]}.npy has it, this one does not")
        if arrays[name].ndim != 1 or arrays[name].dtype.kind != kind:
            raise ValueError(f"{name}: {arrays[name].dtype} of shape {arrays[name].shape}; kind {kind} with one dimension was expected")
    indptr, indices, offsets, data, released = (arrays[name] for name in FACET_FILES)
    _check_bounds("facet_offsets", np.asarray(offsets, np.int64), data.size)
    _check_bounds("facet_indptr", np.asarray(indptr, np.int64), indices.size)
    points = np.asarray(indices, np.int32)
    if indptr.size != offsets.size:
        raise ValueError(f"facet_indptr: {indptr.size} bounds for {offsets.size - 1} facets; {offsets.size} were expected")
    if points.size and not 0 <= int(points.min()) <= int(points.max()) < n_items:
        raise ValueError(f"facet_indices: points outside the {n_items} items")
    if released.shape != (n_items,):
        raise ValueError(f"facet_released: shape {released.shape}; ({n_items},) was expected")
    names = Identifiers(offsets=np.asarray(offsets, np.int64), data=np.asarray(data, np.uint8))
    return Facets(indptr=np.asarray(indptr, np.int64), indices=points, names=names, released=np.asarray(released, np.int64))


def _check_bounds(name: str, bounds: NDArray[np.int64], last: int) -> None:
    if not bounds.size or int(bounds[0]) != 0 or int(bounds[-1]) != last or bool((np.diff(bounds) < 0).any()):
        raise ValueError(f"{name}: bounds that rise from 0 to {last} were expected")
