"""Redeploying: an application that Ray Serve gave up is sent again, with growing pauses.

Ray Serve starts a replica three times and then gives the application up for good, whatever becomes of the cause: a Secret that was
mounted late, a store that was away. Only a config that differs makes it try again, and a record with a higher epoch is one.
"""

from datetime import timedelta

from recsys_operator.state.observed import Observed
from recsys_schemas.v1alpha1.model_status import ServingRetry

FIRST = timedelta(seconds=10)
LONGEST = timedelta(minutes=5)


def remembered(observed: Observed) -> ServingRetry | None:
    """What earlier passes have written down."""
    return observed.model.status.serving.retry if observed.model.status.serving else None


def due(observed: Observed) -> bool:
    """Whether one that was given up is to be sent again now."""
    before = remembered(observed)
    return before is not None and observed.now >= before.next_time


def after(observed: Observed, *, sent: bool) -> ServingRetry:
    """What to write down of one that was given up, `sent` again in this pass or not."""
    before = remembered(observed)
    if before is not None and not sent:
        return before
    attempts = before.attempts + 1 if before else 0
    return ServingRetry(attempts=attempts, next_time=observed.now + min(LONGEST, FIRST * 2 ** min(attempts, 8)))


def words(observed: Observed) -> str:
    """When it is sent again, for the condition."""
    retry = after(observed, sent=due(observed))
    return f"sent again with growing pauses, {retry.attempts} times so far, next from {retry.next_time:%Y-%m-%dT%H:%M:%SZ} on"
