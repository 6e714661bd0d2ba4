"""Quarantine: digests that were sent back are not tried again, though the objects that say so are pruned some day."""

from datetime import timedelta

from recsys_operator.state.observed import Observed
from recsys_schemas.v1alpha1.model_status import Quarantined
from recsys_schemas.v1alpha1.rollout import RolloutPhase

_MOST = 100
"""Remembered, the newest ones."""
_SENT_BACK = (RolloutPhase.ROLLED_BACK, RolloutPhase.ABORTED)


def remember(observed: Observed) -> list[Quarantined]:
    """What the status keeps: the digests whose time is not over, oldest first."""
    known = {each.digest: each for each in observed.model.status.quarantined}
    for walk in observed.rollouts:
        pin, ended = walk.lead, walk.status.ended_at
        if walk.status.phase in _SENT_BACK and ended is not None:
            known[pin.digest] = Quarantined(digest=pin.digest, version=pin.name, since=ended)
        for arm in walk.status.left:
            known[arm.digest] = Quarantined(digest=arm.digest, version=arm.name, since=arm.since)
    seconds = observed.model.spec.rollout.on_failure.quarantine_seconds
    begun = observed.now - timedelta(seconds=seconds) if seconds is not None else None
    kept = [each for each in known.values() if begun is None or each.since > begun]
    return sorted(kept, key=lambda each: each.since)[-_MOST:]


def of(observed: Observed, digest: str) -> Quarantined | None:
    """Who was sent back with these bytes, while that bars others."""
    return next((each for each in remember(observed) if each.digest == digest), None)
