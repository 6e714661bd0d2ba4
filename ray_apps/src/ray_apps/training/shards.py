"""A worker's shard: the rows of its own blocks of users and of items, streamed from a snapshot without ever holding the rest.

Reading Parquet with pyarrow, a batch at a time, beats Ray Data here: see ADR 20.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.ials_blocks import blocks_of, count_of_blocks
from ray_apps.algorithms.interactions import Histories, Interactions
from ray_apps.stores.snapshots import Snapshot
from ray_apps.training.events import Catalogue, batches, index_of

Bits = NDArray[np.uint8]
"""One bit for each entry of a block, packed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The rows of a worker's blocks, users' and items', by block."""

    n_users: int
    n_items: int
    users: Mapping[int, Histories]
    items: Mapping[int, Histories]


@dataclass(slots=True)
class _Rows:
    """Entries of one side as they come: keys (row within its block, other side's index) and weights, by block."""

    blocks: int
    others: int
    own: range
    keys: dict[int, list[NDArray[np.int64]]] = field(default_factory=dict[int, list[NDArray[np.int64]]])
    weights: dict[int, list[NDArray[np.float32]]] = field(default_factory=dict[int, list[NDArray[np.float32]]])

    def add(self, rows: NDArray[np.int64], others: NDArray[np.int64], weights: NDArray[np.float32]) -> None:
        """Keep what belongs to the own blocks."""
        block = rows % self.blocks
        chosen = np.flatnonzero((block >= self.own.start) & (block < self.own.stop))
        chosen = chosen[np.argsort(block[chosen], kind="stable")]
        keys = (rows[chosen] // self.blocks) * self.others + others[chosen]
        bounds = np.searchsorted(block[chosen], np.arange(self.own.start, self.own.stop + 1))
        for number, low, high in zip(self.own, bounds[:-1], bounds[1:], strict=True):
            self.keys.setdefault(number, []).append(keys[low:high].copy())
            self.weights.setdefault(number, []).append(weights[chosen[low:high]])

    def settled(self, rows: int) -> dict[int, Histories]:
        """The histories of each block: of several events of one pair the strongest weight stays. What was kept is given up."""
        return {number: self._block(number, len(range(number, rows, self.blocks))) for number in self.own}

    def _block(self, number: int, rows: int) -> Histories:
        keys = np.concatenate(self.keys.pop(number, None) or [np.empty(0, dtype=np.int64)])
        weights = np.concatenate(self.weights.pop(number, None) or [np.empty(0, dtype=np.float32)])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.concatenate((np.ones(min(keys.size, 1), dtype=np.bool_), keys[1:] != keys[:-1])))
        counts = np.bincount(keys[starts] // self.others, minlength=rows)
        return Histories(
            indptr=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
            indices=(keys[starts] % self.others).astype(np.int32),
            weights=np.maximum.reduceat(weights[order], starts) if starts.size else weights,
        )


def read_shard(snapshot: Snapshot, catalogue: Catalogue, rank: int, workers: int) -> Shard:
    """Stream the events once and keep what belongs to this worker's blocks.

    Memory: a batch of events, the catalogue, and 24 bytes for each event of the shard while it is read, 16 afterwards.
    """
    n_users, n_items = len(catalogue.users), len(catalogue.items)
    user_blocks, item_blocks = count_of_blocks(n_users), count_of_blocks(n_items)
    users = _Rows(user_blocks, n_items, blocks_of(rank, workers, user_blocks))
    items = _Rows(item_blocks, n_users, blocks_of(rank, workers, item_blocks))
    for rows in batches(snapshot):
        user, item = index_of(rows["user_id"], catalogue.users), index_of(rows["item_id"], catalogue.items)
        weight = rows["weight"].to_numpy().astype(np.float32)
        users.add(user, item, weight)
        items.add(item, user, weight)
    return Shard(n_users=n_users, n_items=n_items, users=users.settled(n_users), items=items.settled(n_items))


def chosen_bits(whole: Interactions, part: Interactions) -> tuple[list[Bits], list[Bits]]:
    """Which entries of the whole are in a part of it, by block of users and by block of items: a bit each, in the order of shards."""
    keys = whole.users.astype(np.int64) * whole.n_items + whole.items
    wanted = part.users.astype(np.int64) * whole.n_items + part.items
    chosen = np.zeros(len(whole), dtype=np.bool_)
    chosen[np.searchsorted(keys, wanted)] = True
    by_item = np.argsort(whole.items, kind="stable")
    return _packed(whole.users, chosen, whole.n_users), _packed(whole.items[by_item], chosen[by_item], whole.n_items)


def _packed(rows: NDArray[np.int32], chosen: NDArray[np.bool_], n_rows: int) -> list[Bits]:
    blocks = count_of_blocks(n_rows)
    return [np.packbits(chosen[rows % blocks == block]) for block in range(blocks)]


def narrowed(rows: Histories, bits: Bits) -> Histories:
    """The entries of a block whose bit is set."""
    chosen = np.unpackbits(bits, count=rows.indices.size).astype(np.bool_)
    counted = np.concatenate(([0], np.cumsum(chosen)))
    return Histories(indptr=counted[rows.indptr].astype(np.int64), indices=rows.indices[chosen], weights=rows.weights[chosen])
