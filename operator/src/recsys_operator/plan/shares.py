"""Shares: which versions take part, and the arms that follow from what is written; used by rollout and by serving."""

from recsys_operator.plan import quarantine, steps
from recsys_operator.plan.reports import own_app, reports
from recsys_operator.plan.wishes import wish
from recsys_operator.state.observed import Observed, RolloutState, VersionState
from recsys_schemas.serving_record import MOST_ARMS, Arm, Variant
from recsys_schemas.v1alpha1.rollout import Pinned, RolloutPhase, RolloutStatus
from recsys_schemas.v1alpha1.version import VersionPhase

ENDED = frozenset(phase for phase in RolloutPhase if phase.ended)
"""Phases that nothing follows."""
PROMOTED = frozenset({RolloutPhase.SUCCESSFUL, RolloutPhase.HOLDING})
"""Phases in which the candidate serves all users but those held back."""

_LEARNING = frozenset({VersionPhase.PENDING, VersionPhase.TRAINING})


def active(observed: Observed) -> RolloutState | None:
    """The rollout under way; there is at most one."""
    return next((rollout for rollout in observed.rollouts if rollout.status.phase not in ENDED), None)


def champion(observed: Observed) -> Pinned | None:
    """What serves: the candidate of the newest rollout that promoted it."""
    done = [rollout.lead for rollout in observed.rollouts if rollout.status.phase in PROMOTED]
    return done[-1] if done else None


def waiting(observed: Observed) -> VersionState | None:
    """The version that passed its trial and has no rollout yet; none while another is asked for."""
    if wish(observed) is not None:
        return None
    begun = {pin.name for rollout in observed.rollouts for pin in rollout.spec.tried}
    ready = [version for version in observed.versions if version.status.phase is VersionPhase.CANDIDATE and version.name not in begun]
    return ready[0] if ready else None


def retained(observed: Observed) -> frozenset[str]:
    """Versions that are needed whatever their age: what serves, what tries to, what served before, and what a person asks for."""
    best, active_now = champion(observed), active(observed)
    done = [rollout for rollout in observed.rollouts if rollout.status.phase in PROMOTED]
    serving = next((version for version in observed.versions if best and version.name == best.name), None)
    named = [best, *(rollout.spec.stable for rollout in done[-1:])]
    named += [active_now.spec.stable, *active_now.spec.tried] if active_now else []
    kept = held_back(observed)
    named += [kept[0]] if kept else []
    named += kept_loaded(observed)
    learning = [version.spec.parent for version in observed.versions if version.status.phase in _LEARNING]
    words = [*learning, observed.model.spec.rollout.rollback_to, serving.spec.parent if serving else None]
    words += [arm.version for arm in observed.model.spec.rollout.arms]
    there = {version.name for version in observed.versions}
    # A rollout goes with the object of its candidate: where another arm was taken, it says that this one has served.
    words += [walk.spec.candidate.name for walk in observed.rollouts if walk.status.winner and walk.lead.name in there]
    return frozenset(pin.name for pin in named if pin) | frozenset(word for word in words if word)


def held_back(observed: Observed) -> tuple[Pinned, int] | None:
    """The version before the champion with the share that it keeps, once the champion's rollout has ended."""
    done = [rollout for rollout in observed.rollouts if rollout.status.phase is RolloutPhase.SUCCESSFUL]
    if not done or done[-1].spec.stable is None:
        return None
    now = active(observed)
    asked = [observed.model.spec.rollout.holdback, done[-1].spec.holdback, *([now.spec.holdback] if now else [])]
    return (done[-1].spec.stable, min(asked)) if min(asked) else None


def kept_loaded(observed: Observed) -> list[Pinned]:
    """Versions that served before and stay loaded beside the champion, the newest first; none of those that were sent back."""
    best, most = champion(observed), observed.model.spec.rollout.keep_loaded
    made = {version.name: version.status.artifact.digest for version in observed.versions if version.status.artifact}
    served = [walk.lead for walk in reversed(observed.rollouts) if walk.status.phase in PROMOTED]
    there = [pin for pin in served if made.get(pin.name) == pin.digest and pin != best and not quarantine.of(observed, pin.digest)]
    return list({pin.name: pin for pin in there}.values())[:most]


