"""Ids as arrays: sorted by their UTF-8 bytes, kept as offsets and bytes, so that they can be memory-mapped and searched in place."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import overload

import numpy as np
from numpy.typing import NDArray


def packed(ids: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Offsets of shape (ids + 1,) and bytes of ids that are sorted by their UTF-8 bytes.

    Raises:
        ValueError: they are not sorted, or one stands twice.
    """
    encoded = [identifier.encode() for identifier in ids]
    for before, after in pairwise(encoded):
        if before >= after:
            raise ValueError(f"ids: {after.decode()!r} follows {before.decode()!r}; sort them by their UTF-8 bytes, each once")
    offsets = np.concatenate(([0], np.cumsum([len(raw) for raw in encoded]))).astype(np.int64)
    return offsets, np.frombuffer(b"".join(encoded), dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifiers(Sequence[str]):
    """Ids in byte order, by position and back: `ids[7]`, `ids.position("a")`, `"a" in ids`, `len(ids)`."""

    offsets: NDArray[np.int64]
    data: NDArray[np.uint8]

    def __len__(self) -> int:
        return self.offsets.size - 1

    def _raw(self, position: int) -> bytes:
        return self.data[self.offsets[position] : self.offsets[position + 1]].tobytes()

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"position {index} is outside the {len(self)} ids")
        return self._raw(position).decode()

    def __iter__(self) -> Iterator[str]:
        return (self[position] for position in range(len(self)))

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and self.position(value) is not None

    def position(self, identifier: str) -> int | None:
        """Where an id stands, found by bisection; None when it is not there."""
        wanted = identifier.encode(errors="surrogatepass")
        starts, data = self.offsets.data, self.data.data  # views, which give numbers and bytes in half the time that arrays take
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if data[starts[middle] : starts[middle + 1]].tobytes() < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self._raw(low) == wanted else None

    def many(self, positions: Iterable[int]) -> list[str]:
        """The ids at some positions, in the order asked."""
        return [self[int(position)] for position in positions]


@dataclass(frozen=True, slots=True)
class Positions(Mapping[str, int]):
    """Ids as a mapping from id to position."""

    ids: Identifiers

    def __getitem__(self, identifier: str) -> int:
        position = self.ids.position(identifier)
        if position is None:
            raise KeyError(identifier)
        return position

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)
