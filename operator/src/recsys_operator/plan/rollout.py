"""Rollout: a candidate earns each share, or is sent back; a table of words says what may follow what."""

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum

from recsys_operator.plan import moves, rollback
from recsys_operator.plan.moves import Walk
from recsys_operator.plan.reports import own_app, reports
from recsys_operator.plan.shares import ENDED, active, verified, waiting
from recsys_operator.plan.topics import HOLDING, Topics
from recsys_operator.plan.weighing import Weighing, weigh
from recsys_operator.state.actions import Action, PublishEvent, WriteVersionStatus
from recsys_operator.state.observed import Observed, RolloutState, VersionState
from recsys_operator.state.plan import Fact, Part
from recsys_schemas.v1alpha1.conditions import ConditionType
from recsys_schemas.v1alpha1.rollout import RolloutPhase
from recsys_schemas.v1alpha1.version import VersionPhase


class Rollout(StrEnum):
    """The state of the model's rollout in one word."""

    IDLE = "Idle"
    QUARANTINED = "Quarantined"
    BEGINNING = "Beginning"
    FIRST = "First"
    LOADING = "Loading"
    LOADED = "Loaded"
    RETURNED = "Returned"
    REFUSED = "Refused"
    ABORT_ASKED = "AbortAsked"
    BLIND = "Blind"
    FAILING = "Failing"
    LATE = "Late"
    PROMOTE_ASKED = "PromoteAsked"
    UNVERIFIED = "Unverified"
    ARRIVED = "Arrived"
    HELD = "Held"
    EARNING = "Earning"
    EARNED = "Earned"
    EARNED_LAST = "EarnedLast"
    PROMOTING = "Promoting"
    PROMOTED = "Promoted"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"


_SENT_BACK = frozenset({Rollout.REFUSED, Rollout.ABORT_ASKED, Rollout.FAILING, Rollout.LATE})
_WALKING = frozenset(
    {
        Rollout.BLIND,
        Rollout.UNVERIFIED,
        Rollout.ARRIVED,
        Rollout.HELD,
        Rollout.EARNING,
        Rollout.EARNED,
        Rollout.EARNED_LAST,
        Rollout.PROMOTE_ASKED,
        Rollout.ABORT_ASKED,
        Rollout.FAILING,
        Rollout.LATE,
    }
)
_ENDING = frozenset({Rollout.ROLLING_BACK, Rollout.ROLLED_BACK})
_NEXT = frozenset({Rollout.IDLE, Rollout.BEGINNING, Rollout.QUARANTINED})
_OF_ANOTHER = frozenset({Rollout.LOADING, Rollout.RETURNED, Rollout.ABORT_ASKED, Rollout.REFUSED, Rollout.LATE})
"""How a rollout begins that a person asked for, outside of this table: see `plan.rollback`."""

