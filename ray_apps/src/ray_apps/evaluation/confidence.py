"""How sure a mean is: 95 % intervals."""

import math
from collections.abc import Mapping
from functools import lru_cache

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


def bootstrap(value: Value, seed: int) -> Estimate:
    """A mean over users with its percentile bootstrap interval: users are drawn again, with replacement.

    With fewer than LEAST_USERS the interval is all that is possible: drawing again from a handful knows nothing of the rest.

    Source: Efron & Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.
    """
    return bootstraps({"": value}, seed)[""]


def bootstraps(values: Mapping[str, Value], seed: int) -> dict[str, Estimate]:
    """The same for several metrics: those with the same number of users share their draws, which is most of the work."""
    found: dict[str, Estimate] = {}
    for users in {value.per_user.size for value in values.values()}:
        named = {name: value for name, value in values.items() if value.per_user.size == users}
        if users < LEAST_USERS:
            found |= {name: _anything(value) for name, value in named.items()}
            continue
        means = resampled_means(np.stack([value.per_user for value in named.values()]), seed)
        low, high = np.percentile(means, [2.5, 97.5], axis=-1)
        for (name, value), least, most in zip(named.items(), low.tolist(), high.tolist(), strict=True):
            found[name] = Estimate(value=value.mean, low=min(least, value.mean), high=max(most, value.mean), samples=users)
    return {name: found[name] for name in values}


def _anything(value: Value) -> Estimate:
    mean = value.mean
    return Estimate(value=mean, low=min(value.lowest, mean), high=max(value.highest, mean), samples=value.per_user.size)


def resampled_means(per_user: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Means of RESAMPLES bootstrap samples of the last axis, shape (..., users) to (..., RESAMPLES).

    The same seed and number of users draw the same users. Sums are made in a fixed order, whatever the number of threads.
    """
    users = per_user.shape[-1]
    drawn = _draws(users, seed)
    means = np.empty((*per_user.shape[:-1], RESAMPLES))
    step = max(1, _AT_ONCE // users)
    for start in range(0, RESAMPLES, step):
        times = drawn[start : start + step].astype(np.float64)
        means[..., start : start + step] = np.einsum("...u,ru->...r", per_user, times, optimize=False) / users
    return means


@lru_cache(maxsize=16)
def _draws(users: int, seed: int) -> NDArray[np.uint16]:
    """How often each user is drawn in each sample, shape (RESAMPLES, users): kept, since every model and metric asks for the same."""
    generator = np.random.default_rng(seed)
    counts = np.empty((RESAMPLES, users), dtype=np.uint16)
    step = max(1, _AT_ONCE // users)
    for start in range(0, RESAMPLES, step):
        rows = min(step, RESAMPLES - start)
        places = generator.integers(users, size=(rows, users)) + np.arange(rows)[:, None] * users
        counts[start : start + rows] = np.bincount(places.ravel(), minlength=rows * users).reshape(rows, users)
    return counts


def less(candidate: Value, other: Value) -> Value:
    """Candidate minus other, user by user.

    Raises:
        ValueError: they were not measured on the same users.
    """
    if candidate.per_user.shape != other.per_user.shape:
        raise ValueError(f"{candidate.per_user.size} and {other.per_user.size} users cannot be paired")
    return Value(
        per_user=candidate.per_user - other.per_user,
        lowest=candidate.lowest - other.highest,
        highest=candidate.highest - other.lowest,
    )


def difference(candidate: Value, other: Value, seed: int) -> Estimate:
    """Candidate minus other, paired by user: what the two have in common cancels, so small differences show.

    Raises:
        ValueError: they were not measured on the same users.
    """
    return bootstrap(less(candidate, other), seed)
