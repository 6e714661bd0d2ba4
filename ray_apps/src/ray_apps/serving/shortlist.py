"""Answers from a shortlist: all items are scored roughly, by codes of half a byte a number, and only the best of these exactly.

Source: Andre, Kermarrec & Le Scouarnec, "Quicker ADC: unlocking the hidden potential of product quantization with SIMD", PAMI 2019, as
faiss has it (`IndexPQFastScan`), with one number in each part: each number of an item's vector becomes one of 16 levels, and a product
with a user's vector is sums of looked-up bytes, 32 items at a time. How many it takes to score exactly then is measured on users of the
version itself when the shortlist is made, and so is what it misses. See docs/adr/0060-a-shortlist-by-codes.md.
"""

import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.factored import Factored
from ray_apps.algorithms.interactions import Indices, Weights
from ray_apps.algorithms.recommender import Scores
from ray_apps.serving.ranking import top_k

FROM_ITEMS = 100_000
"""Fewer items are scored in a few milliseconds all together."""
MOST_BYTES = 1 << 29
"""A shortlist holds codes of all items; where they are more bytes than this, none is made."""
BITS = 4
"""Of each number of a vector, in its code."""
SAMPLED = 20_000
"""Items that the levels are learnt from."""
RANKED = (100, 300, 1_000, 3_000, 10_000, 20_000)
"""Scored exactly of those whose codes are best; tried from the fewest on."""
ENOUGH = 0.95
"""Part of the exact best 20 that is found: the fewest that reach it are ranked, else the most."""
ASKED, BEST = 50, 20
"""Users and items that recall is measured with."""
BELOW = np.float32(1)
"""By so much all other items score less than the least that was ranked: a number, so that ranking goes on as usual."""

Vectors = NDArray[np.float32]


class Codes(Protocol):
    """Items' vectors in few bits each."""

    def search(self, x: Vectors, k: int, /) -> tuple[Vectors, NDArray[np.int64]]:
        """The k items whose codes have the largest products with each row of x, best first; -1 where there are fewer."""
        ...


def bytes_of(items: Vectors) -> int:
    """What codes of these items, shape (n_items, factors), take."""
    return items.size * BITS // 8


def codes_of(items: Vectors) -> Codes:
    """Codes of items, shape (n_items, factors): the same for the same items. One thread, and no lock on Python while it works."""
    faiss: Any = import_module("faiss")  # 60 MB of libraries, that small versions never need
    faiss.omp_set_num_threads(1)
    factors = items.shape[1]
    index = faiss.IndexPQFastScan(factors, factors, BITS, faiss.METRIC_INNER_PRODUCT)
    index.train(items[:: max(1, len(items) // SAMPLED)])
    index.add(items)
    codes: Codes = index
    return codes


class Shortlist:
    """Scores of the items whose codes agree best with a user's vector."""

    def __init__(self, model: Factored, codes: Codes, ranked: int) -> None:
        """Take a model, codes of its items, and how many of these are scored exactly."""
        self._model, self._codes, self.ranked = model, codes, ranked
        self.recall = 1.0
        """Part of the exact best BEST that is found, mean over the users it was measured with."""
        self.expected_ms = 0.0
        """What an answer took when it was measured."""

    def scores_of(self, user: Vectors, ranked: int) -> tuple[Scores, float]:
        """Scores by a user's vector, shape (n_items,), and the score of all items that were not ranked."""
        items = self._model.items
        places = np.sort(self._codes.search(user[None], min(ranked, len(items)))[1][0])
        places = places[places >= 0]
        scores = items[places] @ user
        least = scores.min(initial=np.float32(0)) - BELOW
        found = np.full(len(items), least, dtype=np.float32)
        found[places] = scores
        return found, float(least)

    def look(self, allowed: float = 1.0) -> "Look":
        """What scores one question.

        Args:
            allowed: Part of the items that may be shown, 0 to 1: the fewer, the more are ranked, as far as RANKED goes.
        """
        return Look(self, min(round(self.ranked / max(allowed, self.ranked / RANKED[-1])), RANKED[-1]))

    def vector(self, history: Indices, weights: Weights) -> Vectors:
        """A user's vector, shape (factors,)."""
        return self._model.user_vector(history, weights).astype(np.float32)


class Look:
    """Scores as a model does, for one question."""

    def __init__(self, shortlist: Shortlist, ranked: int) -> None:
        self._shortlist, self.ranked = shortlist, ranked
        self.unseen = -np.inf
        """The score of what was not ranked."""

    def scores(self, history: Indices, weights: Weights) -> Scores:
        """Shape (n_items,)."""
        scores, self.unseen = self._shortlist.scores_of(self._shortlist.vector(history, weights), self.ranked)
        return scores


def shortlist_of(model: Factored, items: Vectors, histories: Sequence[tuple[Indices, Weights]]) -> Shortlist:
    """Make a shortlist and measure it: the fewest ranked that find ENOUGH of the exact best, for users with these histories."""
    shortlist = Shortlist(model, codes_of(items), RANKED[-1])
    users = [model.user_vector(*history).astype(np.float32) for history in histories[:ASKED]]
    exact = [_best(items @ user) for user in users]
    for ranked in RANKED:
        started = time.thread_time()
        found = [_best(shortlist.scores_of(user, ranked)[0]) for user in users]
        shortlist.ranked = ranked
        shortlist.expected_ms = (time.thread_time() - started) * 1000 / max(len(users), 1)
        shortlist.recall = float(np.mean([len(a & b) / len(a) for a, b in zip(exact, found, strict=True)])) if users else 0.0
        if shortlist.recall >= ENOUGH:
            break
    return shortlist


def _best(scores: Scores) -> set[int]:
    places: list[int] = top_k(scores, BEST, np.empty(0, dtype=np.int64))[0].tolist()
    return set(places)
