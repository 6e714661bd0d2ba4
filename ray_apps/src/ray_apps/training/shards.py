"""A worker's shard: the rows of its own blocks of users and of items, read together with the others without ever holding the rest.

Each worker decodes its own pieces of the snapshot with pyarrow, a batch at a time; why not with Ray Data: see ADR 27.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.columns import pieces
from ray_apps.algorithms.ials_blocks import blocks_of, count_of_blocks
from ray_apps.algorithms.interactions import Histories, Interactions
from ray_apps.stores.snapshots import Snapshot
from ray_apps.training.events import Catalogue, Reader, batches, catalogue_of, index_of, joined

Thing = TypeVar("Thing")
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


class Among(Protocol):
    """The workers that read together (see `board.Group`)."""

    @property
    def rank(self) -> int:
        """This one's number."""
        ...

    @property
    def workers(self) -> int:
        """How many they are."""
        ...

    def exchange(self, thing: Thing) -> list[Thing]:
        """All workers' things, by rank; called by all."""
        ...

    def deal(self, things: Sequence[Thing]) -> list[Thing]:
        """Hand one thing to each worker; return what all have handed to this one, by rank. Called by all."""
        ...


@dataclass(frozen=True, slots=True)
class _Dealt:
    """Events that one worker has read for another: rows of both sides, 12 bytes each."""

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    weights: NDArray[np.float32]
    more: bool
    """Whether others will follow, to whomever."""


def read_catalogue(snapshot: Snapshot, among: Among) -> Catalogue:
    """All ids, found together: each worker decodes its own pieces, and all get the same."""
    return joined(among.exchange(catalogue_of(snapshot, Reader(among.rank, among.workers))))


def read_shard(snapshot: Snapshot, catalogue: Catalogue, among: Among) -> Shard:
    """Read together: each worker decodes its own pieces of the snapshot, and hands every event to those whose blocks it belongs to.

    Memory: a batch of events, what is handed over at a time, the catalogue, and 24 bytes for each event of the shard while it is read,
    16 afterwards. Which piece an event was in, and who decoded it, changes no byte: entries are in the order of their rows.
    """
    n_users, n_items = len(catalogue.users), len(catalogue.items)
    user_blocks, item_blocks = count_of_blocks(n_users), count_of_blocks(n_items)
    rank, workers = among.rank, among.workers
    users = _Rows(user_blocks, n_items, blocks_of(rank, workers, user_blocks))
    items = _Rows(item_blocks, n_users, blocks_of(rank, workers, item_blocks))
    owners = _owners(user_blocks, workers), _owners(item_blocks, workers)
    more, own = True, _indexed(snapshot, catalogue, Reader(rank, workers))
    while more:
        dealt = among.deal(_dealt(next(own, None), owners, workers))
        for part in dealt:
            user, item = part.users.astype(np.int64), part.items.astype(np.int64)
            users.add(user, item, part.weights)
            items.add(item, user, part.weights)
        more = any(part.more for part in dealt)
    return Shard(n_users=n_users, n_items=n_items, users=users.settled(n_users), items=items.settled(n_items))


Indexed = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]
"""Users, items and weights of events."""


def _indexed(snapshot: Snapshot, catalogue: Catalogue, reader: Reader) -> Iterator[Indexed]:
    for rows in batches(snapshot, reader):
        user, item = index_of(rows["user_id"], catalogue.users), index_of(rows["item_id"], catalogue.items)
        yield user.astype(np.int32), item.astype(np.int32), rows["weight"].to_numpy().astype(np.float32)


def _owners(blocks: int, workers: int) -> NDArray[np.int32]:
    """Which worker has each block."""
    return np.repeat(np.arange(workers), [len(blocks_of(rank, workers, blocks)) for rank in range(workers)]).astype(np.int32)


def _dealt(rows: Indexed | None, owners: tuple[NDArray[np.int32], NDArray[np.int32]], workers: int) -> list[_Dealt]:
    """A batch's events by whom they go to; an event of two workers' blocks goes to both."""
    if rows is None:
        nothing = np.empty(0, np.int32)
        return [_Dealt(nothing, nothing, np.empty(0, np.float32), more=False)] * workers
    user, item, weight = rows
    user_owner, item_owner = owners[0][user % owners[0].size], owners[1][item % owners[1].size]
    chosen = [np.flatnonzero((user_owner == rank) | (item_owner == rank)) for rank in range(workers)]
    return [_Dealt(user[places], item[places], weight[places], more=True) for places in chosen]


def chosen_bits(whole: Interactions, part: Interactions) -> tuple[list[Bits], list[Bits]]:
    """Which entries of the whole are in a part of it, by block of users and by block of items: a bit each, in the order of shards."""
    bounds = part.histories().indptr

    def among(users: slice, entries: slice) -> NDArray[np.bool_]:
        own = slice(int(bounds[users.start]), int(bounds[users.stop]))
        keys, wanted = (
            each.users[place].astype(np.int64) * whole.n_items + each.items[place] for each, place in ((whole, entries), (part, own))
        )
        chosen = np.zeros(keys.size, dtype=np.bool_)
        chosen[np.searchsorted(keys, wanted)] = True
        return chosen

    chosen = whole.made_by_user(np.bool_, among)
    return _packed(whole, whole.users, chosen, whole.n_users), _packed(whole, whole.items, chosen, whole.n_items)


def _packed(whole: Interactions, rows: NDArray[np.int32], chosen: NDArray[np.bool_], n_rows: int) -> list[Bits]:
    """A block's rows are put in order by itself, so that only its own entries are held."""
    blocks = count_of_blocks(n_rows)
    block_of = whole.made(np.uint8, lambda part: rows[part] % blocks)
    found: list[Bits] = []
    for block in range(blocks):
        places = np.concatenate([part.start + np.flatnonzero(block_of[part] == block) for part in pieces(rows.size)])
        found.append(np.packbits(chosen[places[np.argsort(rows[places], kind="stable")]]))
    return found


def narrowed(rows: Histories, bits: Bits) -> Histories:
    """The entries of a block whose bit is set."""
    chosen = np.unpackbits(bits, count=rows.indices.size).astype(np.bool_)
    counted = np.concatenate(([0], np.cumsum(chosen)))
    return Histories(indptr=counted[rows.indptr].astype(np.int64), indices=rows.indices[chosen], weights=rows.weights[chosen])
