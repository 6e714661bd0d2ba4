"""Rollout: a candidate earns each share, or is sent back; a table of words says what may follow what."""

from datetime import timedelta
from enum import StrEnum

from recsys_operator.plan import holding, quarantine, rollback, steps, taking_part
from recsys_operator.plan.freezing import frozen
from recsys_operator.plan.reports import Reports, own_app, reports
from recsys_operator.plan.several import Several
from recsys_operator.plan.shares import active, verified, waiting
from recsys_operator.plan.topics import HOLDING, Topics
from recsys_operator.plan.trials import Trial, trial_of
from recsys_operator.plan.wishes import wish
from recsys_operator.state.observed import Observed, RolloutState, Unavailable, VersionState
from recsys_schemas.v1alpha1.rollout import Pinned, RolloutPhase


class Rollout(StrEnum):
    """The state of the model's rollout in one word."""

    IDLE = "Idle"
    QUARANTINED = "Quarantined"
    ARM_AWAITED = "ArmAwaited"
    ARM_UNAVAILABLE = "ArmUnavailable"
    BEGINNING = "Beginning"
    FIRST = "First"
    LOADING = "Loading"
    LOADED = "Loaded"
    RETURNED = "Returned"
    REFUSED = "Refused"
    ABORT_ASKED = "AbortAsked"
    SUPERSEDED = "Superseded"
    BLIND = "Blind"
    FAILING = "Failing"
    ARM_LEAVES = "ArmLeaves"
    LATE = "Late"
    UNVERIFIED = "Unverified"
    ARRIVED = "Arrived"
    HELD = "Held"
    FROZEN = "Frozen"
    PROMOTE_ASKED = "PromoteAsked"
    NEXT_ASKED = "NextAsked"
    AWAITING_APPROVAL = "AwaitingApproval"
    PAUSED = "Paused"
    EARNING = "Earning"
    EARNED = "Earned"
    EARNED_LAST = "EarnedLast"
    PROMOTING = "Promoting"
    ARMING = "Arming"
    ARMED = "Armed"
    CONFIRMED = "Confirmed"
    PROMOTED = "Promoted"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"


_SENT_BACK = frozenset({Rollout.REFUSED, Rollout.ABORT_ASKED, Rollout.FAILING, Rollout.LATE, Rollout.SUPERSEDED})
_STOPPED = frozenset({Rollout.HELD, Rollout.FROZEN})
_WAITING = frozenset({Rollout.BLIND, Rollout.UNVERIFIED, Rollout.AWAITING_APPROVAL, Rollout.PAUSED, Rollout.EARNING}) | _STOPPED
_ONWARD = frozenset({Rollout.ARRIVED, Rollout.NEXT_ASKED, Rollout.EARNED})
_WALKING = _WAITING | _ONWARD | _SENT_BACK - {Rollout.REFUSED} | {Rollout.EARNED_LAST, Rollout.PROMOTE_ASKED, Rollout.ARM_LEAVES}
_ENDING = frozenset({Rollout.ROLLING_BACK, Rollout.ROLLED_BACK})
_DONE = frozenset({Rollout.PROMOTING, Rollout.ARMING, Rollout.PROMOTED})
_ON_GUARD = frozenset({Rollout.ARMED, Rollout.CONFIRMED, Rollout.FAILING, Rollout.ABORT_ASKED, Rollout.BLIND, Rollout.UNVERIFIED})
_NOT_BEGUN = frozenset({Rollout.IDLE, Rollout.QUARANTINED, Rollout.ARM_AWAITED, Rollout.ARM_UNAVAILABLE})
_NEXT = _NOT_BEGUN | {Rollout.BEGINNING}
_OF_ANOTHER = frozenset({Rollout.LOADING, Rollout.RETURNED, Rollout.ABORT_ASKED, Rollout.REFUSED, Rollout.LATE})
"""How a rollout begins that a person asked for, outside of this table: see `plan.rollback`."""
_BEFORE_USERS = (_SENT_BACK - {Rollout.FAILING}) | {Rollout.LOADING, Rollout.LOADED, Rollout.ARM_LEAVES} | _STOPPED

