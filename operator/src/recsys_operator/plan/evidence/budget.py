"""One error budget for a whole rollout, split over what is watched and over the shares that are passed through."""

from collections.abc import Iterable
from math import pi

from recsys_operator.plan.evidence.verdicts import Levels

FIRST = 0.8
"""The first share's part: there most harm is met, with the fewest data. What is left goes as 1/n² to however many follow."""

WEIGHTS = {"errors": 0.65, "reward": 0.12, "latency p50": 0.05, "latency p99": 0.08, "fallbacks": 0.03, "empty lists": 0.05, "users": 0.02}
"""Parts of the budget by what is watched: errors first, for they must be seen in seconds."""
_OTHER = 0.05
"""Part of each metric that the spec adds."""


def levels(alpha: float, alpha_not_worse: float, *, place: int, watched: Iterable[str]) -> dict[str, Levels]:
    """Levels of each metric at one of the rollout's shares.

    Rolling back an equal candidate takes but one wrong Worse: the budget `alpha` is split over all metrics and shares. To take a
    candidate that is worse on some metric for no worse takes a wrong NotWorse on that very metric: `alpha_not_worse` is split over
    the shares alone. The two directions need no split: no candidate is both.

    Args:
        alpha: probability of a wrong Worse or Better, over the whole rollout.
        alpha_not_worse: probability of a wrong NotWorse.
        place: how many shares came before this one.
        watched: names of the metrics.

    >>> found = levels(0.001, 0.05, place=0, watched=["errors", "reward"])
    >>> round(found["errors"].worse, 6), round(found["reward"].worse, 6), round(found["errors"].not_worse, 6)
    (0.00052, 9.6e-05, 0.04)
    """
    names = list(watched)
    weights = {name: WEIGHTS.get(name, _OTHER) for name in names}
    whole = max(1.0, sum(weights.values()))
    part = part_of(place)
    return {name: Levels(worse=alpha * part * weight / whole, not_worse=alpha_not_worse * part) for name, weight in weights.items()}


def part_of(place: int) -> float:
    """The part of the budget for one share; all parts together are at most 1.

    >>> sum(part_of(place) for place in range(1000)) <= 1
    True
    """
    return FIRST if place == 0 else (1 - FIRST) * 6 / (pi * place) ** 2
