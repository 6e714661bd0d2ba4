"""Adding up scores of different models: on one scale, with weights that rank held-out items best."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.holding_out import HeldOut
from ray_apps.algorithms.recommender import Scores

ROUNDS = 20
"""Times that a model is added to the blend: a weight is a share of so many."""
CUT = 20
"""Places of a list that count."""


def normalised(scores: Scores) -> Scores:
    """One user's scores with mean 0 and deviation 1, shape (n_items,); one that is not finite counts as the least finite one.

    All are 0 when they do not differ: then they say nothing.
    """
    finite = np.isfinite(scores)
    if not finite.any():
        return np.zeros(scores.shape, dtype=np.float32)
    filled = scores if finite.all() else np.where(finite, scores, scores[finite].min())
    centred = filled.astype(np.float64)
    centred -= centred.mean()
    deviation = float(np.sqrt(np.mean(centred * centred)))
    if deviation <= 1e-7 * float(np.abs(filled).max()):
        return np.zeros(scores.shape, dtype=np.float32)
    return (centred / deviation).astype(np.float32)


def selected(scores: Mapping[str, Scores], tried: HeldOut) -> dict[str, float]:
    """Weights of the models that are worth one, summing up to 1: the blend to which each was added, again and again, while it gained most.

    Args:
        scores: Of each model, for the users tried, shape (users, n_items).
        tried: What they know, and what they went on to like.

    Returns:
        Weight by name; without any user to try, the first model alone.
    """
    names = list(scores)
    parts = {name: np.stack([normalised(row) for row in scores[name]]) if len(scores[name]) else scores[name] for name in names}
    if not len(tried.histories):
        return {names[0]: 1.0}
    rows = np.repeat(np.arange(len(tried.histories)), np.diff(tried.histories.indptr))
    for part in parts.values():
        part[rows, tried.histories.indices] = -np.inf  # what a user has is not recommended
    counts = dict.fromkeys(names, 0)
    blend = np.zeros_like(parts[names[0]])
    best = (-1.0, dict(counts))
    for _ in range(ROUNDS):
        gains = {name: gain(blend + parts[name], tried) for name in names}
        chosen = max(names, key=lambda name: gains[name])
        counts[chosen] += 1
        blend += parts[chosen]
        if gains[chosen] > best[0]:
            best = (gains[chosen], dict(counts))
    total = sum(best[1].values())
    return {name: count / total for name, count in best[1].items() if count}


def gain(scores: NDArray[np.float32], tried: HeldOut) -> float:
    """Mean NDCG over users, of lists of CUT items; an item that was held out stands behind those with the same score."""
    gains = np.concatenate((1 / np.log2(np.arange(2, CUT + 2)), [0.0]))
    ideal = np.cumsum(gains)
    total = 0.0
    for user, row in enumerate(scores):
        wanted, _ = tried.relevant.of(user)
        others = row.copy()
        others[wanted] = -np.inf
        others = np.sort(np.partition(others, -CUT)[-CUT:]) if others.size > CUT else np.sort(others)
        found = np.sort(row[wanted])[::-1]
        places = others.size - np.searchsorted(others, found, side="left") + np.arange(found.size)
        total += float(gains[np.minimum(places, CUT)].sum() / ideal[min(wanted.size, CUT) - 1])
    return total / len(scores)
