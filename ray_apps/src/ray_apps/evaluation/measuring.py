"""One model, measured on the held-out users."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Histories, Indices, Weights
from ray_apps.evaluation.confidence import bootstrap, difference, wilson
from ray_apps.evaluation.ranking import Value, best, covered, hit_rate, hits, ndcg
from ray_apps.evaluation.splits import Split
from recsys_schemas.version_card import Estimate

CUTS = (10, 20)
"""Lengths of list that are judged."""
LONGEST = max(CUTS)
BLOCK = 256
"""Users scored at a time, to bound memory."""
TIMED_USERS = 200
"""Users on whom the time of one answer is taken."""

ScoreMany = Callable[[Histories], NDArray[np.float32]]
Score = Callable[[Indices, Weights], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Per-user values by metric, catalogue coverage, and the time of one answer."""

    per_user: dict[str, Value]
    coverage: Estimate
    ms_per_user: float

    def estimates(self, seed: int) -> dict[str, Estimate]:
        """Every metric with its 95 % interval: Wilson's for hit rates and coverage, bootstrap over users for NDCG.

        The interval of coverage treats the items as independent trials, which they are not quite: it is a guide, not a test.
        """
        named = {
            name: wilson(float(value.per_user.sum()), value.per_user.size) if name.startswith("hr@") else bootstrap(value, seed)
            for name, value in self.per_user.items()
        }
        return named | {f"coverage@{LONGEST}": self.coverage}

    def minus(self, other: "Measured", seed: int) -> dict[str, Estimate]:
        """The metrics of this model less those of another on the same users: paired by user, but for coverage.

        Coverage has no value for each user; its interval is the widest that both allow.
        """
        paired = {name: difference(value, other.per_user[name], seed) for name, value in self.per_user.items()}
        ours, theirs = self.coverage, other.coverage
        return paired | {
            f"coverage@{LONGEST}": Estimate(
                value=ours.value - theirs.value, low=ours.low - theirs.high, high=ours.high - theirs.low, samples=ours.samples
            )
        }


def measure(score: Score, score_many: ScoreMany, split: Split) -> Measured:
    """Rank the whole catalogue for each held-out user, without what they have in training, and judge the lists.

    Args:
        score: Scores of all items for one history.
        score_many: The same for several.
        split: Who is measured, and what they went on to like.
    """
    histories = split.train.histories().select(split.users)
    blocks = [_lists(score_many, histories, start) for start in range(0, len(histories), BLOCK)]
    lists = np.concatenate(blocks) if blocks else np.empty((0, LONGEST), dtype=np.int32)
    found = hits(lists, split.relevant)
    per_user = {f"hr@{k}": hit_rate(found[:, :k]) for k in CUTS} | {f"ndcg@{k}": ndcg(found[:, :k], split.relevant) for k in CUTS}
    coverage = wilson(covered(lists), split.train.n_items if len(lists) else 0)
    return Measured(per_user=per_user, coverage=coverage, ms_per_user=milliseconds_per_user(score, histories))


def _lists(score_many: ScoreMany, histories: Histories, start: int) -> Indices:
    rows = np.arange(start, min(start + BLOCK, len(histories)))
    block = histories.select(rows)
    scores = score_many(block)
    return np.stack([best(scores[row], LONGEST, block.of(row)[0]) for row in range(len(block))])


def milliseconds_per_user(score: Score, histories: Histories) -> float:
    """Mean time to score one user and take the best 20 items, one user after another, in milliseconds.

    CPU time of this thread, not wall time: what else the machine does should not decide between models.
    """
    users = min(TIMED_USERS, len(histories))
    if not users:
        return 0.0
    best(score(*histories.of(0)), LONGEST, histories.of(0)[0])  # the first answer also touches the memory
    started = time.thread_time()
    for user in range(users):
        history, weights = histories.of(user)
        best(score(history, weights), LONGEST, history)
    return (time.thread_time() - started) * 1000 / users
