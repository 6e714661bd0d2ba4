"""A plain model of rewards, for the doubly robust estimate: how well a place does, and how much better an item does than others there."""

import numpy as np
from numpy.typing import NDArray

from ray_apps.evaluation.off_policy import LoggedAnswers, Rounds

PRIOR = 10.0
"""So many rounds at the mean rate are added to those of an item: a few rounds of its own say little."""
FOLDS = 2


def expected_rewards(log: LoggedAnswers, items: NDArray[np.int64], n_items: int) -> tuple[Rounds, Rounds]:
    """Expected reward of each round's item, and of another item at its place; a round is told by other users' rounds only.

    Args:
        log: What was answered and what it earned.
        items: The other item at each round's place, -1 for none, which earns nothing.
        n_items: Items of the catalogue.
    """
    shown, instead = np.zeros(len(log)), np.zeros(len(log))
    fold = log.users % FOLDS
    for part in range(FOLDS):
        here = fold == part
        rate, lift = _learned(log.take(~here), int(log.places.max(initial=0)) + 1, n_items)
        at = rate[log.places[here]]
        shown[here] = _reward(at, lift, log.items[here])
        instead[here] = np.where(items[here] < 0, 0.0, _reward(at, lift, items[here]))
    return shown, instead


def _reward(rate: Rounds, lift: Rounds, items: NDArray[np.int64]) -> Rounds:
    """Items that are not in the catalogue do as well as others."""
    return np.minimum(rate * np.where(items < 0, 1.0, lift[np.maximum(items, 0)]), 1.0)


def _learned(log: LoggedAnswers, places: int, n_items: int) -> tuple[Rounds, Rounds]:
    """Mean reward of each place, and each item's rewards over those that its places let expect."""
    shown = np.bincount(log.places, minlength=places)
    rate = np.bincount(log.places, log.rewards, places) / np.maximum(shown, 1)
    known = log.take(log.items >= 0)
    got = np.bincount(known.items, known.rewards, max(n_items, 1))
    due = np.bincount(known.items, rate[known.places], max(n_items, 1))
    return rate, (got + PRIOR * rate.mean()) / np.maximum(due + PRIOR * rate.mean(), 1e-12)
