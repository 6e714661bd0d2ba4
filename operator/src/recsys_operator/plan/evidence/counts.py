"""Counts by groups of users: how much they prove, and always-valid intervals of a rate.

For a stream of yes/no outcomes with unknown rate p, the beta-binomial mixture

    M_n(p) = B(s + 1/2, n - s + 1/2) / (B(1/2, 1/2) p^s (1 - p)^(n - s))

is a martingale under p with mean 1 (Robbins 1970; Howard, Ramdas, McAuliffe & Sekhon 2021, section 3.2), so by Ville's inequality
the set of all p with M_n(p) < 1/alpha contains the true rate at *every* n at once with probability 1 - alpha.

Users are assigned to arms, not answers, and a user's answers are alike: a thousand answers to thirty users prove little. So counts are
taken by groups of users, and divided by the design effect that the groups show (Rao & Scott 1992) before they are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, lgamma, log
from operator import mul

_PRIOR = 0.5
_HALVINGS = 50
_FEWEST_GROUPS = 8
"""Below so many groups their spread says nothing: then no more is believed than one answer for each group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How often something happened among how many; not whole numbers once divided by a design effect."""

    hits: float
    trials: float

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.trials:
            raise ValueError(f"hits must lie between 0 and trials, got {self.hits} of {self.trials}")

    @property
    def rate(self) -> float:
        """Hits a trial; 0 where there is no trial."""
        return self.hits / self.trials if self.trials else 0.0

    def __str__(self) -> str:
        return f"{self.hits:.0f}/{self.trials:.0f}" + (f" = {100 * self.rate:.1f} %" if self.trials else "")


@dataclass(frozen=True, kw_only=True)
class Grouped:
    """The same by groups of users: one whole number for each group. What is derived is worked out once: each pass asks for it often."""

    hits: Sequence[int]
    trials: Sequence[int]

    def __post_init__(self) -> None:
        if len(self.hits) != len(self.trials):
            raise ValueError(f"hits and trials need a number for each group, got {len(self.hits)} and {len(self.trials)}")

    @cached_property
    def count(self) -> Count:
        """All groups together."""
        return Count(hits=sum(self.hits), trials=sum(self.trials))

    @cached_property
    def groups(self) -> int:
        """Groups that saw something; the others do not count."""
        return len(self.trials) - self.trials.count(0)

    @cached_property
    def spread(self) -> float:
        """Variance of the rate between groups, over what it would be if answers were independent; by chance it may be less than 1.

        The variance of a ratio from clusters (Cochran 1977, section 11.2), from sums of whole numbers, which lose nothing.
        """
        trials, hits, groups = sum(self.trials), sum(self.hits), self.groups
        independent = hits * (trials - hits)
        if not independent or groups < _FEWEST_GROUPS:
            return 1.0
        both, of_hits, of_trials = (sum(map(mul, a, b)) for a, b in ((self.hits, self.trials), (self.hits,) * 2, (self.trials,) * 2))
        squares = of_hits * trials**2 - 2 * both * hits * trials + of_trials * hits**2  # trials² times those of hits about their share
        return squares * groups / ((groups - 1) * trials * independent)

    @property
    def design_effect(self) -> float:
        """By how much answers are worth less than independent ones; at least 1.

        >>> Grouped(hits=[1] * 10 + [0] * 10, trials=[2] * 10 + [1] * 10).design_effect
        1.0
        >>> round(Grouped(hits=[50, 0] * 10, trials=[50] * 20).design_effect)
        53
        """
        if self.groups < _FEWEST_GROUPS:
            return max(1.0, sum(self.trials) / self.groups) if self.groups else 1.0
        return max(1.0, self.spread)

    @cached_property
    def effective(self) -> Count:
        """The count that as many independent answers would have to give to prove as much."""
        return self.worth(self.design_effect)

    def worth(self, effect: float) -> Count:
        """The count under a given design effect."""
        return Count(hits=sum(self.hits) / effect, trials=sum(self.trials) / effect)


def effective(stable: Grouped, candidate: Grouped) -> tuple[Count, Count]:
    """Both arms' counts, divided by one design effect of both.

    Users of either arm are alike as much as those of the other, unless the arms differ: so it is told better by the groups of both.
    """
    arms = (stable, candidate)
    if min(arm.groups for arm in arms) < _FEWEST_GROUPS:
        return stable.effective, candidate.effective
    effect = max(1.0, sum(arm.spread * arm.groups for arm in arms) / sum(arm.groups for arm in arms))
    return stable.worth(effect), candidate.worth(effect)


UNSEEN = Grouped(hits=(), trials=())
"""Nothing was counted."""


def log_beta(a: float, b: float) -> float:
    """Logarithm of the beta function."""
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def log_mixture(hits: float, misses: float) -> float:
    """Logarithm of the likelihood, averaged over rates drawn from Beta(1/2, 1/2)."""
    return log_beta(hits + _PRIOR, misses + _PRIOR) - log_beta(_PRIOR, _PRIOR)


def log_likelihood(hits: float, misses: float, rate: float) -> float:
    """Logarithm of the likelihood of one rate."""
    if (hits and rate <= 0) or (misses and rate >= 1):
        return -inf
    return (hits * log(rate) if hits else 0.0) + (misses * log(1 - rate) if misses else 0.0)


def interval(count: Count, alpha: float) -> tuple[float, float]:
    """Confidence sequence of a rate: bounds that hold at every sample size at once with probability 1 - alpha.

    It holds too for the mean of values in [0, 1] whose sum is `hits`: a likelihood ratio is convex in the value, so it can only
    be less than for yes and no.

    >>> low, high = interval(Count(hits=30, trials=100), 0.05)
    >>> round(low, 2), round(high, 2)
    (0.17, 0.46)
    >>> interval(Count(hits=0, trials=0), 0.05)
    (0.0, 1.0)
    """
    if count.trials == 0:
        return 0.0, 1.0
    hits, misses = count.hits, count.trials - count.hits
    # Log-likelihood of a rate at which the martingale, mixture over likelihood, reaches 1 / alpha.
    least = log_mixture(hits, misses) - log(1 / alpha)

    def edge(outside: float) -> float:
        """The martingale is convex in log-likelihood around the mean: halve between a rate inside and one outside."""
        if log_likelihood(hits, misses, outside) > least:
            return outside
        inside = hits / count.trials
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            if log_likelihood(hits, misses, middle) > least:
                inside = middle
            else:
                outside = middle
        return outside

    return edge(0.0), edge(1.0)


def likely_excess(low: Count, high: Count) -> float:
    """How much larger `high`'s rate is than `low`'s, less two standard errors: a hint, not a proof.

    It only ever delays a share, so it needs no error budget. Rates are smoothed (Agresti & Caffo 2000), so small samples say little.

    >>> likely_excess(Count(hits=12, trials=100), Count(hits=700, trials=2700)) > 0.02
    True
    >>> likely_excess(Count(hits=2, trials=10), Count(hits=700, trials=2700)) > 0.02
    False
    """
    if not low.trials or not high.trials:
        return 0.0
    rates = [(count.hits + 1) / (count.trials + 2) for count in (low, high)]
    variance = sum(rate * (1 - rate) / (count.trials + 2) for rate, count in zip(rates, (low, high), strict=True))
    return rates[1] - rates[0] - 2 * variance**0.5