MOVES: dict[Rollout, frozenset[Rollout]] = {
    **dict.fromkeys(sorted(_NOT_BEGUN), _NEXT | _OF_ANOTHER),
    Rollout.BEGINNING: _BEFORE_USERS | {Rollout.FIRST},
    Rollout.FIRST: _DONE,
    Rollout.LOADING: _BEFORE_USERS | {Rollout.RETURNED},
    Rollout.RETURNED: _DONE,
    Rollout.LOADED: _WALKING,
    Rollout.ARM_LEAVES: _WALKING | _BEFORE_USERS,
    **dict.fromkeys(sorted(_SENT_BACK), _ENDING),
    **dict.fromkeys(sorted(_STOPPED), _WALKING | _BEFORE_USERS),
    **dict.fromkeys(sorted(_WAITING - _STOPPED - {Rollout.BLIND, Rollout.UNVERIFIED}), _WALKING),
    **dict.fromkeys((Rollout.BLIND, Rollout.UNVERIFIED), _WALKING | _ON_GUARD),
    **dict.fromkeys(sorted(_ONWARD), _WALKING),
    # A pass that died before it told may find another world.
    Rollout.REFUSED: _ENDING | _BEFORE_USERS | {Rollout.RETURNED},
    **dict.fromkeys((Rollout.EARNED_LAST, Rollout.NEXT_ASKED, Rollout.PROMOTE_ASKED), _WALKING | _DONE),
    Rollout.PROMOTING: _DONE,
    Rollout.ARMING: _ON_GUARD,
    Rollout.ARMED: _ON_GUARD,
    Rollout.CONFIRMED: _NEXT | _OF_ANOTHER,
    Rollout.PROMOTED: _NEXT | _OF_ANOTHER,
    Rollout.ROLLING_BACK: _ENDING,
    Rollout.ROLLED_BACK: _NEXT | _OF_ANOTHER,
}
"""What may follow what, from one pass to the next. A missing arrow is a defect: the simulated world asserts it."""


def judge(observed: Observed, topics: Topics) -> Rollout:
    """The state of the rollout in one word."""
    rollout = active(observed)
    if rollout is None:
        version = waiting(observed)
        if version is None:
            return Rollout.IDLE
        return Rollout.QUARANTINED if _sent_back_before(observed, version) else _judge_arms(observed)
    match rollout.status.phase:
        case RolloutPhase.PROMOTING:
            if not verified(observed):
                return Rollout.PROMOTING
            return Rollout.ARMING if rollout.spec.hold_seconds and rollout.spec.stable else Rollout.PROMOTED
        case RolloutPhase.HOLDING:
            return _judge_hold(observed, rollout)
        case RolloutPhase.ROLLING_BACK:
            return Rollout.ROLLED_BACK if verified(observed) or _no_app(observed) else Rollout.ROLLING_BACK
        case RolloutPhase.PENDING | RolloutPhase.LOADING:
            return _judge_loading(observed, rollout, topics)
        case _:
            return _judge_walk(observed, rollout, topics)


def _judge_arms(observed: Observed) -> Rollout:
    """Whether all that are to take part in its test are there."""
    found = taking_part.lacking(observed)
    if found is None:
        return Rollout.BEGINNING
    return Rollout.ARM_AWAITED if found.awaited else Rollout.ARM_UNAVAILABLE


def _no_app(observed: Observed) -> bool:
    """Whether nobody serves anything; of a cluster that cannot be read that is not known."""
    return not isinstance(observed.ray, Unavailable) and own_app(observed) is None


def _sent_back_before(observed: Observed, version: VersionState) -> bool:
    """Whether a version of the same bytes was sent back, and its quarantine is not over."""
    return version.status.artifact is not None and quarantine.of(observed, version.status.artifact.digest) is not None


def _late(observed: Observed, rollout: RolloutState) -> bool:
    began = rollout.status.started_at
    return began is not None and observed.now >= began + timedelta(seconds=rollout.spec.progress_deadline_seconds)


def _overtaken(observed: Observed) -> bool:
    """Whether a newer version waits that need not."""
    return observed.model.spec.rollout.newer_version == "Supersede" and waiting(observed) is not None


def _stopped(observed: Observed, rollout: RolloutState, topics: Topics) -> Rollout | None:
    """Why no share may grow, whatever was earned or asked."""
    model = observed.model.spec
    if model.suspend or model.rollout.paused or rollout.spec.control.paused or topics in HOLDING:
        return Rollout.HELD
    return Rollout.FROZEN if frozen(model.rollout.freeze_windows, observed.now) else None


