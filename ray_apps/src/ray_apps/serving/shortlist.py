"""Answers from a shortlist: only the items near a user's vector are scored, where scoring all of them takes too long.

Source: an inverted file, as in Jegou, Douze & Schmid, "Product quantization for nearest neighbor search", PAMI 2011, without the
quantization: items are put into cells by k-means, and the cells whose centres agree best with a user's vector are scored exactly. How many
cells it takes is measured on users of the version itself when the shortlist is made, and so is what it misses.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.factored import Factored
from ray_apps.algorithms.interactions import Indices, Weights
from ray_apps.algorithms.recommender import Scores
from ray_apps.serving.ranking import top_k

FROM_ITEMS = 100_000
"""Fewer items are scored in a few milliseconds all together."""
MOST_BYTES = 1 << 30
"""A shortlist holds the items' vectors once more, in the order of cells; a larger one is not made."""
SAMPLED, ROUNDS = 64, 6
"""Of each cell so many items make its centre, in so many rounds."""
AT_ONCE = 8192
"""Items put into cells at once."""
CELLS_LOOKED_AT = (8, 16, 32, 64, 128)
"""Tried from the fewest on."""
ENOUGH = 0.95
"""Part of the exact best 20 that is found: the fewest cells that reach it are looked at, else the most."""
ASKED, BEST = 50, 20
"""Users and items that recall is measured with."""
BELOW = np.float32(1)
"""By so much all other items score less than the least that was looked at: a number, so that ranking goes on as usual."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Items' vectors cell by cell."""

    centres: Vectors
    """Shape (cells, factors)."""
    starts: NDArray[np.int64]
    """Where each cell begins among `members`, shape (cells + 1,)."""
    members: NDArray[np.int64]
    """Places of items, cell by cell, shape (n_items,)."""
    vectors: Vectors
    """Their vectors in that order, shape (n_items, factors)."""


def cells_of(items: Vectors, seed: int = 1) -> Cells:
    """Put items, shape (n_items, factors), into about as many cells as there are items in each."""
    count = max(1, int(np.sqrt(len(items))))
    drawn = np.random.default_rng(seed)
    sample = items[np.sort(drawn.choice(len(items), min(len(items), SAMPLED * count), replace=False))].astype(np.float32)
    centres = sample[drawn.choice(len(sample), count, replace=False)].copy()
    for _ in range(ROUNDS):
        near = _nearest(sample, centres)
        sums = np.zeros_like(centres)
        np.add.at(sums, near, sample)
        sizes = np.bincount(near, minlength=count)
        centres[sizes > 0] = sums[sizes > 0] / sizes[sizes > 0, None]
    near = _nearest(items, centres)
    members = np.argsort(near, kind="stable")
    starts = np.concatenate(([0], np.cumsum(np.bincount(near, minlength=count))))
    return Cells(centres=centres, starts=starts, members=members, vectors=np.ascontiguousarray(items[members]))


def _nearest(items: Vectors, centres: Vectors) -> NDArray[np.int64]:
    """The cell of each item: |x - c|^2 is least where x.c - |c|^2 / 2 is largest."""
    halves = (centres**2).sum(axis=1) / 2
    found = np.empty(len(items), dtype=np.int64)
    for low in range(0, len(items), AT_ONCE):
        found[low : low + AT_ONCE] = (items[low : low + AT_ONCE] @ centres.T - halves).argmax(axis=1)
    return found


class Shortlist:
    """Scores of the items in the cells nearest to a user's vector."""

    def __init__(self, model: Factored, cells: Cells, looked_at: int) -> None:
        """Take a model, its items in cells, and how many cells are looked at."""
        self._model, self._cells, self.looked_at = model, cells, looked_at
        self.recall = 1.0
        """Part of the exact best BEST that is found, mean over the users it was measured with."""
        self.expected_ms = 0.0
        """What an answer took when it was measured."""

    def scores_of(self, user: Vectors, looked_at: int) -> tuple[Scores, float]:
        """Scores by a user's vector, shape (n_items,), and the score of all items that were not looked at."""
        cells = self._cells
        agree = cells.centres @ user
        near = np.argpartition(agree, max(0, agree.size - looked_at))[-looked_at:].tolist()
        parts = [
            (cells.members[low:high], cells.vectors[low:high] @ user) for low, high in (self._ends(cell) for cell in near) if low < high
        ]
        least = min((scores.min() for _, scores in parts), default=np.float32(0)) - BELOW
        found = np.full(len(cells.members), least, dtype=np.float32)
        for places, scores in parts:
            found[places] = scores
        return found, float(least)

    def _ends(self, cell: int) -> tuple[int, int]:
        return int(self._cells.starts[cell]), int(self._cells.starts[cell + 1])

    def look(self) -> "Look":
        """What scores one question."""
        return Look(self)

    def vector(self, history: Indices, weights: Weights) -> Vectors:
        """A user's vector, shape (factors,)."""
        return self._model.user_vector(history, weights).astype(np.float32)


class Look:
    """Scores as a model does, for one question."""

    def __init__(self, shortlist: Shortlist) -> None:
        self._shortlist = shortlist
        self.unseen = -np.inf
        """The score of what was not looked at."""

    def scores(self, history: Indices, weights: Weights) -> Scores:
        """Shape (n_items,)."""
        scores, self.unseen = self._shortlist.scores_of(self._shortlist.vector(history, weights), self._shortlist.looked_at)
        return scores


def shortlist_of(model: Factored, items: Vectors, histories: Sequence[tuple[Indices, Weights]]) -> Shortlist:
    """Make a shortlist and measure it: the fewest cells that find ENOUGH of the exact best, for users with these histories."""
    shortlist = Shortlist(model, cells_of(items), CELLS_LOOKED_AT[-1])
    users = [model.user_vector(*history).astype(np.float32) for history in histories[:ASKED]]
    exact = [set(top_k(items @ user, BEST, np.empty(0, dtype=np.int64))[0].tolist()) for user in users]
    for looked_at in CELLS_LOOKED_AT:
        started = time.thread_time()
        found = [set(top_k(shortlist.scores_of(user, looked_at)[0], BEST, np.empty(0, dtype=np.int64))[0].tolist()) for user in users]
        shortlist.looked_at = looked_at
        shortlist.expected_ms = (time.thread_time() - started) * 1000 / max(len(users), 1)
        shortlist.recall = float(np.mean([len(a & b) / len(a) for a, b in zip(exact, found, strict=True)])) if users else 0.0
        if shortlist.recall >= ENOUGH:
            break
    return shortlist
