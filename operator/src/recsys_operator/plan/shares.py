"""Shares: which versions take part, and the arms that follow from what is written; used by rollout and by serving."""

from recsys_operator.plan.reports import own_app, reports
from recsys_operator.state.observed import Observed, RolloutState, VersionState
from recsys_schemas.serving_api import Arm, Variant
from recsys_schemas.v1alpha1.rollout import Pinned, RolloutPhase, RolloutStatus
from recsys_schemas.v1alpha1.version import VersionPhase

ENDED = frozenset({RolloutPhase.SUCCESSFUL, RolloutPhase.ROLLED_BACK, RolloutPhase.ABORTED})
"""Phases that nothing follows."""


_LEARNING = frozenset({VersionPhase.PENDING, VersionPhase.TRAINING})


def active(observed: Observed) -> RolloutState | None:
    """The rollout under way; there is at most one."""
    return next((rollout for rollout in observed.rollouts if rollout.status.phase not in ENDED), None)


def champion(observed: Observed) -> Pinned | None:
    """What serves: the candidate of the newest rollout that succeeded."""
    done = [rollout.spec.candidate for rollout in observed.rollouts if rollout.status.phase is RolloutPhase.SUCCESSFUL]
    return done[-1] if done else None


def waiting(observed: Observed) -> VersionState | None:
    """The version that passed its trial and has no rollout yet; none while another is pinned."""
    if observed.model.spec.rollout.rollback_to is not None:
        return None
    begun = {rollout.spec.candidate.name for rollout in observed.rollouts}
    ready = [version for version in observed.versions if version.status.phase is VersionPhase.CANDIDATE and version.name not in begun]
    return ready[0] if ready else None


def retained(observed: Observed) -> frozenset[str]:
    """Versions that are needed whatever their age: what serves, what tries to, what served before, and what a person asks for."""
    best, active_now = champion(observed), active(observed)
    done = [rollout for rollout in observed.rollouts if rollout.status.phase is RolloutPhase.SUCCESSFUL]
    serving = next((version for version in observed.versions if best and version.name == best.name), None)
    named = [best, *(rollout.spec.stable for rollout in done[-1:])]
    named += [active_now.spec.stable, active_now.spec.candidate] if active_now else []
    learning = [version.spec.parent for version in observed.versions if version.status.phase in _LEARNING]
    words = [*learning, observed.model.spec.rollout.rollback_to, serving.spec.parent if serving else None]
    return frozenset(pin.name for pin in named if pin) | frozenset(word for word in words if word)


def arms(observed: Observed, status: RolloutStatus | None = None) -> list[Arm]:
    """The arms that the rollout asks for; `status` is what this pass is about to write, if it writes one."""
    walk = active(observed)
    if walk is None:
        serving = champion(observed)
        return [_arm(serving, Variant.STABLE, 100)] if serving else []
    now, candidate, stable = status or walk.status, walk.spec.candidate, walk.spec.stable
    match now.phase:
        case RolloutPhase.SUCCESSFUL | RolloutPhase.PROMOTING:
            return [_arm(candidate, Variant.STABLE, 100)]
        case RolloutPhase.ROLLING_BACK | RolloutPhase.ROLLED_BACK | RolloutPhase.ABORTED:
            return [_arm(stable, Variant.STABLE, 100)] if stable else []
        case _ if stable is None:
            return []
        case _:
            return [_arm(stable, Variant.STABLE, 100 - now.weight), _arm(candidate, Variant.CANDIDATE, now.weight)]


def _arm(version: Pinned, variant: Variant, share: int) -> Arm:
    return Arm.model_validate({"version": version.name, "digest": version.digest, "variant": variant, "share": share})


def verified(observed: Observed) -> bool:
    """Whether the record asked for by the rollout's written status is deployed, and served by every running replica."""
    app, seen = own_app(observed), reports(observed)
    if app is None or app.record is None or seen is None:
        return False
    return app.record.arms == arms(observed) and seen.verified(app.record.epoch)