def _judge_loading(observed: Observed, rollout: RolloutState, topics: Topics) -> Rollout:
    if rollout.spec.stable is None:
        return Rollout.FIRST
    if rollout.spec.control.abort or rollback.overrules(observed, rollout):
        return Rollout.ABORT_ASKED
    seen = reports(observed)
    refused = refused_arms(rollout, seen)
    if refused:
        return Rollout.ARM_LEAVES if len(refused) < len(rollout.in_it) else Rollout.REFUSED
    if rollout.spec.purpose == "Promote" and _overtaken(observed):
        return Rollout.SUPERSEDED
    if _late(observed, rollout):
        return Rollout.LATE
    loaded = seen is not None and all(seen.ready(pin.name, pin.digest) for pin in rollout.in_it)
    if not loaded or rollout.status.phase is not RolloutPhase.LOADING:
        return Rollout.LOADING
    if rollout.spec.purpose == "Return":
        return Rollout.RETURNED
    return _stopped(observed, rollout, topics) or Rollout.LOADED


def _judge_walk(observed: Observed, rollout: RolloutState, topics: Topics) -> Rollout:
    trial = trial_of(observed, rollout)
    if rollout.spec.control.abort or rollback.overrules(observed, rollout):
        return Rollout.ABORT_ASKED
    if trial is not None and trial.failing:
        return Rollout.FAILING
    if isinstance(trial, Several) and trial.harmful:
        return Rollout.ARM_LEAVES
    if _overtaken(observed):
        return Rollout.SUPERSEDED
    if _late(observed, rollout):
        return Rollout.EARNED_LAST if _supported(observed, rollout, topics) else Rollout.LATE
    if trial is None:
        return Rollout.BLIND
    if not verified(observed):
        return Rollout.UNVERIFIED
    if rollout.status.step_since is None:
        return Rollout.ARRIVED
    return _stopped(observed, rollout, topics) or _judge_step(observed, rollout, trial)


def _supported(observed: Observed, rollout: RolloutState, topics: Topics) -> bool:
    """Whether a test with several arms has one at its deadline that is shown to be better, and may be taken now."""
    trial = trial_of(observed, rollout)
    if not isinstance(trial, Several) or not verified(observed):
        return False
    return trial.supported is not None and steps.ripe(rollout, trial, observed.now) and _stopped(observed, rollout, topics) is None


def refused_arms(rollout: RolloutState, seen: Reports | None) -> list[Pinned]:
    """Of what is tried, what a replica could not map."""
    return [pin for pin in rollout.in_it if seen is not None and seen.refused(pin.name)]


def _judge_step(observed: Observed, rollout: RolloutState, trial: Trial) -> Rollout:
    control, step = rollout.spec.control, steps.present(rollout)
    named = control.arm or rollout.spec.candidate.name
    asked = "None" if named in rollout.left else control.promote  # what left a test is not promoted
    if asked == "Full":
        return Rollout.PROMOTE_ASKED
    if asked == "Next" and control.step == rollout.status.step:
        return Rollout.PROMOTE_ASKED if steps.is_last(rollout) else Rollout.NEXT_ASKED
    if step.pause is not None and step.pause.approval:
        return Rollout.AWAITING_APPROVAL
    if not steps.earned(rollout, trial, observed.now):
        return Rollout.EARNING if step.pause is None else Rollout.PAUSED
    return Rollout.EARNED_LAST if steps.is_last(rollout) else Rollout.EARNED


def _judge_hold(observed: Observed, rollout: RolloutState) -> Rollout:
    """It serves all users; for a while what served before stays loaded, and harm that is shown still sends them back."""
    guard, asked = holding.guard(observed, rollout), wish(observed)
    switched = asked is not None and not asked.pins
    if rollout.spec.control.abort or (not switched and rollback.overrules(observed, rollout)):
        return Rollout.ABORT_ASKED
    if guard is None:
        return Rollout.BLIND
    if guard.failing:
        return Rollout.FAILING
    if not verified(observed):
        return Rollout.UNVERIFIED
    until = rollout.status.held_until
    over = until is None or observed.now >= until or switched
    return Rollout.CONFIRMED if over or _overtaken(observed) else Rollout.ARMED
