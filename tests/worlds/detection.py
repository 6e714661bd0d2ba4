"""How soon harm of a known size is shown: a bound that follows from the tests of a rollout, for those who claim that it is.

Against each alternative of its mixture a test's log e-value is at least the log of that alternative's weight plus a log likelihood ratio,
to which every event of either arm adds a step of its own: a compound Poisson process, whose drift and variance a second are known once
the rates are. So the time by which it has passed log(1/level) with a given probability is a square root's; of all alternatives the
soonest counts.
"""

from dataclasses import dataclass
from math import inf, log, sqrt
from statistics import NormalDist

from recsys_operator.plan.evidence.rates import FINE_DOWN, RARE_UP, Shifts
from recsys_operator.plan.weighing import level_of
from recsys_schemas.v1alpha1.analysis import Analysis

MISSED = 0.001
"""Probability with which a bound may be passed."""
_FEWEST = 8
"""Harm in errors takes so many of the candidate's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """What both arms do in a second."""

    stable: float
    candidate: float
    odds: float
    """Of a request to be the candidate's."""


def errors_within(analysis: Analysis, events: Events, place: int) -> float:
    """Seconds by which an error rate beyond the stable one's is shown, at a share that so many others came before."""
    shown = passed(RARE_UP, events, ratio=1.0, level=level_of(analysis, place)["errors"].worse)
    return max(shown, _seconds(_FEWEST, drift=events.candidate, variance=events.candidate))


def losses_within(analysis: Analysis, events: Events, place: int) -> float:
    """The same of a loss of reward beyond what is put up with."""
    level = level_of(analysis, place)["reward"].worse
    return passed(FINE_DOWN, events, ratio=1 - analysis.max_reward_decrease, level=level)


def passed(shifts: Shifts, events: Events, *, ratio: float, level: float) -> float:
    """Seconds by which a test of the arm of each event has passed its level but for `MISSED`; infinite where it drifts the other way.

    >>> one = Events(stable=1.8, candidate=1.0, odds=1 / 9)
    >>> 10 < passed(RARE_UP, one, ratio=1.0, level=0.0005) < 60
    True
    """
    odds, found = ratio * events.odds, inf
    for factor, weight in shifts:
        fewer = log((1 + odds) / (1 + factor * odds))
        more = log(factor) + fewer
        drift = events.candidate * more + events.stable * fewer
        variance = events.candidate * more**2 + events.stable * fewer**2
        found = min(found, _seconds(log(1 / level) - log(weight), drift=drift, variance=variance))
    return found


def _seconds(height: float, *, drift: float, variance: float) -> float:
    """When drift * t - z * sqrt(variance * t) reaches a height."""
    if drift <= 0:
        return inf
    late = -NormalDist().inv_cdf(MISSED) * sqrt(variance)
    return ((late + sqrt(late**2 + 4 * drift * height)) / (2 * drift)) ** 2
