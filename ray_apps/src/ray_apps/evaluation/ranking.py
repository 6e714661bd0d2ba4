"""How good a ranked list is: every item of the catalogue competes, except those that the user already has."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Histories, Indices

NOTHING = -1
"""Fills a list when fewer than k items can be recommended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One metric: a number for each user, shape (users,), and their mean. No user's number can be beyond `lowest` and `highest`."""

    per_user: NDArray[np.float64]
    lowest: float = 0.0
    highest: float = 1.0

    @property
    def mean(self) -> float:
        """Mean over users; 0 for no users."""
        return float(self.per_user.mean()) if self.per_user.size else 0.0


def best(scores: NDArray[np.floating], k: int, banned: Indices) -> Indices:
    """The k best items, best first, shape (k,), NOTHING where there are no more; equal scores go to the lower index.

    Args:
        scores: One score per item, shape (items,); an item whose score is not finite is never recommended.
        k: Length of the list.
        banned: Items that are not recommended.
    """
    open_to = np.where(np.isfinite(scores), scores, -np.inf)
    open_to[banned] = -np.inf
    filled = np.full(k, NOTHING, dtype=np.int32)
    length = min(k, int(np.isfinite(open_to).sum()))
    if length:
        worst = np.partition(open_to, open_to.size - length)[open_to.size - length]
        above = np.flatnonzero(open_to > worst)
        chosen = np.concatenate((above, np.flatnonzero(open_to == worst)[: length - above.size]))
        filled[:length] = chosen[np.lexsort((chosen, -open_to[chosen]))]
    return filled


def hits(lists: Indices, relevant: Histories) -> NDArray[np.bool_]:
    """Whether each place of each list holds a relevant item; lists and result have shape (users, k)."""
    stride = int(max(lists.max(initial=NOTHING), relevant.indices.max(initial=NOTHING))) + 2
    rows = np.arange(lists.shape[0], dtype=np.int64)
    wanted = np.repeat(rows, _wanted(relevant)) * stride + relevant.indices + 1
    return np.isin(rows[:, None] * stride + lists + 1, wanted)


def _wanted(relevant: Histories) -> NDArray[np.int64]:
    return np.diff(relevant.indptr)


def hit_rate(found: NDArray[np.bool_]) -> Value:
    """HR@k: 1 for a user with at least one hit, else 0."""
    return Value(per_user=np.asarray(found.any(axis=1), dtype=np.float64))


def recall(found: NDArray[np.bool_], relevant: Histories) -> Value:
    """Recall@k: hits as a share of the user's relevant items."""
    return Value(per_user=np.asarray(found.sum(axis=1) / np.maximum(_wanted(relevant), 1), dtype=np.float64))


def precision(found: NDArray[np.bool_]) -> Value:
    """Precision@k: hits as a share of k, also where fewer than k items could be recommended."""
    return Value(per_user=np.asarray(found.sum(axis=1) / max(found.shape[1], 1), dtype=np.float64))


def mean_average_precision(found: NDArray[np.bool_], relevant: Histories) -> Value:
    """MAP@k: the precision at the place of each hit, summed, divided by the most hits that are possible, min(relevant, k).

    Source: Manning, Raghavan & Schutze, "Introduction to information retrieval", 2008, chapter 8.4; cut at k as `implicit` and
    trec_eval's users have it. (RecTools divides by all that is relevant.)
    """
    k = found.shape[1]
    at_hits = np.where(found, found.cumsum(axis=1) / np.arange(1, k + 1), 0.0)
    return Value(per_user=np.asarray(at_hits.sum(axis=1) / np.maximum(np.minimum(_wanted(relevant), k), 1), dtype=np.float64))


def reciprocal_rank(found: NDArray[np.bool_]) -> Value:
    """MRR@k: 1 / the place of the first hit (from 1), 0 without one.

    Source: Voorhees, "The TREC-8 question answering track report", 1999.
    """
    first = found.argmax(axis=1) + 1 if found.shape[1] else np.ones(len(found), dtype=np.int64)
    return Value(per_user=np.asarray(np.where(found.any(axis=1), 1 / first, 0.0), dtype=np.float64))


def ndcg(found: NDArray[np.bool_], relevant: Histories) -> Value:
    """NDCG@k with binary relevance: the gain of a hit at place r (from 1) is 1 / log2(r + 1).

    Divided by the best that is possible, with min(relevant, k) hits at the top.

    Source: Jarvelin & Kekalainen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4), 2002.
    """
    k = found.shape[1]
    gains: NDArray[np.float64] = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate(([np.inf], np.cumsum(gains)))[np.minimum(_wanted(relevant), k)]
    return Value(per_user=np.asarray(found @ gains / ideal, dtype=np.float64))


def covered(lists: Indices) -> int:
    """How many different items appear in any list."""
    return int(np.unique(lists[lists != NOTHING]).size)