def arms(observed: Observed, status: RolloutStatus | None = None) -> list[Arm]:
    """The arms that the rollout asks for, and those that are kept; `status` is what this pass is about to write, if it writes one."""
    asked = _asked(observed, status)
    taken = {arm.version for arm in asked}
    kept = [pin for pin in kept_loaded(observed) if pin.name not in taken] if asked else []
    # What is only kept loaded gives way to what is tried.
    return [*asked, *(_arm(pin, Variant.HOLDBACK, 0) for pin in kept)][:MOST_ARMS]


def _asked(observed: Observed, status: RolloutStatus | None) -> list[Arm]:
    walk = active(observed)
    if walk is None:
        return _beside(observed, champion(observed), 100)
    now, stable = status or walk.status, walk.spec.stable
    if now.phase is RolloutPhase.PROMOTING or now.phase in PROMOTED:
        return _promoted(observed, walk, now)
    if now.phase is RolloutPhase.ROLLING_BACK or now.phase in ENDED:
        return _beside(observed, stable, 100)
    if stable is None:
        return []
    walks = now.phase in (RolloutPhase.PROGRESSING, RolloutPhase.PAUSED)
    verb = steps.verb_at(walk.spec, now.step) if walks else None
    mirrored = verb.shadow.percent if verb and verb.shadow else 0
    mixed = verb.interleave.percent if verb and verb.interleave else 0
    left = frozenset(arm.name for arm in now.left)
    own = now.weight or (steps.weight_at(walk.spec, now.step) if walks and walk.spec.candidate.name in left else 0)
    tried = _tried(walk, own, left, begun=walks)
    first = tried[0].model_copy(update={"mirrored": mirrored, "interleaved": mixed})
    return [*_beside(observed, stable, 100 - sum(arm.share for arm in tried)), first, *tried[1:]]


def _tried(walk: RolloutState, weight: int, left: frozenset[str], *, begun: bool) -> list[Arm]:
    """The candidate with so much, and the arms beside it with theirs once the test has begun; what left cedes its place."""
    weights = {walk.spec.candidate.name: weight} | {arm.name: arm.weight if begun else 0 for arm in walk.spec.arms}
    return [
        _arm(pin, Variant.CANDIDATE, 0 if pin.name in left else weights[pin.name]).model_copy(
            update={"ceded": weights[pin.name] if pin.name in left else 0}
        )
        for pin in walk.spec.tried
    ]


def at_weight(observed: Observed, walk: RolloutState, weight: int) -> dict[str, int]:
    """Version → share, where the candidate of a rollout under way has so much."""
    tried = {arm.version: arm.share for arm in _tried(walk, weight, walk.left, begun=True)}
    return {arm.version: arm.share for arm in _beside(observed, walk.spec.stable, 100 - sum(tried.values()))} | tried


def _beside(observed: Observed, stable: Pinned | None, share: int) -> list[Arm]:
    """The stable arm, and the one that is held back from its share."""
    if stable is None:
        return []
    kept = held_back(observed)
    if kept is None or kept[0].name == stable.name:
        return [_arm(stable, Variant.STABLE, share)]
    return [_arm(stable, Variant.STABLE, share - kept[1]), _arm(kept[0], Variant.HOLDBACK, kept[1])]


def _promoted(observed: Observed, walk: RolloutState, now: RolloutStatus) -> list[Arm]:
    """What was taken for all users, but for those held back on what served before; that stays loaded while the way back is armed."""
    kept = min(observed.model.spec.rollout.holdback, walk.spec.holdback)
    warm = walk.spec.hold_seconds > 0 and now.phase is not RolloutPhase.SUCCESSFUL
    taken = now.winner or walk.spec.candidate
    if walk.spec.stable is None or not (kept or warm):
        return [_arm(taken, Variant.STABLE, 100)]
    return [_arm(taken, Variant.STABLE, 100 - kept), _arm(walk.spec.stable, Variant.HOLDBACK, kept)]


def _arm(version: Pinned, variant: Variant, share: int) -> Arm:
    return Arm.model_validate({"version": version.name, "digest": version.digest, "variant": variant, "share": share})


def in_force(observed: Observed) -> dict[str, int]:
    """Version → share, as the rollout's written status asks for it: what counters are told apart by."""
    return {arm.version: arm.share for arm in arms(observed)}


def verified(observed: Observed) -> bool:
    """Whether the record asked for by the rollout's written status is deployed, and served by every running replica."""
    app, seen = own_app(observed), reports(observed)
    if app is None or app.record is None or seen is None:
        return False
    return app.record.arms == arms(observed) and seen.verified(app.record.epoch)
