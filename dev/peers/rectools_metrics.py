"""RecTools' metrics of some lists: `python rectools_metrics.py IN.npz OUT.npz`. It runs in the venv of `recsys_dev.peers`.

IN holds for each case c: `lists_c` (users, k), -1 for no item; `relevant_c` and `history_c`, pairs of (user, item) as (pairs, 2);
`vectors_c` (items, features). OUT holds for each case and metric `metric_c`: (users,), NaN where RecTools has no value.
"""

import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
from rectools import Columns
from rectools.metrics import (
    MAP,
    MRR,
    NDCG,
    AvgRecPopularity,
    CatalogCoverage,
    HitRate,
    IntraListDiversity,
    MeanInvUserFreq,
    PairwiseDistanceCalculator,
    Precision,
    Recall,
)


class Cosine(PairwiseDistanceCalculator):
    """1 less the cosine of two items' vectors."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def _get_distances_for_item_pairs(self, items_0: Sequence[int], items_1: Sequence[int]) -> np.ndarray:
        return 1 - (self.vectors[np.asarray(items_0)] * self.vectors[np.asarray(items_1)]).sum(axis=1)


def pairs(array: np.ndarray) -> pd.DataFrame:
    """A table of interactions."""
    return pd.DataFrame({Columns.User: array[:, 0], Columns.Item: array[:, 1]})


def measured(lists: np.ndarray, relevant: np.ndarray, history: np.ndarray, vectors: np.ndarray) -> dict[str, np.ndarray]:
    """Every metric by user, and how many items are covered."""
    users, k = lists.shape
    rows, places = np.nonzero(lists >= 0)
    reco = pd.DataFrame({Columns.User: rows, Columns.Item: lists[rows, places], Columns.Rank: places + 1})
    sought, known = pairs(relevant), pairs(history)
    found = {
        name: metric.calc_per_user(reco, sought)
        for name, metric in {
            "hit_rate": HitRate(k=k),
            "recall": Recall(k=k),
            "precision": Precision(k=k),
            "ndcg": NDCG(k=k, divide_by_achievable=True),
            "map": MAP(k=k),
            "mrr": MRR(k=k),
        }.items()
    }
    found["novelty"] = MeanInvUserFreq(k=k).calc_per_user(reco, known)
    found["popularity"] = AvgRecPopularity(k=k).calc_per_user(reco, known)
    found["diversity"] = IntraListDiversity(k=k, distance_calculator=Cosine(vectors)).calc_per_user(reco)
    table = {name: series.reindex(np.arange(users)).to_numpy(dtype=np.float64) for name, series in found.items()}
    return table | {"coverage": np.array([CatalogCoverage(k=k).calc(reco, np.arange(len(vectors)))])}


def main() -> None:
    """Every case."""
    given, out = np.load(sys.argv[1]), {}
    for case in range(int(given["cases"])):
        arrays = (given[f"{name}_{case}"] for name in ("lists", "relevant", "history", "vectors"))
        out.update({f"{name}_{case}": values for name, values in measured(*arrays).items()})
    np.savez(sys.argv[2], **out)


main()
