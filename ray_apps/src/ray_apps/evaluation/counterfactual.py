"""What a model would have earned in the place of the one that answered, from the answers that training knows nothing of."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.columns import latest
from ray_apps.algorithms.interactions import Histories, Indices
from ray_apps.evaluation.off_policy import MOST_WEIGHT, Earned, LoggedAnswers, doubly_robust, earned, thin_support, weights_of
from ray_apps.evaluation.ranking import NOTHING, best
from ray_apps.evaluation.rewards import expected_rewards
from ray_apps.evaluation.splits import MOST_USERS, Split

LENGTH = 10
"""Places of a list that are looked at."""
SNIPS, DR = f"snips@{LENGTH}", f"dr@{LENGTH}"
BLOCK = 256
"""Users scored at a time, to bound memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactual:
    """Estimates by metric, or why there are none."""

    earned: dict[str, Earned] = field(default_factory=dict[str, Earned])
    abstained: dict[str, str] = field(default_factory=dict[str, str])


def unknown_answers(log: LoggedAnswers, split: Split, seed: int) -> LoggedAnswers:
    """The rounds that a model trained on a split may be judged by: after what training knows, of at most MOST_USERS users that it knows.

    With one moment for all users it is that moment; else each user's own newest interaction in training. What an earlier answer earned
    has been learned from. Who is not in training gets what is popular, from every version. Where some places were left to chance, only
    these are judged by: one that could have shown nothing else knows one item, and nothing of another model's.
    """
    train = split.train
    newest = int(train.times.max(initial=0)) if split.one_moment else 0
    known = np.full(max(int(log.users.max(initial=-1)) + 1, train.n_users), newest)
    known = latest(train.users, train.times, known)
    users = np.intersect1d(log.users, train.active())
    if users.size > MOST_USERS:
        users = np.random.default_rng(seed).choice(users, size=MOST_USERS, replace=False)
    chance = log.propensities < 1
    judged = chance if chance.any() else ~chance
    return log.take(judged & (log.times > known[log.users]) & (log.places < LENGTH) & np.isin(log.users, users))


def counterfactual(score_many: Callable[[Histories], NDArray[np.float32]], split: Split, log: LoggedAnswers) -> Counterfactual:
    """Estimate the reward for each place that the model's best LENGTH items would have earned.

    Args:
        score_many: Scores of all items for several histories.
        split: What training knows, and so what the model is told of each user.
        log: Of `unknown_answers`.
    """
    instead = _shown_instead(score_many, split, log)
    policy = ((instead == log.items) & (log.items >= 0)).astype(np.float64)
    # Support is judged by the weights as they are: clipped ones look more alike than they should.
    raw = weights_of(log, policy)
    words = thin_support(log, raw)
    if words is not None:
        return Counterfactual(abstained={SNIPS: words, DR: words})
    weights = weights_of(log, policy, MOST_WEIGHT)
    expected, promised = expected_rewards(log, instead, split.train.n_items)
    sums = partial(earned, log, unseen=max(0.0, 1.0 - float(raw.mean())))
    scores = doubly_robust(log, weights, expected, promised)
    return Counterfactual(earned={SNIPS: sums(weights * log.rewards, weights), DR: sums(scores, np.ones(len(log)))})


def _shown_instead(score_many: Callable[[Histories], NDArray[np.float32]], split: Split, log: LoggedAnswers) -> NDArray[np.int64]:
    """The item that the model shows at each round's place, NOTHING where it has none."""
    users, who = np.unique(log.users, return_inverse=True)
    histories = _told(split, users)
    lists = np.full((users.size, LENGTH), NOTHING, dtype=np.int64)
    for start in range(0, users.size, BLOCK):
        block = histories.select(np.arange(start, min(start + BLOCK, users.size)))
        scores = score_many(block)
        for row in range(len(block)):
            lists[start + row] = best(scores[row], LENGTH, block.of(row)[0])
    return lists[who, log.places]


def _told(split: Split, users: NDArray[np.int64]) -> Histories:
    """Training histories of users, empty for those beyond the catalogue."""
    known: Indices = users[users < split.train.n_users].astype(np.int32)
    told = split.train.told().select(known)
    ends = np.concatenate((told.indptr, np.full(users.size - known.size, told.indptr[-1])))
    return Histories(indptr=ends, indices=told.indices, weights=told.weights)
