"""Alternating least squares in blocks: rows are dealt to a number of blocks that the data alone decides, and workers share the blocks out.

Row r of B blocks is in block r modulo B: whatever ids say of age or popularity, blocks are of about the same work. Each block is
solved, summed up and rotated by itself and sums run in the order of the blocks, so one worker or many give the same bytes. One process
is the case of one worker, which has all blocks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.ials_rows import Factors, Loss, Spectrum, solve_rows
from ray_apps.algorithms.interactions import Histories, Interactions
from ray_apps.algorithms.trust import Trust

MOST_BLOCKS = 64
"""As many workers can share the work."""
LEAST_ROWS = 64
"""A block of fewer rows is not worth its overhead."""
STANDARD_DEVIATION = 0.1
"""Of a whole vector at the start, as in the paper."""

Number = TypeVar("Number", bound=np.generic)


class Together(Protocol):
    """How workers put their blocks together."""

    def gather(self, own: Mapping[int, NDArray[Number]]) -> list[NDArray[Number]]:
        """The blocks of all workers in order; called by all, with the same step in mind."""
        ...


class Alone:
    """One worker, which has all blocks."""

    def gather(self, own: Mapping[int, NDArray[Number]]) -> list[NDArray[Number]]:
        """The same blocks, in order."""
        return [own[block] for block in sorted(own)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Users or items: how many entries each row has, in how many blocks the rows are, and those of the blocks that this worker has."""

    lengths: NDArray[np.int64]
    blocks: int
    own: Mapping[int, Histories]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where learning stands: so many epochs are done, and these are the items' vectors by block. It is all that going on takes."""

    epochs: int
    items: Mapping[int, Factors]


def _show_nobody(epochs: int, items: Factors, spectrum: Spectrum) -> None:
    del epochs, items, spectrum


def _keep_nothing(progress: Progress) -> None:
    del progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is learned and how long, the same for all workers."""

    factors: int
    epochs: int
    loss: Loss
    trust: Trust
    """What a user's entries count, by how many they are."""
    seed: int
    tell: Callable[[int, int], None]
    keep: Callable[[Progress], None] = field(default=_keep_nothing)
    """Called after each epoch with this worker's own blocks."""
    show: Callable[[int, Factors, Spectrum], None] = field(default=_show_nobody)
    """Called after each epoch with all items' vectors in their eigenbasis, and its spectrum."""


def count_of_blocks(rows: int) -> int:
    """In how many blocks so many rows are: a function of the data, never of the workers."""
    return max(1, min(MOST_BLOCKS, rows // LEAST_ROWS))


def blocks_of(rank: int, workers: int, blocks: int) -> range:
    """The blocks that a worker has: neighbours, as many as the others have or one less."""
    return range(rank * blocks // workers, (rank + 1) * blocks // workers)


def sides(interactions: Interactions) -> tuple[Side, Side]:
    """Users and items with all their rows."""
    users = interactions.histories()
    order = np.argsort(interactions.items, kind="stable")
    counts = np.bincount(interactions.items, minlength=interactions.n_items)
    indptr = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    items = Histories(indptr=indptr, indices=interactions.users[order], weights=interactions.weights[order])
    return _side(users), _side(items)


def _side(rows: Histories) -> Side:
    blocks = count_of_blocks(len(rows))
    own = {block: rows.select(np.arange(block, len(rows), blocks)) for block in range(blocks)}
    return Side(lengths=np.diff(rows.indptr), blocks=blocks, own=own)


def beginning(side: Side, plan: Plan, start: Factors | None = None) -> Progress:
    """Random vectors, each block's from a generator of its own; where an earlier model knows an item (a row not all zeros), its vector."""
    drawn: dict[int, Factors] = {}
    size = np.float32(STANDARD_DEVIATION / plan.factors**0.5)
    for block, rows in side.own.items():
        chance = np.random.default_rng([plan.seed, block])
        drawn[block] = chance.standard_normal((len(rows), plan.factors), dtype=np.float32) * size
        if start is not None:
            earlier = start[block :: side.blocks]
            known = earlier.any(axis=1)
            drawn[block][known] = earlier[known]
    return Progress(epochs=0, items=drawn)


def learn(users: Side, items: Side, plan: Plan, begun: Progress, together: Together) -> tuple[Factors, Spectrum]:
    """Go on from `begun` to the last epoch; return all items' vectors in their eigenbasis, and its spectrum."""
    own = begun.items
    users, items = weighed(users, items, plan.trust)
    everything, spectrum = aligned(own, together)
    for epoch in range(begun.epochs, plan.epochs):
        everything, spectrum = aligned(_solved(users, everything, spectrum, plan.loss), together)
        own = _solved(items, everything, spectrum, plan.loss)
        plan.keep(Progress(epochs=epoch + 1, items=own))
        everything, spectrum = aligned(own, together)
        plan.tell(epoch + 1, plan.epochs)
        plan.show(epoch + 1, everything, spectrum)
    return everything, spectrum


def weighed(users: Side, items: Side, trust: Trust) -> tuple[Side, Side]:
    """The same entries, counting by the lengths of their users' histories; what a row stands for stays the number of its entries."""
    worth = trust.of(users.lengths).astype(np.float32)
    of_users = {
        block: replace(rows, weights=rows.weights * np.repeat(worth[block :: users.blocks], np.diff(rows.indptr)))
        for block, rows in users.own.items()
    }
    of_items = {block: replace(rows, weights=rows.weights * worth[rows.indices]) for block, rows in items.own.items()}
    return replace(users, own=of_users), replace(items, own=of_items)


def _solved(side: Side, other: Factors, spectrum: Spectrum, loss: Loss) -> dict[int, Factors]:
    return {block: solve_rows(rows, other, spectrum, loss) for block, rows in side.own.items()}


def aligned(own: Mapping[int, Factors], together: Together) -> tuple[Factors, Spectrum]:
    """All vectors of one side, rotated into the eigenbasis of their Gram matrix, and its eigenvalues; a rotation changes no score."""
    parts = together.gather({block: _gram(vectors) for block, vectors in own.items()})
    gram = np.zeros_like(parts[0])
    for part in parts:
        gram += part
    spectrum, basis = np.linalg.eigh(gram)
    turn = basis.astype(np.float32)
    gathered = together.gather({block: vectors @ turn for block, vectors in own.items()})
    return interleaved(gathered), spectrum


def interleaved(blocks: Sequence[NDArray[Number]]) -> NDArray[Number]:
    """The rows of all blocks in the order of the whole."""
    whole = np.empty((sum(len(block) for block in blocks), *blocks[0].shape[1:]), dtype=blocks[0].dtype)
    for number, block in enumerate(blocks):
        whole[number :: len(blocks)] = block
    return whole


def _gram(vectors: Factors) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    return wide.T @ wide
