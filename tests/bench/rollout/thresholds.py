"""Threshold rules as in the documented examples of Argo Rollouts and Flagger, written anew from their documents.

Argo Rollouts (https://argoproj.github.io/argo-rollouts/features/analysis): `successCondition: result[0] >= 0.95`, `failureLimit: 3`: the
analysis fails with the fourth failed measurement. Its example measures every 5 minutes; here it may every 60 s, in its favour.
Flagger (https://docs.flagger.app/usage/how-it-works): `request-success-rate` with `thresholdRange: {min: 99}` and `interval: 1m`, and
`threshold: 5` failed checks before the roll-back (10 in another example).

One rolls back nearly every equal version at 1 % errors, the other no version with twice the errors. For a comparison at no more false
aborts each gets the success rate that suits these very logs best, which nobody knows beforehand: the highest at which it rolls back no
more of the equal versions than the operator does.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.rollout.logs import Log

_LESS = 1e-12
"""A rate of failures that is just put up with is not above what is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Roll back with the `failures`-th interval in which the candidate's rate of success is less than asked."""

    name: str
    success: float
    failures: int
    interval: int = 60

    def aborts(self, log: Log) -> list[int | None]:
        """When each rollout is aborted, seconds."""
        rates, ends = self._failures(log)
        over = (rates > 1 - self.success).cumsum(axis=1) >= self.failures
        return [int(ends[row.argmax()]) + 1 if row.any() else None for row in over]

    def worst(self, log: Log) -> list[float]:
        """The rate of failures of each rollout that must be put up with, or it is aborted: the `failures`-th of its intervals."""
        rates, _ = self._failures(log)
        return np.sort(rates, axis=1)[:, -self.failures].tolist()

    def putting_up_with(self, worst: list[float], most: int) -> "Threshold":
        """The same rule with the highest success rate at which no more than `most` of these rollouts are aborted."""
        least = sorted(worst, reverse=True)[most]
        return replace(self, name=f"{self.name} at success >= {1 - least:.4f}", success=1 - least - _LESS)

    def _failures(self, log: Log) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The rate of failures in each interval, and the seconds in which they end."""
        ends = np.arange(self.interval, log.seconds + 1, self.interval) - 1
        asked = np.diff(log.candidate.requests[:, ends], axis=1, prepend=0)
        failed = np.diff(log.candidate.errors[:, ends], axis=1, prepend=0)
        return failed / np.maximum(asked, 1), ends


EXAMPLES = (
    Threshold(name="Argo Rollouts' example", success=0.95, failures=4),
    Threshold(name="Flagger's example", success=0.99, failures=5),
)
RULES = (*EXAMPLES, Threshold(name="tightened: success >= 0.98 each 30 s, 1 failure", success=0.98, failures=1, interval=30))
