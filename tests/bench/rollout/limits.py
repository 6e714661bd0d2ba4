"""How soon any rule at all can know: no benchmark's figure, but a bound that none can pass.

A rule that rolls back equal versions with probability alpha at most, and bad ones always, needs at least log(1 / alpha) / KL(bad, good)
answers of the bad version in the mean (Wald, Sequential Analysis, 1947; Lorden 1971): even one that has known both rates beforehand.
"""

from math import log

from bench.rollout.logs import ERRORS, REQUESTS_PER_SECOND, SHARE


def divergence(bad: float, good: float) -> float:
    """Kullback-Leibler divergence of two coins, in nats.

    >>> round(divergence(0.02, 0.01), 5)
    0.00391
    """
    return bad * log(bad / good) + (1 - bad) * log((1 - bad) / (1 - good))


def least_seconds(times_errors: float, alpha: float, *, rate: float = REQUESTS_PER_SECOND * SHARE) -> float:
    """The least mean time until a version that errs so many times as often is known, seconds; `rate`: its answers a second."""
    return log(1 / alpha) / divergence(ERRORS * times_errors, ERRORS) / rate
