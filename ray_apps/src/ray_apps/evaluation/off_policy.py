"""What a model would have earned, from answers that another one gave: off-policy estimates with recorded propensities.

Each place of a logged list is a round of its own: an item was shown there with a known probability, and earned a reward or not (the
item-position model: Li et al., "Offline evaluation of ranking policies with click models", KDD 2018). A round counts by how much
likelier the model would have shown that item there, its weight.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_apps.evaluation.confidence import LEAST_USERS, resampled_means
from recsys_schemas.version_card import Estimate

MOST_WEIGHT = 100.0
"""Greater weights count as this: one lucky round must not decide. It makes estimates too low, if anything, and intervals narrower."""
LEAST_EFFECTIVE = 100.0
"""Fewer effective rounds, (sum of weights)² / (sum of their squares), say nothing."""
LEAST_OVERLAP, MOST_OVERLAP = 0.5, 2.0
"""The mean weight is 1 where the log could have shown all that the model shows. Below, it knows less than half of what the model would
show; above, the propensities recorded are not those of the policy that answered."""

Rounds = NDArray[np.float64]
"""A number for each round, shape (rounds,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedAnswers:
    """Places of answered lists, one a round; all arrays have shape (rounds,).

    `users` are rows of the catalogue, or numbers beyond it for users of whom nothing else is known; `items` are rows of the catalogue
    or -1; `places` count from 0; `propensities` are the probabilities, above 0, that the policy showed this item at this place;
    `rewards` lie in 0 to 1; `times` are milliseconds since the epoch.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    places: NDArray[np.int64]
    propensities: Rounds
    rewards: Rounds
    times: NDArray[np.int64]

    def __len__(self) -> int:
        return self.users.size

    def take(self, chosen: NDArray[np.bool_]) -> "LoggedAnswers":
        """The rounds where `chosen` is true."""
        return LoggedAnswers(
            users=self.users[chosen],
            items=self.items[chosen],
            places=self.places[chosen],
            propensities=self.propensities[chosen],
            rewards=self.rewards[chosen],
            times=self.times[chosen],
        )


def weights_of(log: LoggedAnswers, policy: Rounds, most: float = np.inf) -> Rounds:
    """How much likelier each round is under the model than it was when logged.

    Args:
        log: What was answered.
        policy: Probability that the model shows the logged item at its place.
        most: Greater weights count as this.
    """
    return np.minimum(policy / log.propensities, most)


def ips(log: LoggedAnswers, weights: Rounds) -> Rounds:
    """Inverse propensity scores; their mean is the estimate, unbiased where the log has support, and noisy.

    Source: Horvitz & Thompson, "A generalization of sampling without replacement from a finite universe", JASA 47, 1952.
    """
    return log.rewards * weights


def snips(log: LoggedAnswers, weights: Rounds) -> Rounds:
    """Self-normalised inverse propensity scores; their mean is the estimate, less noisy, biased by less than its noise.

    Source: Swaminathan & Joachims, "The self-normalized estimator for counterfactual learning", NeurIPS 2015.
    """
    mean = weights.mean() if weights.size else 0.0
    return log.rewards * weights / (mean or 1.0)


def doubly_robust(log: LoggedAnswers, weights: Rounds, expected: Rounds, promised: Rounds) -> Rounds:
    """Doubly robust scores; their mean is unbiased when either the propensities or the expected rewards are right.

    Args:
        log: What was answered.
        weights: Of the model.
        expected: Expected reward of the item that was shown.
        promised: Expected reward of what the model would show at that place instead.

    Source: Dudik, Langford & Li, "Doubly robust policy evaluation and learning", ICML 2011.
    """
    return promised + weights * (log.rewards - expected)


def effective(weights: Rounds) -> float:
    """Kish's effective sample size: as many rounds of equal weight would say as much."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def thin_support(log: LoggedAnswers, weights: Rounds) -> str | None:
    """Why nothing can be said of a model from this log, with the numbers; None where something can."""
    if not len(log):
        return "no logged answers: none were given to users after what training knows of them"
    if (log.propensities >= 1).all():
        return f"propensity of 1 everywhere: in {len(log)} places the logging policy left nothing to chance, so the log has no support"
    size, overlap, users = effective(weights), float(weights.mean()), int(np.unique(log.users).size)
    seen = f"effective sample size {size:.0f} of {len(log)} places, {users} users, mean weight {overlap:.2f}"
    if users < LEAST_USERS:
        return f"thin support: {seen}; at least {LEAST_USERS} users are needed"
    if size < LEAST_EFFECTIVE:
        return f"thin support: {seen}; an effective size of at least {LEAST_EFFECTIVE:.0f} is needed"
    if overlap < LEAST_OVERLAP:
        return f"thin support: {seen}; below {LEAST_OVERLAP:g} the log could not have shown most of what this model shows"
    if overlap > MOST_OVERLAP:
        return f"propensities: {seen}; above {MOST_OVERLAP:g} they are not those of the policy that answered"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Earned:
    """An estimate as a ratio of sums, kept by user, since a user's rounds are alike: shapes (users,)."""

    above: NDArray[np.float64]
    below: NDArray[np.float64]
    unseen: float = 0.0
    """Part of what the model shows that the log could not have shown, 0 to 1. Of its rewards nothing is known but by assumption: they are
    taken to lie between none and twice those of the rest, and the interval is widened by that."""

    @property
    def slack(self) -> float:
        """How far the value may be off for what the log could not have shown."""
        return self.unseen * abs(self.value)

    @property
    def value(self) -> float:
        """The estimate: reward for each place shown."""
        return float(self.above.sum() / (self.below.sum() or 1.0))

    def resampled(self, seed: int) -> NDArray[np.float64]:
        """Estimates with users drawn again, with replacement: the same seed and number of users draw the same users."""
        above, below = resampled_means(np.stack([self.above, self.below]), seed)
        return above / np.where(below > 0, below, 1.0)

    def estimate(self, seed: int) -> Estimate:
        """With a percentile bootstrap interval over users."""
        return _told(self.value, self.resampled(seed), self.above.size, self.slack)

    def minus(self, other: "Earned", seed: int) -> Estimate:
        """The difference to another model on the same log, users drawn alike."""
        drawn = self.resampled(seed) - other.resampled(seed)
        return _told(self.value - other.value, drawn, self.above.size, self.slack + other.slack)


def _told(value: float, drawn: NDArray[np.float64], users: int, slack: float) -> Estimate:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(value=value, low=min(float(low), value) - slack, high=max(float(high), value) + slack, samples=users)


def earned(log: LoggedAnswers, above: Rounds, below: Rounds, unseen: float = 0.0) -> Earned:
    """Sums of the rounds of each user of a log; `unseen` as in `Earned`."""
    _, who = np.unique(log.users, return_inverse=True)
    users = int(who.max(initial=-1)) + 1
    sums = [np.asarray(np.bincount(who, each, users), dtype=np.float64) for each in (above, below)]
    return Earned(above=sums[0], below=sums[1], unseen=unseen)
