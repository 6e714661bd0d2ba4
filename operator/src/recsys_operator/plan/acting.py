"""Acting: what each word of the rollout does, and what is said of it."""

from collections.abc import Callable

from recsys_operator.plan import moves, quarantine, rollback, steps, taking_part
from recsys_operator.plan.freezing import frozen
from recsys_operator.plan.moves import Walk
from recsys_operator.plan.rollout import Rollout, refused_arms
from recsys_operator.plan.several import Several
from recsys_operator.plan.shares import ENDED, active, waiting
from recsys_operator.plan.wishes import wish
from recsys_operator.state.actions import Action, PublishEvent, WriteVersionStatus
from recsys_operator.state.observed import Observed, RolloutState, VersionState
from recsys_operator.state.plan import Fact, Part
from recsys_schemas.v1alpha1.conditions import ConditionType
from recsys_schemas.v1alpha1.rollout import RolloutPhase
from recsys_schemas.v1alpha1.version import VersionPhase


def act(word: Rollout, observed: Observed) -> Part:
    """What to do about it, and what to say of it."""
    rollout, version = active(observed), waiting(observed)
    actions: tuple[Action, ...] = ()
    if word is Rollout.BEGINNING and version is not None:
        actions = moves.begin(observed, version)
    elif word is Rollout.QUARANTINED and version is not None:
        actions = _refuse(observed, version)
    elif rollout is not None:
        now = moves.walk(observed, rollout)
        actions = _DECISIONS[word](now) if word in _DECISIONS else moves.note(now, _waits(word, observed), _PAUSED.get(word))
    return Part(actions=actions, facts=_facts(word, observed, rollout), busy=word not in _AT_REST)


_AT_REST = (Rollout.IDLE, Rollout.QUARANTINED, Rollout.ARM_AWAITED, Rollout.ARM_UNAVAILABLE)


def _refuse(observed: Observed, version: VersionState) -> tuple[Action, ...]:
    """A version of bytes that were sent back is over before any user sees it."""
    failed = quarantine.of(observed, version.status.artifact.digest if version.status.artifact else "")
    name = failed.version if failed else "a version"
    words = f"{version.name} has the digest of {name}, which was rolled back: it is not tried again"
    status = version.status.model_copy(update={"phase": VersionPhase.REJECTED, "message": words})
    return WriteVersionStatus(name=version.name, status=status), PublishEvent(reason="Quarantined", message=words, severity="Warning")


def _load(now: Walk) -> tuple[Action, ...]:
    if now.rollout.status.phase is RolloutPhase.LOADING:
        return ()
    names = ", ".join(pin.name for pin in now.rollout.spec.tried)
    return moves.to(now, RolloutPhase.LOADING, "Began", f"{names} {'are' if now.rollout.spec.arms else 'is'} loaded beside {now.stable}")


def _loaded(now: Walk) -> str:
    names = [pin.name for pin in now.rollout.in_it]
    return f"{', '.join(names)} {'are' if len(names) > 1 else 'is'} mapped and verified in every replica"


def _next(now: Walk) -> tuple[Action, ...]:
    step = now.rollout.status.step
    return moves.enter(now, step + 1, f"step {step + 1} of {len(now.rollout.spec.steps)} earned: {now.numbers}")


def _next_asked(now: Walk) -> tuple[Action, ...]:
    step = now.rollout.status.step
    return moves.enter(now, step + 1, f"step {step + 1} of {len(now.rollout.spec.steps)} left, {_by(now)}: {now.numbers}", by=_who(now))


def _promote(now: Walk, words: str, by: str = "") -> tuple[Action, ...]:
    return moves.to(now, RolloutPhase.PROMOTING, "Promoted", words, by)


def _back(now: Walk, words: str, verdict: str = "RolledBack", by: str = "") -> tuple[Action, ...]:
    return moves.to(now, RolloutPhase.ROLLING_BACK, verdict, words, by)


