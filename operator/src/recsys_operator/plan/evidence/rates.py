"""Comparing two rates at every moment: a sequential likelihood ratio test on the arm that each event came from.

Requests come to the candidate with odds w : 1 - w, whatever becomes of them. Then an *event* (an error, a reward) is the candidate's
with odds r w : 1 - w, where r is the ratio of the two arms' rates, and what the rates themselves are does not matter. "The candidate
errs at most r0 times as often" is so a hypothesis about one coin, and against each of a few larger ratios the likelihood ratio of
the events' arms is a martingale with mean 1 under it (Wald 1945); averaged with fixed weights it is a mixture SPRT (Robbins 1970;
Johari, Koomen, Pekelis & Walsh 2022), an e-process in the sense of Ramdas, Grünwald, Vovk & Shafer 2023. Turner & Grünwald 2022 treat
the same 2x2 problem by blocks; conditioning on the events gives away almost nothing where they are rare, and needs no block.
Where events are common it is conservative: given how many requests each arm had, the events' arms vary less than a coin does.

The odds w : 1 - w are those of the requests that were seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log

from recsys_operator.plan.evidence.counts import Count
from recsys_operator.plan.evidence.verdicts import Levels, Proof, Verdict, no_proof

Shifts = Sequence[tuple[float, float]]
"""By what factor a rate may differ from the hypothesis, with the weight of that alternative; weights sum to 1."""

_FEWEST_EVENTS = 8
"""Harm takes at least so many events of the candidate: a hiccup of a few requests is not a rate."""


def _weighted(*shifts: tuple[float, float]) -> Shifts:
    whole = sum(weight for _, weight in shifts)
    return tuple((factor, weight / whole) for factor, weight in shifts)


RARE_UP = _weighted((1.2, 0.5), (1.5, 1.5), (2, 3.5), (3, 2.5), (5, 3.5), (10, 1), (30, 0.3))
RARE_DOWN = _weighted((1 / 1.2, 1), (1 / 1.5, 2), (1 / 2, 5), (1 / 3, 1), (1 / 5, 0.6), (1 / 10, 0.4))
FINE_UP = _weighted((1.02, 1), (1.05, 2), (1.1, 2), (1.2, 2), (1.5, 1), (2, 1), (5, 0.5))
FINE_DOWN = _weighted((0.98, 1), (0.95, 2), (0.9, 2), (0.8, 2), (0.6, 1), (0.4, 1), (0.1, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """Up to where a candidate's rate is put up with, given the stable one's; the largest counts."""

    ratio: float = 1.0
    """So many times the stable rate."""
    increase: float = 0.0
    """So much more than it."""
    acceptable: float = 0.0
    """A rate that nobody minds."""

    def rate(self, stable: Count) -> float:
        """What is put up with apart from the ratio; of the stable rate as it was seen so far."""
        return max(stable.rate + self.increase if self.increase else 0.0, self.acceptable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A verdict with the counts that it rests on and the proofs of it."""

    verdict: Verdict
    stable: Count
    candidate: Count
    worse: Proof
    not_worse: Proof
    better: Proof


def log_mixed(terms: Sequence[tuple[float, float]]) -> float:
    """Logarithm of a weighted mean of e-values, from (weight, log e)."""
    best = max(log_e for _, log_e in terms)
    return best + log(sum(weight * exp(log_e - best) for weight, log_e in terms)) if best > -inf else -inf


def log_e_ratio(stable: Count, candidate: Count, ratio: float, shifts: Shifts) -> float:
    """Log e-value against "the candidate's rate is `ratio` times the stable one's", or further on the side away from the shifts.

    >>> log_e_ratio(Count(hits=9, trials=900), Count(hits=9, trials=100), 1.0, RARE_UP) > 7
    True
    >>> log_e_ratio(Count(hits=90, trials=9000), Count(hits=10, trials=1000), 2.0, RARE_DOWN) > 1
    True
    >>> log_e_ratio(Count(hits=0, trials=0), Count(hits=0, trials=0), 1.0, RARE_UP)
    -inf
    """
    if not stable.trials or not candidate.trials or ratio <= 0:
        return -inf
    odds = ratio * candidate.trials / stable.trials
    terms: list[tuple[float, float]] = []
    for factor, weight in shifts:
        # log(theta'/theta) and log((1 - theta')/(1 - theta)) with theta = odds / (1 + odds), theta' likewise of factor * odds.
        fewer = log((1 + odds) / (1 + factor * odds))
        terms.append((weight, candidate.hits * (log(factor) + fewer) + stable.hits * fewer))
    return log_mixed(terms)


