"""How far apart the groups of users are: the largest difference between two of them of a metric's mean."""

from collections.abc import Mapping
from statistics import NormalDist

import numpy as np

from ray_apps.evaluation.confidence import LEAST_USERS, resampled_means
from ray_apps.evaluation.ranking import Value
from recsys_schemas.version_card import Estimate

ALPHA = 0.05


def large(groups: Mapping[str, Value]) -> dict[str, Value]:
    """The groups with at least LEAST_USERS: the mean of a handful is far from the others by chance alone."""
    return {name: value for name, value in groups.items() if value.per_user.size >= LEAST_USERS}


def gap(groups: Mapping[str, Value]) -> Estimate:
    """The largest difference between the means of two groups, with an interval that holds for the true largest difference.

    Every pair's difference gets Welch's normal interval at 1 - 0.05 / pairs, so that all of them hold at once with 95 %
    (Bonferroni). The true gap is then at least the largest lower end, 0 when none is above it, and at most the largest upper end.
    (The bootstrap of a maximum is biased upwards, and would see gaps between equal groups.) A group's variance counts as at least that
    of one user in it who is otherwise, since nobody knows that there is none.

    Args:
        groups: At least two, as `large` gives them.
    """
    values = list(groups.values())
    pairs = len(values) * (len(values) - 1) // 2
    z = NormalDist().inv_cdf(1 - ALPHA / (2 * pairs))
    means = np.array([value.mean for value in values])
    errors = np.array([_squared_error(value) for value in values])
    apart = np.abs(means[:, None] - means[None, :])
    half = z * np.sqrt(errors[:, None] + errors[None, :])
    most = max(value.highest - value.lowest for value in values)
    upper = np.triu(apart + half, k=1)
    return Estimate(
        value=float(apart.max()),
        low=max(0.0, float((apart - half).max())),
        high=min(most, float(upper.max())),
        samples=sum(value.per_user.size for value in values),
    )


def _squared_error(value: Value) -> float:
    users = value.per_user.size
    width = value.highest - value.lowest
    least = width * width * (1 - 1 / users) / users
    return max(float(value.per_user.var(ddof=1)), least) / users


def gap_difference(candidate: Mapping[str, Value], other: Mapping[str, Value], seed: int) -> Estimate:
    """The candidate's gap less another model's on the same users, with a percentile bootstrap interval: users are drawn within groups.

    Both models are drawn with the same users, so what the groups' users have in common cancels.

    Raises:
        ValueError: they were not measured on the same groups.
    """
    if list(candidate) != list(other) or any(candidate[name].per_user.size != other[name].per_user.size for name in candidate):
        raise ValueError(f"groups {sorted(candidate)} and {sorted(other)} of other users cannot be paired")
    both = [np.stack([candidate[name].per_user, other[name].per_user]) for name in candidate]
    means = np.stack([each.mean(axis=1) for each in both])
    drawn = np.stack([resampled_means(each, seed + place) for place, each in enumerate(both)])
    value = float(np.ptp(means[:, 0]) - np.ptp(means[:, 1]))
    low, high = np.percentile(np.ptp(drawn[:, 0], axis=0) - np.ptp(drawn[:, 1], axis=0), [2.5, 97.5])
    samples = sum(each.shape[1] for each in both)
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value), samples=samples)