def _earned(now: Walk) -> tuple[Action, ...]:
    if not isinstance(now.trial, Several):
        return _promote(now, now.numbers)
    late = not now.trial.better
    name = now.trial.best or now.trial.supported or now.name
    when = f" of those shown to be better, after {now.rollout.spec.progress_deadline_seconds} s" if late else ""
    return moves.also(_promote(now, f"{name} earns the most{when}: {now.numbers}"), moves.taken(now, name))


def _promote_asked(now: Walk) -> tuple[Action, ...]:
    name = now.rollout.spec.control.arm or now.rollout.spec.candidate.name
    return moves.also(_promote(now, f"{_by(now)}; {now.numbers}", _who(now)), moves.taken(now, name))


def _failing(now: Walk) -> tuple[Action, ...]:
    return moves.also(_back(now, f"harm is shown: {now.numbers}"), _all_gone(now))


def _all_gone(now: Walk) -> dict[str, object]:
    """Of a test every arm that is still in it; after a promotion the phase says it."""
    walking = now.rollout.status.phase is not RolloutPhase.HOLDING
    return moves.gone(now, [pin.name for pin in now.rollout.in_it]) if walking else {}


def _arm_leaves(now: Walk) -> tuple[Action, ...]:
    if now.rollout.status.phase in (RolloutPhase.PENDING, RolloutPhase.LOADING):
        refused = refused_arms(now.rollout, now.seen)
        return moves.leave(now, [pin.name for pin in refused], f"{_why_refused(now)}; the others go on")
    assert isinstance(now.trial, Several)
    shown = "; ".join(f"{name}: {now.trial.of(name)}" for name in now.trial.harmful)
    return moves.leave(now, now.trial.harmful, f"harm is shown of {shown}; {now.stable} takes over, the others go on")


def _refused(now: Walk) -> tuple[Action, ...]:
    return moves.also(_back(now, _why_refused(now)), _all_gone(now))


def _why_refused(now: Walk) -> str:
    found = refused_arms(now.rollout, now.seen)
    return "; ".join(f"a replica refused {pin.name}: {now.seen.refused(pin.name) if now.seen else None}" for pin in found)


def _late_back(now: Walk) -> tuple[Action, ...]:
    return _back(now, f"inconclusive after {now.rollout.spec.progress_deadline_seconds} s: {now.numbers}", "Inconclusive")


def _superseded(now: Walk) -> tuple[Action, ...]:
    newer = waiting(now.observed)
    return _back(now, f"superseded by {newer.name if newer else 'a newer version'}; {now.numbers}", "Superseded")


def _aborted(now: Walk) -> tuple[Action, ...]:
    if now.rollout.spec.control.abort:
        return _back(now, f"asked by control.abort{_signed(now)}; {now.numbers}", "Aborted", _who(now))
    asked = wish(now.observed)
    return _back(now, f"asked by {asked.words if asked else 'somebody'}; {now.numbers}", "Aborted", asked.by if asked else "")


def _who(now: Walk) -> str:
    return now.rollout.spec.control.requested_by


def _signed(now: Walk) -> str:
    control = now.rollout.spec.control
    said = ": ".join(word for word in (control.requested_by, control.reason) if word)
    return f" ({said})" if said else ""


def _by(now: Walk) -> str:
    return f"asked by control.promote{_signed(now)}"


def _returned(now: Walk) -> tuple[Action, ...]:
    asked = f"POST /v1/model:switch{_signed(now)}" if _who(now) else "spec.rollout.rollbackTo"
    return _promote(now, f"asked by {asked}: {now.name} has served before, and is mapped and verified in every replica", _who(now))


