"""Comparing latencies: quantiles from histograms, at every moment.

"The p99 is above v" is "more than one in a hundred is above v": a hypothesis about a rate, whose e-value is valid at any time. All v at
which it is not refuted form a confidence sequence for the quantile (Howard & Ramdas 2022, whose bounds hold for all quantiles at once;
here two are looked at, each for its own). The candidate is slower when its quantile is shown to lie above the stable arm's bound,
stretched by what is tolerated. One bound is on either arm, each at half the level: bins of 2.2 % make it no sharper than that.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, inf, log

from recsys_operator.plan.evidence.counts import Count, Grouped
from recsys_operator.plan.evidence.rates import RARE_DOWN, RARE_UP, Shifts, log_e_rate
from recsys_operator.plan.evidence.verdicts import Levels, Proof, Verdict, no_proof
from recsys_schemas.serving_evidence import FOLDS, latency_bin, latency_edge

_TAIL = 5
"""No more is said of a quantile before so many answers lie beyond it: the first answers of a process are slow for a while."""
_RARE = 0.1
"""Beyond a quantile lies less than this: there thirty times as many may lie."""
_COMMON_UP = tuple((1 + gain, 0.25) for gain in (0.1, 0.25, 0.5, 0.8))
_COMMON_DOWN = tuple((1 - loss, 0.25) for loss in (0.1, 0.25, 0.5, 0.8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """A histogram of latencies by folds of users: bin → number of answers in each fold."""

    bins: Mapping[int, Sequence[int]]

    @staticmethod
    def added(parts: Iterable[Mapping[int, Sequence[int]]]) -> "Latencies":
        """Those of several replicas together."""
        total: dict[int, list[int]] = {}
        for part in parts:
            for place, counts in part.items():
                before = total.get(place)
                total[place] = list(counts) if before is None else [a + b for a, b in zip(before, counts, strict=True)]
        return Latencies(bins=total)

    @property
    def trials(self) -> int:
        """Answers that were timed."""
        return sum(sum(counts) for counts in self.bins.values())

    def quantile(self, q: float) -> float:
        """The upper edge of the bin that holds the quantile, milliseconds; 0 without answers."""
        places = sorted(self.bins)
        counts = list(accumulate(sum(self.bins[place]) for place in places))
        return latency_edge(places[bisect_left(counts, q * counts[-1])]) if counts else 0.0


UNTIMED = Latencies(bins={})
"""Nothing was timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slower:
    """How much slower is put up with: a share of the stable quantile, or milliseconds, whichever is more."""

    harm: float
    """Share beyond which the candidate is Worse."""
    limit: float
    """Share below which it is NotWorse."""
    milliseconds: float
    """So many more are neither harm nor worth a proof."""

    def than(self, latency: float, by: float) -> float:
        """The limit for a stable quantile of so many milliseconds."""
        return max(latency * (1 + by), latency + self.milliseconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """A verdict on one quantile, with the proofs of it."""

    verdict: Verdict
    stable: float
    """As seen, milliseconds."""
    candidate: float
    worse: Proof
    not_worse: Proof


class _Tail:
    """One arm's answers above each bin, in effective counts."""

    def __init__(self, latencies: Latencies, q: float) -> None:
        self.places = sorted(latencies.bins)
        self.beyond = 1 - q
        self._over: list[list[int]] = [[0] * FOLDS]
        for place in reversed(self.places):
            self._over.append([a + b for a, b in zip(self._over[-1], latencies.bins[place], strict=True)])
        self._over.reverse()
        self._up: Shifts = RARE_UP if self.beyond < _RARE else _COMMON_UP
        self._down: Shifts = RARE_DOWN if self.beyond < _RARE else _COMMON_DOWN

    def count(self, place: int) -> Count:
        """Answers above a bin's upper edge."""
        return Grouped(hits=self._over[bisect_right(self.places, place)], trials=self._over[0]).effective

    def above(self, place: int) -> float:
        """Log e-value for: the quantile lies above this bin's upper edge."""
        return log_e_rate(self.count(place), self.beyond, self._up)

    def below(self, place: int) -> float:
        """Log e-value for: it lies below."""
        return log_e_rate(self.count(place), self.beyond, self._down)

    def upper(self, level: float) -> int | None:
        """The lowest bin whose upper edge the quantile is shown to lie below; None while none is."""
        found = bisect_left(self.places, True, key=lambda place: self.below(place) >= log(1 / level))
        return self.places[found] if found < len(self.places) else None

    def lower(self, level: float) -> int | None:
        """The highest bin whose upper edge it is shown to lie above; None while none is."""
        found = bisect_left(self.places, True, key=lambda place: self.above(place - 1) < log(1 / level))
        return self.places[found - 1] - 1 if found else None


def slower(stable: Latencies, candidate: Latencies, *, q: float, limits: Slower, levels: Levels) -> Timing:
    """Is the candidate's quantile above the stable one's by more than is tolerated?

    Args:
        stable: latencies of the stable arm.
        candidate: those of the candidate, over the same time.
        q: which quantile, such as 0.99.
        limits: what is put up with. There is no Better: faster than fast enough is worth nothing.
        levels: how often each verdict may be wrong.
    """
    seen = (stable.quantile(q), candidate.quantile(q))
    least = ceil(_TAIL / (1 - q))
    if stable.trials < least or candidate.trials < least:
        worse, not_worse = no_proof(levels.worse), no_proof(levels.not_worse)
        return Timing(verdict=Verdict.INSUFFICIENT_DATA, stable=seen[0], candidate=seen[1], worse=worse, not_worse=not_worse)
    theirs, ours = _Tail(stable, q), _Tail(candidate, q)
    top, bottom = theirs.upper(levels.worse / 2), theirs.lower(levels.not_worse / 2)
    against, pro = -inf, -inf
    if top is not None:
        against = ours.above(latency_bin(limits.than(latency_edge(top), limits.harm)))
    if bottom is not None:
        # The bin below the limit: what lies above its upper edge is more than what lies above the limit.
        pro = ours.below(latency_bin(limits.than(latency_edge(bottom), limits.limit)) - 1)
    worse, not_worse = Proof(log_e=against, level=levels.worse / 2), Proof(log_e=pro, level=levels.not_worse / 2)
    verdict = Verdict.WORSE if worse.reached else Verdict.NOT_WORSE if not_worse.reached else Verdict.UNDECIDED
    return Timing(verdict=verdict, stable=seen[0], candidate=seen[1], worse=worse, not_worse=not_worse)
