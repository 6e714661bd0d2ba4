"""How sure a mean is: 95 % intervals."""

import math

import numpy as np
from numpy.typing import NDArray

from ray_apps.evaluation.ranking import Value
from recsys_schemas.version_card import Estimate

RESAMPLES = 2_000
"""Bootstrap samples."""
LEAST_USERS = 30
"""With fewer, a bootstrap would claim to know too much."""
Z95 = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""
_AT_ONCE = 1_000_000
"""Numbers drawn at a time, to bound memory."""


def wilson(successes: float, trials: int) -> Estimate:
    """A share with Wilson's score interval; it stays within 0 to 1 and is not empty at the ends.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    if trials == 0:
        return Estimate(value=0.0, low=0.0, high=1.0, samples=0)
    share, z2 = successes / trials, Z95 * Z95
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    return Estimate(value=share, low=min(share, max(0.0, centre - half)), high=max(share, min(1.0, centre + half)), samples=trials)


def bootstrap(value: Value, seed: int, lowest: float = 0.0) -> Estimate:
    """A mean over users with its percentile bootstrap interval: users are drawn again, with replacement.

    With fewer than LEAST_USERS the interval is all that is possible, `lowest` to 1: drawing again from a handful knows nothing of the rest.

    Source: Efron & Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.
    """
    users = value.per_user.size
    if users < LEAST_USERS:
        return Estimate(value=value.mean, low=lowest, high=1.0, samples=users)
    means = resampled_means(value.per_user, seed)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(value=value.mean, low=min(float(low), value.mean), high=max(float(high), value.mean), samples=users)


def resampled_means(per_user: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Means of RESAMPLES bootstrap samples: the same seed and number of users draw the same users."""
    generator = np.random.default_rng(seed)
    users = per_user.size
    means = np.empty(RESAMPLES)
    step = max(1, _AT_ONCE // users)
    for start in range(0, RESAMPLES, step):
        drawn = generator.integers(users, size=(min(step, RESAMPLES - start), users))
        means[start : start + len(drawn)] = per_user[drawn].mean(axis=1)
    return means


def difference(candidate: Value, other: Value, seed: int) -> Estimate:
    """Candidate minus other, paired by user: what the two have in common cancels, so small differences show.

    Raises:
        ValueError: they were not measured on the same users.
    """
    if candidate.per_user.shape != other.per_user.shape:
        raise ValueError(f"{candidate.per_user.size} and {other.per_user.size} users cannot be paired")
    return bootstrap(Value(per_user=candidate.per_user - other.per_user), seed, lowest=-1.0)
