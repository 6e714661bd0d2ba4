"""A quiz on what was learnt: some items of a user that a model was fitted on are left out of the history, and asked for.

A model that was fitted on them should find them at least as well as items that it has never seen. One that serves, and does much worse
than the one that was measured, was fitted or put together wrongly; one that finds held-out items better than learnt ones has known them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Histories, Indices
from ray_apps.evaluation.measuring import BLOCK, ScoreMany
from ray_apps.evaluation.ranking import Value, best, hits, ndcg
from ray_apps.evaluation.splits import Split

MOST_ASKED = 300
"""Users of a quiz: a seeded sample of those measured."""
CUT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiz:
    """For each user asked: what is shown, what is asked for, and the whole that both are parts of, as held-out items are asked with.

    `rows` are rows of the split's `users`; the others have as many rows, in its order.
    """

    rows: NDArray[np.int64]
    shown: Histories
    asked: Histories
    whole: Histories
    relevant: Histories

    def __len__(self) -> int:
        return self.rows.size


def quiz_of(split: Split, seed: int, most: int = MOST_ASKED) -> Quiz:
    """Ask each of a sample of the measured users for their newest learnt items: as many as are held out, half of the learnt at most.

    The newest, because what is in fashion is easier to find: learnt and held-out items are then of nearly the same time.
    """
    train = split.train
    histories = train.told().select(split.users)
    able = np.flatnonzero(np.diff(histories.indptr) > 1)
    if able.size > most:
        able = np.sort(np.random.default_rng(seed).choice(able, size=most, replace=False))
    whole, relevant = histories.select(able), split.relevant.select(able)
    times = train.times[train.places_of(split.users[able])]
    owner = np.repeat(np.arange(able.size), np.diff(whole.indptr))
    oldest_first = np.lexsort((whole.indices, times, owner))
    wanted = np.minimum(np.diff(relevant.indptr), np.diff(whole.indptr) // 2)
    hidden = np.zeros(whole.indices.size, dtype=np.bool_)
    hidden[oldest_first] = np.arange(owner.size) >= np.repeat(whole.indptr[1:] - wanted, np.diff(whole.indptr))
    return Quiz(rows=able, shown=_kept(whole, ~hidden), asked=_kept(whole, hidden), whole=whole, relevant=relevant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quizzed:
    """How one model did: NDCG@10 of each user asked, on learnt items and on held-out ones."""

    quiz: Quiz
    learnt: Value
    held_out: Value


def take(score_many: ScoreMany, quiz: Quiz) -> Quizzed:
    """Ask a model both ways."""
    return Quizzed(quiz=quiz, learnt=learnt_score(score_many, quiz), held_out=held_out_score(score_many, quiz))


def held_out_score(score_many: ScoreMany, quiz: Quiz) -> Value:
    """NDCG@10 on the held-out items, from the whole history."""
    return _ndcg(score_many, quiz.whole, quiz.relevant)


def by_lot(quiz: Quiz, n_items: int) -> Value:
    """What NDCG@10 on the held-out items is on average when lists are drawn by lot from all items that are not in a history."""
    gains = 1 / np.log2(np.arange(CUT) + 2)
    wanted, known = np.diff(quiz.relevant.indptr), np.diff(quiz.whole.indptr)
    ideal = np.concatenate(([1.0], np.cumsum(gains)))[np.minimum(wanted, CUT)]
    return Value(per_user=np.minimum(wanted / np.maximum(n_items - known, 1), 1.0) * gains.sum() / ideal)


def _kept(histories: Histories, chosen: NDArray[np.bool_]) -> Histories:
    indptr = np.concatenate(([0], np.cumsum(chosen)))[histories.indptr].astype(np.int64)
    return Histories(indptr=indptr, indices=histories.indices[chosen], weights=histories.weights[chosen])


def learnt_score(score_many: ScoreMany, quiz: Quiz) -> Value:
    """NDCG@10 on the items asked for, from what is shown: what is shown is not recommended."""
    return _ndcg(score_many, quiz.shown, quiz.asked)


def _ndcg(score_many: ScoreMany, histories: Histories, wanted: Histories) -> Value:
    if not len(histories):
        return Value(per_user=np.empty(0))
    return ndcg(hits(top_lists(score_many, histories, CUT), wanted), wanted)


def top_lists(score_many: ScoreMany, histories: Histories, k: int) -> Indices:
    """The best k items that are not in each history, shape (users, k)."""
    lists: list[Indices] = []
    for start in range(0, len(histories), BLOCK):
        block = histories.select(np.arange(start, min(start + BLOCK, len(histories))))
        scores = score_many(block)
        lists += [best(scores[row], k, block.of(row)[0]) for row in range(len(block))]
    return np.stack(lists) if lists else np.empty((0, k), dtype=np.int32)