_DECISIONS: dict[Rollout, Callable[[Walk], tuple[Action, ...]]] = {
    Rollout.FIRST: lambda now: moves.to(now, RolloutPhase.PROMOTING, "Began", f"{now.name} is the first version: it takes all users"),
    Rollout.LOADING: _load,
    Rollout.LOADED: lambda now: moves.enter(now, 0, _loaded(now)),
    Rollout.RETURNED: _returned,
    Rollout.ARRIVED: moves.arrive,
    Rollout.EARNED: _next,
    Rollout.NEXT_ASKED: _next_asked,
    Rollout.EARNED_LAST: _earned,
    Rollout.PROMOTE_ASKED: _promote_asked,
    Rollout.FAILING: _failing,
    Rollout.ARM_LEAVES: _arm_leaves,
    Rollout.REFUSED: _refused,
    Rollout.LATE: _late_back,
    Rollout.SUPERSEDED: _superseded,
    Rollout.ABORT_ASKED: _aborted,
    Rollout.ARMING: moves.hold,
    Rollout.CONFIRMED: moves.confirm,
    Rollout.PROMOTED: moves.end,
    Rollout.ROLLED_BACK: moves.end,
}
"""What each deciding word does; the other words only wait."""

_PAUSED: dict[Rollout, moves.Paused] = {
    Rollout.HELD: "User",
    Rollout.FROZEN: "Frozen",
    Rollout.AWAITING_APPROVAL: "Approval",
    Rollout.PAUSED: "Step",
}
"""Words under which no share grows, as the status has them."""
_REASONS: dict[moves.Paused, str] = {"User": "UserPaused", "Frozen": "Frozen", "Approval": "AwaitingApproval", "Step": "StepPause"}


def _waits(word: Rollout, observed: Observed) -> str | None:
    """What a word waits for; None when the numbers say it."""
    match word:
        case Rollout.BLIND:
            return "the replicas' reports cannot be read: no share changes"
        case Rollout.UNVERIFIED:
            return "waits until every replica reports the share"
        case Rollout.HELD:
            return "held by a person, a suspension, or replicas out of sync"
        case Rollout.FROZEN:
            return frozen(observed.model.spec.rollout.freeze_windows, observed.now)
        case Rollout.AWAITING_APPROVAL:
            rollout = active(observed)
            step = rollout.status.step if rollout else 0
            return f"waits for a person: set spec.control.promote to Next with step {step}, or to Full"
        case Rollout.PAUSED:
            rollout = active(observed)
            pause = steps.present(rollout).pause if rollout else None
            return f"pauses for {pause.seconds} s" if pause else None
        case _:
            return None


def _facts(word: Rollout, observed: Observed, rollout: RolloutState | None) -> tuple[Fact, ...]:
    if rollout is not None:
        message = f"{rollout.name}: {rollout.status.message or word}"
        progressing = Fact(type=ConditionType.PROGRESSING, holds=True, reason=str(word), message=message[:2000])
    elif wish(observed) is not None:
        reason, message = rollback.told(rollback.judge(observed), observed)
        progressing = Fact(type=ConditionType.PROGRESSING, holds=False, reason=reason, message=message[:2000])
    else:
        lacks = taking_part.lacking(observed) if word in (Rollout.ARM_AWAITED, Rollout.ARM_UNAVAILABLE) else None
        message = lacks.words if lacks else "no rollout is under way"
        progressing = Fact(type=ConditionType.PROGRESSING, holds=False, reason=str(word), message=message[:2000])
    ended = [r for r in observed.rollouts if r.status.phase in ENDED]
    back = bool(ended) and ended[-1].status.phase in (RolloutPhase.ROLLED_BACK, RolloutPhase.ABORTED)
    reason = str(ended[-1].status.phase) if ended else "NoRollout"
    message = f"{ended[-1].name}: {ended[-1].status.message}"[:2000] if ended else "no rollout has ended yet"
    return progressing, _pause(word, observed), Fact(type=ConditionType.ROLLED_BACK, holds=back, reason=reason, message=message)


def _pause(word: Rollout, observed: Observed) -> Fact:
    """Whether a rollout under way waits for time or a person, rather than for evidence."""
    why = _PAUSED.get(word)
    if why is None:
        return Fact(type=ConditionType.ROLLOUT_PAUSED, holds=False, reason="NotPaused", message="no rollout is paused")
    return Fact(type=ConditionType.ROLLOUT_PAUSED, holds=True, reason=_REASONS[why], message=_waits(word, observed) or why)
