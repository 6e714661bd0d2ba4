"""Threshold rules as in the documented examples of Argo Rollouts and Flagger, written anew from their documents.

Argo Rollouts (https://argoproj.github.io/argo-rollouts/features/analysis): `successCondition: result[0] >= 0.95`, `failureLimit: 3`: the
analysis fails with the fourth failed measurement. Its example measures every 5 minutes; here it may every 60 s, in its favour.
Flagger (https://docs.flagger.app/usage/how-it-works): `request-success-rate` with `thresholdRange: {min: 99}` and `interval: 1m`, and
`threshold: 5` failed checks before the roll-back (10 in another example).
"""

from dataclasses import dataclass

import numpy as np

from bench.rollout.logs import Log


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Roll back with the `failures`-th interval in which the candidate's rate of success is less than asked."""

    name: str
    success: float
    failures: int
    interval: int = 60

    def aborts(self, log: Log) -> list[int | None]:
        """When each rollout is aborted, seconds."""
        ends = np.arange(self.interval, log.seconds + 1, self.interval) - 1
        asked = np.diff(log.candidate.requests[:, ends], axis=1, prepend=0)
        failed = np.diff(log.candidate.errors[:, ends], axis=1, prepend=0)
        bad = (asked > 0) & (1 - failed / np.maximum(asked, 1) < self.success)
        over = bad.cumsum(axis=1) >= self.failures
        return [int(ends[row.argmax()]) + 1 if row.any() else None for row in over]


RULES = (
    Threshold(name="Argo Rollouts' example", success=0.95, failures=4),
    Threshold(name="Flagger's example", success=0.99, failures=5),
    Threshold(name="tightened: success >= 0.98 each 30 s, 1 failure", success=0.98, failures=1, interval=30),
)
