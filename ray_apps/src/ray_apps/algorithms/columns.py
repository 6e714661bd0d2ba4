"""Columns that may be larger than a worker's memory: looked at a piece at a time, and kept on disk where there is room for them.

What is made by pieces is the same numbers whatever lies where: counts are whole, and sums are made in the order of the entries.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

PIECE = 1 << 20
"""Entries looked at in one go."""
BINS = 1 << 16
"""Values are told apart so finely in one look at all of them."""

Number = TypeVar("Number", bound=np.generic)
Chosen = Callable[[slice], NDArray[np.bool_]]
"""Which entries of a piece are meant."""


@dataclass(frozen=True, slots=True)
class Room:
    """A folder on this worker's disk for columns. They have no names there, so nothing of them outlives whoever uses them."""

    folder: Path

    def file(self) -> BinaryIO:
        """An empty file without a name."""
        return tempfile.TemporaryFile(dir=self.folder)


@dataclass(slots=True)
class Growing(Generic[Number]):
    """A column that comes in parts."""

    dtype: type[Number]
    room: Room | None = None
    _file: BinaryIO | None = None
    _parts: list[NDArray[Number]] = field(default_factory=list[NDArray[Number]])

    def add(self, part: NDArray[np.generic]) -> None:
        """Put a part at its end."""
        own = np.ascontiguousarray(part, dtype=self.dtype)
        if self.room is None:
            self._parts.append(own)
            return
        self._file = self._file or self.room.file()
        self._file.write(own.data)

    def whole(self) -> NDArray[Number]:
        """All parts as one; nothing may be added any more. Who writes into what lies on disk gets a copy of the pages for themselves."""
        if self._file is None:
            return np.concatenate(self._parts) if self._parts else np.empty(0, dtype=self.dtype)
        with self._file as file:
            file.flush()
            # An array that is mapped keeps its file, and gives the disk back when nobody has it any more. Kernels in Cython, such as
            # implicit's, take no array that is read-only, though they write nothing.
            return np.asarray(np.memmap(file, dtype=self.dtype, mode="c")) if file.tell() else np.empty(0, dtype=self.dtype)


def pieces(size: int) -> Iterator[slice]:
    """So many entries, a piece at a time."""
    for start in range(0, size, PIECE):
        yield slice(start, min(start + PIECE, size))


def whole_rows(bounds: NDArray[np.int64]) -> Iterator[slice]:
    """Rows of which each owns the entries from its bound to the next, as many at a time as make about a piece; one at least."""
    start = 0
    while start < bounds.size - 1:
        stop = max(start + 1, int(np.searchsorted(bounds, bounds[start] + PIECE, side="right")) - 1)
        yield slice(start, stop)
        start = stop


def made(
    parts: Iterable[slice], dtype: type[Number], of: Callable[[slice], NDArray[np.generic]], room: Room | None = None
) -> NDArray[Number]:
    """A column of what `of` makes of each part, one after another."""
    column = Growing(dtype, room)
    for part in parts:
        column.add(of(part))
    return column.whole()


def taken(column: NDArray[Number], chosen: NDArray[np.bool_], room: Room | None = None) -> NDArray[Number]:
    """The entries of a column that are chosen."""
    if room is None:
        return column[chosen]
    return made(pieces(column.size), column.dtype.type, lambda part: column[part][chosen[part]], room)


def counted(rows: NDArray[np.integer], size: int, chosen: Chosen | None = None) -> NDArray[np.int64]:
    """How often each of `size` rows is there, of all entries or of those chosen."""
    found = np.zeros(size, dtype=np.int64)
    for part in pieces(rows.size):
        found += np.bincount(rows[part] if chosen is None else rows[part][chosen(part)], minlength=size)
    return found


def latest(rows: NDArray[np.integer], times: NDArray[np.int64], found: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row the greatest of `found` and its own times; `found` is overwritten."""
    for part in pieces(rows.size):
        np.maximum.at(found, rows[part], times[part])
    return found


def nth_greatest(values: NDArray[np.int64], count: int, chosen: NDArray[np.bool_]) -> int:
    """Of the values chosen, the one that is the greatest but for `count - 1`: found by counting, without a copy of them.

    Args:
        values: Shape (entries,).
        count: From 1 to as many as are chosen.
        chosen: Shape (entries,).
    """
    own = [part for part in pieces(values.size) if chosen[part].any()]
    low = min(int(values[part][chosen[part]].min()) for part in own)
    high = max(int(values[part][chosen[part]].max()) for part in own)
    while low < high:
        width = (high - low) // BINS + 1
        tally = np.zeros(BINS, dtype=np.int64)
        for part in own:
            within = values[part][chosen[part] & (values[part] >= low) & (values[part] <= high)]
            tally += np.bincount((within - low) // width, minlength=BINS)
        from_above = np.cumsum(tally[::-1])
        steps = int(np.searchsorted(from_above, count))
        count -= int(from_above[steps - 1]) if steps else 0
        low += (BINS - 1 - steps) * width
        high = min(high, low + width - 1)
    return low