def log_e_rate(count: Count, than: float, shifts: Shifts) -> float:
    """Log e-value against "the rate is `than`", or further on the side away from the shifts.

    >>> log_e_rate(Count(hits=20, trials=100), 0.05, RARE_UP) > 10
    True
    >>> log_e_rate(Count(hits=0, trials=1000), 0.005, RARE_DOWN) > 2
    True
    """
    if not count.trials or not 0 < than < 1:
        return -inf
    misses = count.trials - count.hits
    terms = [
        (weight, count.hits * log(factor) + misses * log((1 - factor * than) / (1 - than)))
        for factor, weight in shifts
        if factor * than < 1
    ]
    return log_mixed(terms) if terms else -inf


def more_often(stable: Count, candidate: Count, *, harm: Margin, limit: Margin, levels: Levels) -> Comparison:
    """Does the candidate do something bad (an error) more often than the stable arm?

    Args:
        stable: effective counts of the stable arm.
        candidate: those of the candidate.
        harm: beyond it the candidate is Worse. The level holds exactly for a candidate within the ratio; within the increase it holds
            as far as the stable rate is known.
        limit: shown to be below it, the candidate is NotWorse.
        levels: how often each verdict may be wrong.
    """
    if not stable.trials or not candidate.trials:
        return _nothing(stable, candidate, levels)
    against = [log_e_ratio(stable, candidate, harm.ratio, RARE_UP)]
    if harm.rate(stable):  # beyond the largest of the limits is beyond each
        against.append(log_e_rate(candidate, harm.rate(stable), RARE_UP))
    enough = candidate.hits >= _FEWEST_EVENTS
    below = log_e_ratio(stable, candidate, limit.ratio, RARE_DOWN)
    if limit.rate(stable):  # below the largest of them is below any: the mean of two e-values is one
        below = log_mixed(((0.5, below), (0.5, log_e_rate(candidate, limit.rate(stable), RARE_DOWN))))
    worse = Proof(log_e=min(against) if enough else min(0.0, *against), level=levels.worse)
    better = Proof(log_e=log_e_ratio(stable, candidate, 1.0, RARE_DOWN), level=levels.worse)
    return _judged(stable, candidate, worse, Proof(log_e=below, level=levels.not_worse), better)


def less_often(stable: Count, candidate: Count, *, harm: float, limit: float, levels: Levels) -> Comparison:
    """Does the candidate do something good (earn a reward) less often than the stable arm?

    Args:
        stable: effective counts of the stable arm.
        candidate: those of the candidate.
        harm: share of the stable rate whose loss is tolerated; beyond it the candidate is Worse.
        limit: shown to have lost less than this share, the candidate is NotWorse.
        levels: how often each verdict may be wrong.
    """
    if not stable.trials or not candidate.trials:
        return _nothing(stable, candidate, levels)
    # Few rewards of the candidate are what harm looks like; it is the stable arm's that must not be a handful.
    enough = stable.hits >= _FEWEST_EVENTS
    against = log_e_ratio(stable, candidate, 1 - harm, FINE_DOWN)
    worse = Proof(log_e=against if enough else min(0.0, against), level=levels.worse)
    not_worse = Proof(log_e=log_e_ratio(stable, candidate, 1 - limit, FINE_UP), level=levels.not_worse)
    better = Proof(log_e=log_e_ratio(stable, candidate, 1.0, FINE_UP), level=levels.worse)
    return _judged(stable, candidate, worse, not_worse, better)


def preferred(wins: Count, *, levels: Levels) -> Comparison:
    """Is one side of a pair (interleaved lists, a user's two lists) preferred? `wins`: the candidate's among all that were decided.

    Better and Worse are against one half; NotWorse says that it wins more than 45 of 100.
    """
    other = Count(hits=wins.trials - wins.hits, trials=wins.trials)
    if not wins.trials:
        return _nothing(other, wins, levels)
    worse = Proof(log_e=log_e_rate(wins, 0.5, FINE_DOWN), level=levels.worse)
    not_worse = Proof(log_e=log_e_rate(wins, 0.45, FINE_UP), level=levels.not_worse)
    return _judged(other, wins, worse, not_worse, Proof(log_e=log_e_rate(wins, 0.5, FINE_UP), level=levels.worse))


def _nothing(stable: Count, candidate: Count, levels: Levels) -> Comparison:
    return Comparison(
        verdict=Verdict.INSUFFICIENT_DATA,
        stable=stable,
        candidate=candidate,
        worse=no_proof(levels.worse),
        not_worse=no_proof(levels.not_worse),
        better=no_proof(levels.worse),
    )


def _judged(stable: Count, candidate: Count, worse: Proof, not_worse: Proof, better: Proof) -> Comparison:
    proofs = ((worse, Verdict.WORSE), (better, Verdict.BETTER), (not_worse, Verdict.NOT_WORSE))
    verdict = next((verdict for proof, verdict in proofs if proof.reached), Verdict.UNDECIDED)
    return Comparison(verdict=verdict, stable=stable, candidate=candidate, worse=worse, not_worse=not_worse, better=better)