MOVES: dict[Rollout, frozenset[Rollout]] = {
    Rollout.IDLE: _NEXT | _OF_ANOTHER,
    Rollout.QUARANTINED: _NEXT | _OF_ANOTHER,
    Rollout.BEGINNING: frozenset({Rollout.FIRST, Rollout.LOADING, Rollout.LOADED, Rollout.ABORT_ASKED, Rollout.REFUSED, Rollout.LATE}),
    Rollout.FIRST: frozenset({Rollout.PROMOTING, Rollout.PROMOTED}),
    Rollout.LOADING: frozenset({Rollout.LOADING, Rollout.LOADED, Rollout.RETURNED, Rollout.REFUSED, Rollout.ABORT_ASKED, Rollout.LATE}),
    Rollout.RETURNED: frozenset({Rollout.PROMOTING, Rollout.PROMOTED}),
    Rollout.LOADED: _WALKING,
    **dict.fromkeys(sorted(_SENT_BACK), _ENDING),
    **dict.fromkeys((Rollout.BLIND, Rollout.UNVERIFIED, Rollout.ARRIVED, Rollout.HELD, Rollout.EARNING, Rollout.EARNED), _WALKING),
    Rollout.EARNED_LAST: _WALKING | {Rollout.PROMOTING, Rollout.PROMOTED},  # a pass that died before it told may find another world
    Rollout.PROMOTE_ASKED: frozenset({Rollout.PROMOTING, Rollout.PROMOTED}),
    Rollout.PROMOTING: frozenset({Rollout.PROMOTING, Rollout.PROMOTED}),
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
        return Rollout.QUARANTINED if _sent_back_before(observed, version) else Rollout.BEGINNING
    match rollout.status.phase:
        case RolloutPhase.PROMOTING:
            return Rollout.PROMOTED if verified(observed) else Rollout.PROMOTING
        case RolloutPhase.ROLLING_BACK:
            return Rollout.ROLLED_BACK if verified(observed) or own_app(observed) is None else Rollout.ROLLING_BACK
        case RolloutPhase.PENDING | RolloutPhase.LOADING:
            return _judge_loading(observed, rollout)
        case _:
            return _judge_walk(observed, rollout, topics)


def _sent_back_before(observed: Observed, version: VersionState) -> bool:
    digest = version.status.artifact.digest if version.status.artifact else ""
    failed = {r.spec.candidate.digest for r in observed.rollouts if r.status.phase in (RolloutPhase.ROLLED_BACK, RolloutPhase.ABORTED)}
    return digest in failed


def _late(observed: Observed, rollout: RolloutState) -> bool:
    began = rollout.status.started_at
    return began is not None and observed.now >= began + timedelta(seconds=rollout.spec.progress_deadline_seconds)


def _judge_loading(observed: Observed, rollout: RolloutState) -> Rollout:
    if rollout.spec.stable is None:
        return Rollout.FIRST
    if rollout.spec.control.abort or rollback.overrules(observed, rollout):
        return Rollout.ABORT_ASKED
    seen = reports(observed)
    if seen is not None and seen.refused(rollout.spec.candidate.name):
        return Rollout.REFUSED
    if _late(observed, rollout):
        return Rollout.LATE
    loaded = seen is not None and seen.ready(rollout.spec.candidate.name, rollout.spec.candidate.digest)
    if not loaded or rollout.status.phase is not RolloutPhase.LOADING:
        return Rollout.LOADING
    return Rollout.RETURNED if rollout.spec.purpose == "Return" else Rollout.LOADED


def _judge_walk(observed: Observed, rollout: RolloutState, topics: Topics) -> Rollout:
    spec, status = rollout.spec, rollout.status
    seen = reports(observed)
    weighing = weigh(rollout, seen) if seen else None
    if spec.control.abort or rollback.overrules(observed, rollout):
        return Rollout.ABORT_ASKED
    if weighing is not None and weighing.failing:
        return Rollout.FAILING
    if _late(observed, rollout):
        return Rollout.LATE
    if weighing is None:
        return Rollout.BLIND
    if not verified(observed):
        return Rollout.UNVERIFIED
    if status.step_since is None:
        return Rollout.ARRIVED
    model = observed.model.spec
    if model.suspend or model.rollout.paused or spec.control.paused or topics in HOLDING:
        return Rollout.HELD
    if spec.control.promote == "Full":
        return Rollout.PROMOTE_ASKED
    if not _earned(observed, rollout, weighing):
        return Rollout.EARNING
    return Rollout.EARNED if status.step + 1 < len(spec.steps) else Rollout.EARNED_LAST


def _earned(observed: Observed, rollout: RolloutState, weighing: Weighing) -> bool:
    """A step is earned by time and by evidence, never by time alone; while harm is likely though not shown, no share grows."""
    step, arrived = rollout.spec.steps[rollout.status.step], rollout.status.step_since
    assert arrived is not None
    if step.pause is not None:
        return observed.now >= arrived + timedelta(seconds=step.pause.seconds)
    analysis = rollout.spec.analysis
    long_enough = observed.now >= arrived + timedelta(seconds=analysis.minimum_seconds)
    enough = weighing.answers >= analysis.minimum_requests
    return long_enough and enough and not weighing.doubtful


def act(word: Rollout, observed: Observed) -> Part:
    """What to do about it, and what to say of it."""
    rollout, version = active(observed), waiting(observed)
    actions: tuple[Action, ...] = ()
    if word is Rollout.BEGINNING and version is not None:
        actions = moves.begin(observed, version)
    elif word is Rollout.QUARANTINED and version is not None:
        actions = _refuse(version)
    elif rollout is not None:
        now = moves.walk(observed, rollout)
        actions = _DECISIONS[word](now) if word in _DECISIONS else moves.note(now, _WAITS.get(word), held=word is Rollout.HELD)
    return Part(actions=actions, facts=_facts(word, observed, rollout), busy=word not in (Rollout.IDLE, Rollout.QUARANTINED))


def _refuse(version: VersionState) -> tuple[Action, ...]:
    words = f"{version.name} has the digest of a version that was rolled back: it is not tried again"
    status = version.status.model_copy(update={"phase": VersionPhase.REJECTED, "message": words})
    return WriteVersionStatus(name=version.name, status=status), PublishEvent(reason="Quarantined", message=words, severity="Warning")


def _load(now: Walk) -> tuple[Action, ...]:
    if now.rollout.status.phase is RolloutPhase.LOADING:
        return ()
    return moves.to(now, RolloutPhase.LOADING, "Began", f"{now.name} is loaded beside {now.stable}")


def _next(now: Walk) -> tuple[Action, ...]:
    step = now.rollout.status.step
    return moves.enter(now, step + 1, f"step {step + 1} of {len(now.rollout.spec.steps)} earned: {now.numbers}")


def _back(now: Walk, words: str, verdict: str = "RolledBack") -> tuple[Action, ...]:
    return moves.to(now, RolloutPhase.ROLLING_BACK, verdict, words)


def _refused(now: Walk) -> tuple[Action, ...]:
    why = now.seen.refused(now.name) if now.seen else None
    return _back(now, f"a replica refused {now.name}: {why}")


def _late_back(now: Walk) -> tuple[Action, ...]:
    return _back(now, f"inconclusive after {now.rollout.spec.progress_deadline_seconds} s: {now.numbers}")


def _asked_by(now: Walk) -> str:
    back = now.observed.model.spec.rollout.rollback_to
    return "control.abort" if now.rollout.spec.control.abort else f"spec.rollout.rollbackTo: {back}"


def _returned(now: Walk) -> str:
    return f"asked by spec.rollout.rollbackTo: {now.name} has served before, and is mapped and verified in every replica"


_DECISIONS: dict[Rollout, Callable[[Walk], tuple[Action, ...]]] = {
    Rollout.FIRST: lambda now: moves.to(now, RolloutPhase.PROMOTING, "Began", f"{now.name} is the first version: it takes all users"),
    Rollout.LOADING: _load,
    Rollout.LOADED: lambda now: moves.enter(now, 0, f"{now.name} is mapped and verified in every replica"),
    Rollout.RETURNED: lambda now: moves.to(now, RolloutPhase.PROMOTING, "Promoted", _returned(now)),
    Rollout.ARRIVED: moves.arrive,
    Rollout.EARNED: _next,
    Rollout.EARNED_LAST: lambda now: moves.to(now, RolloutPhase.PROMOTING, "Promoted", now.numbers),
    Rollout.PROMOTE_ASKED: lambda now: moves.to(now, RolloutPhase.PROMOTING, "Promoted", f"asked by control.promote; {now.numbers}"),
    Rollout.FAILING: lambda now: _back(now, f"harm is shown: {now.numbers}"),
    Rollout.REFUSED: _refused,
    Rollout.LATE: _late_back,
    Rollout.ABORT_ASKED: lambda now: _back(now, f"asked by {_asked_by(now)}; {now.numbers}", "Aborted"),
    Rollout.PROMOTED: lambda now: moves.end(now, promoted=True),
    Rollout.ROLLED_BACK: lambda now: moves.end(now, promoted=False),
}
"""What each deciding word does; the other words only wait."""

_WAITS = {
    Rollout.BLIND: "the replicas' reports cannot be read: no share changes",
    Rollout.UNVERIFIED: "waits until every replica reports the share",
    Rollout.HELD: "held by a person, a suspension, or replicas out of sync",
}


def _facts(word: Rollout, observed: Observed, rollout: RolloutState | None) -> tuple[Fact, ...]:
    if rollout is not None:
        message = f"{rollout.name}: {rollout.status.message or word}"
        progressing = Fact(type=ConditionType.PROGRESSING, holds=True, reason=str(word), message=message[:2000])
    elif observed.model.spec.rollout.rollback_to is not None:
        reason, message = rollback.told(rollback.judge(observed), observed)
        progressing = Fact(type=ConditionType.PROGRESSING, holds=False, reason=reason, message=message[:2000])
    else:
        progressing = Fact(type=ConditionType.PROGRESSING, holds=False, reason=str(word), message="no rollout is under way")
    ended = [r for r in observed.rollouts if r.status.phase in ENDED]
    back = bool(ended) and ended[-1].status.phase is not RolloutPhase.SUCCESSFUL
    reason = str(ended[-1].status.phase) if ended else "NoRollout"
    message = f"{ended[-1].name}: {ended[-1].status.message}"[:2000] if ended else "no rollout has ended yet"
    return progressing, Fact(type=ConditionType.ROLLED_BACK, holds=back, reason=reason, message=message)
