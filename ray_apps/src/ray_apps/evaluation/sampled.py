"""Metrics against a few drawn items instead of the whole catalogue: only to stand beside published tables that were made so.

They can order models otherwise than the true metrics do (Krichene & Rendle, "On sampled metrics for item recommendation", KDD 2020),
so they are never on a version card and judge nothing.
"""

import numpy as np

from ray_apps.algorithms.interactions import Indices
from ray_apps.evaluation.measuring import BLOCK, ScoreMany
from ray_apps.evaluation.ranking import Value
from ray_apps.evaluation.splits import Split

NEGATIVES = 99
"""Items drawn for each user, as in the source."""


def sampled_metrics(score_many: ScoreMany, split: Split, seed: int, k: int = 10, negatives: int = NEGATIVES) -> dict[str, Value]:
    """`sampled_hr@k` and `sampled_ndcg@k`: the one item held out of each user against items drawn from those that the user never liked.

    An item that scores the same as the one held out counts as better, so that a model that scores all alike finds nothing.

    Args:
        score_many: Scores of all items for several histories.
        split: Of leave-one-out: one relevant item for each user.
        seed: Draws the items.
        k: Length of the list.
        negatives: How many are drawn for each user; all that there are where these are fewer.

    Raises:
        ValueError: a user has another number of relevant items than one.

    Source: He et al., "Neural collaborative filtering", WWW 2017, section 4.1.
    """
    counts = np.diff(split.relevant.indptr)
    if (counts != 1).any():
        raise ValueError(
            f"split: a user has {int(counts[counts != 1][0])} relevant items; sampled metrics need leave_one_out, with one each"
        )
    histories, chance = split.histories(), np.random.default_rng(seed)
    ahead = np.empty(len(histories), dtype=np.int64)
    for start in range(0, len(histories), BLOCK):
        block = histories.select(np.arange(start, min(start + BLOCK, len(histories))))
        scores = score_many(block)
        for row in range(len(block)):
            wanted = int(split.relevant.indices[start + row])
            others = _drawn(np.append(block.of(row)[0], np.int32(wanted)), scores.shape[1], negatives, chance)
            ahead[start + row] = np.count_nonzero(~(scores[row][others] < scores[row][wanted]))
    hit = ahead < k
    gain = np.where(hit, 1 / np.log2(ahead + 2.0), 0.0)
    return {f"sampled_hr@{k}": Value(per_user=hit.astype(np.float64)), f"sampled_ndcg@{k}": Value(per_user=gain)}


def _drawn(liked: Indices, n_items: int, count: int, chance: np.random.Generator) -> Indices:
    """Different items that the user never liked."""
    able = np.ones(n_items, dtype=np.bool_)
    able[liked] = False
    others = np.flatnonzero(able).astype(np.int32)
    return others if others.size <= count else chance.choice(others, size=count, replace=False)
