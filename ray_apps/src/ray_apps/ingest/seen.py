"""Ids that were seen, in columns: a few times smaller than a dictionary of them, and looked up by the thousand.

Each id has a fingerprint of 64 bits. Where no fingerprint is there twice, no id is, and that is nearly always so; else the ids
themselves are compared, so that nothing rests on a fingerprint being the only one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ray_apps.ingest.texts import Numbers

Prints = NDArray[np.uint64]
_WORD = 8
_FAN = 6
"""So many blocks of one level become one of the next: an id is moved seldom, and there are never many blocks to look through."""
_LENGTH, _SPREAD, _FOLD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93), np.uint64(32)
_MASKS = np.array([(1 << 8 * kept) - 1 for kept in range(_WORD + 1)], np.uint64)


def fingerprints(ids: pa.Array) -> Prints:
    """A fingerprint of each string of a column without nulls; equal ones have equal ones."""
    _, bounds, data = ids.buffers()
    offsets = np.frombuffer(bounds, np.int32)[ids.offset : ids.offset + len(ids) + 1].astype(np.int64)
    text = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]] if data else np.empty(0, np.uint8)
    padded = np.concatenate([text, np.zeros(_WORD, np.uint8)])
    words: Prints = np.ndarray((len(padded) - _WORD + 1,), "<u8", padded, 0, (1,))
    begins, sizes = offsets[:-1] - offsets[0], np.diff(offsets)
    prints = sizes.astype(np.uint64) * _LENGTH
    for done in range(0, int(sizes.max(initial=0)), _WORD):
        there = slice(None) if int(sizes.min()) > done else np.flatnonzero(sizes > done)
        word = words[begins[there] + done] & _MASKS[np.minimum(sizes[there] - done, _WORD)]
        mixed = (prints[there] ^ word) * _SPREAD
        prints[there] = mixed ^ (mixed >> _FOLD)
    return prints


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Some ids in the order of their offsets."""

    prints: Prints
    offsets: Numbers
    ids: pa.Array
    level: int
    ordered: Prints
    """The fingerprints, ascending."""

    def where(self, wanted: Prints) -> Mapping[str, int]:
        """Offset of the newest of each id whose fingerprint is wanted."""
        rows = np.flatnonzero(np.isin(self.prints, wanted))
        return dict(zip(self.ids.take(pa.array(rows)).to_pylist(), self.offsets[rows].tolist(), strict=True))


@dataclass(slots=True)
class Seen:
    """Ids of one stretch of a partition."""

    blocks: list[Block] = field(default_factory=list[Block])

    def __len__(self) -> int:
        return sum(len(block.offsets) for block in self.blocks)

    def add(self, prints: Prints, offsets: Numbers, ids: pa.Array, ordered: Prints | None = None) -> None:
        """Take ids whose offsets stand behind all those that are here; `ordered`: their fingerprints ascending, if somebody has them."""
        if not len(offsets):
            return
        # A copy of the ids: they may be a part of something larger.
        copied = pa.concat_arrays([ids])
        self.blocks.append(
            Block(prints=prints, offsets=offsets, ids=copied, level=0, ordered=np.sort(prints) if ordered is None else ordered)
        )
        while len(self.blocks) >= _FAN and self.blocks[-_FAN].level == self.blocks[-1].level:
            self.blocks[-_FAN:] = [_joined(self.blocks[-_FAN:])]

    def joined(self) -> "Seen":
        """The same in one block: it is added to no more."""
        return Seen([_joined(self.blocks)]) if len(self.blocks) > 1 else self


def _joined(blocks: Sequence[Block]) -> Block:
    prints = np.concatenate([block.prints for block in blocks])
    return Block(
        prints=prints,
        offsets=np.concatenate([block.offsets for block in blocks]),
        ids=pa.concat_arrays([block.ids for block in blocks]),
        level=max(block.level for block in blocks) + 1,
        ordered=np.sort(prints),
    )


def seen_before(ordered: Prints, blocks: Sequence[Block]) -> Prints | None:
    """Those of some fingerprints, given ascending, that are in one of the blocks, or several times among themselves; None when none is."""
    found = np.zeros(len(ordered), np.bool_)
    found[1:] = ordered[1:] == ordered[:-1]
    for block in blocks:
        at = np.searchsorted(block.ordered, ordered)
        found |= block.ordered.take(at, mode="clip") == ordered
    return ordered[found] if found.any() else None
