"""Moves: the written status that follows from a word of the rollout, with its decision and its Event."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from recsys_operator.plan import holding, shares, steps, taking_part
from recsys_operator.plan.reports import Reports, reports
from recsys_operator.plan.trials import Trial, told, trial_of
from recsys_operator.state.actions import Action, CreateRollout, PublishEvent, WriteRolloutStatus
from recsys_operator.state.observed import Observed, RolloutState, VersionState
from recsys_schemas.v1alpha1.arms import LeftArm
from recsys_schemas.v1alpha1.rollout import Decision, Evidence, Pinned, RolloutPhase, RolloutSpec, RolloutStatus
from recsys_schemas.v1alpha1.version import ModelReference

_KEPT_DECISIONS = 50
_ENDS = {
    "RolledBack": RolloutPhase.ROLLED_BACK,
    "Aborted": RolloutPhase.ABORTED,
    "Superseded": RolloutPhase.SUPERSEDED,
    "Inconclusive": RolloutPhase.INCONCLUSIVE,
}
"""How a rollout ends after a verdict; after any other the candidate serves."""
Paused = Literal["Step", "Approval", "Frozen", "User"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A rollout, with the reports and the evidence of this pass."""

    observed: Observed
    rollout: RolloutState
    seen: Reports | None
    trial: Trial | holding.Guard | None

    @property
    def name(self) -> str:
        """The candidate, or the arm that was taken in its stead."""
        return self.rollout.lead.name

    @property
    def stable(self) -> str:
        """What serves now, in words."""
        return self.rollout.spec.stable.name if self.rollout.spec.stable else "nothing"

    @property
    def numbers(self) -> str:
        """The evidence in words."""
        return self.trial.words if self.trial else "no reports"


def walk(observed: Observed, rollout: RolloutState) -> Walk:
    """Put together what the moves of this pass rest on."""
    held = rollout.status.phase is RolloutPhase.HOLDING
    shown = holding.guard(observed, rollout) if held else trial_of(observed, rollout)
    return Walk(observed=observed, rollout=rollout, seen=reports(observed), trial=shown)


def begin(observed: Observed, version: VersionState) -> tuple[Action, ...]:
    """Make the rollout: later edits of the model do not change it."""
    asked = observed.model.spec.rollout
    digest = version.status.artifact.digest if version.status.artifact else ""
    walk = asked.walk(len(taking_part.named(observed, version.name)))
    spec = RolloutSpec(
        model_ref=ModelReference(name=observed.model.key.name, uid=observed.model.uid),
        stable=shares.champion(observed),
        candidate=Pinned(name=version.name, digest=digest),
        strategy=asked.strategy,
        steps=walk,
        arms=taking_part.beside(observed, version.name, walk),
        analysis=asked.analysis,
        progress_deadline_seconds=asked.progress_deadline_seconds,
        hold_seconds=asked.hold_seconds,
        holdback=asked.holdback,
    )
    return (CreateRollout(name=version.name, spec=spec),)


def to(now: Walk, phase: RolloutPhase, verdict: str, words: str, by: str = "") -> tuple[Action, ...]:
    """Write a verdict with its numbers, and the phase that follows from it."""
    before, spec = now.rollout.status, now.rollout.spec
    kept = spec.holdback if spec.stable else 0
    status = before.model_copy(
        update={
            "phase": phase,
            "weight": 100 - kept if phase is RolloutPhase.PROMOTING else 0,
            "verified": False,
            "paused": None,
            "started_at": before.started_at or now.observed.now,
            "evidence": now.trial.evidence if now.trial else before.evidence,
            "decisions": _decided(now, verdict, words, by),
            "message": words[:1000],
        }
    )
    return _written(now, status, verdict, words, warn=phase is RolloutPhase.ROLLING_BACK)


def also(actions: tuple[Action, ...], more: Mapping[str, object]) -> tuple[Action, ...]:
    """The same, with further fields of the status written."""
    return tuple(
        replace(each, status=each.status.model_copy(update=more)) if isinstance(each, WriteRolloutStatus) else each for each in actions
    )


def taken(now: Walk, name: str) -> dict[str, object]:
    """What the status says of the arm that all users get: nothing of the candidate."""
    return {"winner": next((pin for pin in now.rollout.spec.tried[1:] if pin.name == name), None)}


def gone(now: Walk, names: Collection[str]) -> dict[str, object]:
    """What the status says of arms that are sent back; nothing where there is but the candidate: its phase says so."""
    before, tried = now.rollout.status.left, now.rollout.in_it
    out = [LeftArm(name=pin.name, digest=pin.digest, since=now.observed.now) for pin in tried if pin.name in names]
    return {"left": [*before, *out]} if now.rollout.spec.arms else {}


def leave(now: Walk, names: Collection[str], words: str) -> tuple[Action, ...]:
    """Arms of a test are sent back, and the others go on: their users are the stable version's, and all is counted anew."""
    before, candidate = now.rollout.status, now.rollout.spec.candidate.name
    status = before.model_copy(
        update={
            "phase": before.phase if before.phase is RolloutPhase.LOADING else RolloutPhase.PROGRESSING,
            "step_since": None,
            "weight": 0 if candidate in names else before.weight,
            "verified": False,
            "paused": None,
            "evidence": Evidence(),
            "decisions": _decided(now, "Left", words),
            "message": words[:1000],
            **gone(now, names),
        }
    )
    return _written(now, status, "Left", words, warn=True)


def enter(now: Walk, step: int, words: str, by: str = "") -> tuple[Action, ...]:
    """Ask for a step's share; the step begins when every replica reports it."""
    before, spec = now.rollout.status, now.rollout.spec
    weight = 0 if spec.candidate.name in now.rollout.left else steps.weight_at(spec, step)
    same = before.phase is not RolloutPhase.LOADING and steps.verb_at(spec, step) == steps.verb_at(spec, before.step)
    words = f"{words}: {steps.told(spec, step)}"
    status = before.model_copy(
        update={
            "phase": RolloutPhase.PROGRESSING,
            "step": step,
            "step_since": None,
            "weight": weight,
            "verified": False,
            "paused": None,
            "evidence": before.evidence if same else Evidence(),
            "decisions": _decided(now, "Advanced", words, by),
            "message": words[:1000],
        }
    )
    return _written(now, status, "Advanced", words)


def arrive(now: Walk) -> tuple[Action, ...]:
    """The share is served by every replica: the step's clock begins now."""
    before = now.rollout.status
    status = before.model_copy(
        update={
            "step_since": now.observed.now,
            "verified": True,
            "message": f"{steps.told(now.rollout.spec, before.step)}, verified in every replica",
        }
    )
    return (WriteRolloutStatus(name=now.rollout.name, status=status),)


def note(now: Walk, waits: str | None, paused: Paused | None) -> tuple[Action, ...]:
    """Keep the evidence and the words fresh; no share changes."""
    before = now.rollout.status
    if before.phase not in _NOTED:
        return ()
    phase = before.phase
    if phase in (RolloutPhase.PROGRESSING, RolloutPhase.PAUSED):
        phase = RolloutPhase.PAUSED if paused else RolloutPhase.PROGRESSING
    if before.phase is RolloutPhase.LOADING and not waits:
        return ()
    words = waits or (now.trial.words if isinstance(now.trial, holding.Guard) else told(now.rollout, now.trial))
    status = before.model_copy(
        update={
            "phase": phase,
            "paused": paused,
            "evidence": now.trial.evidence if now.trial else before.evidence,
            "message": words[:1000],
        }
    )
    return (WriteRolloutStatus(name=now.rollout.name, status=status),) if status != before else ()


_NOTED = frozenset({RolloutPhase.LOADING, RolloutPhase.PROGRESSING, RolloutPhase.PAUSED, RolloutPhase.HOLDING})


def hold(now: Walk) -> tuple[Action, ...]:
    """Every replica serves it: for a while the version before it stays loaded, and harm that is shown still sends all users back."""
    seconds = now.rollout.spec.hold_seconds
    words = f"every replica serves {now.name}; for {seconds} s harm that is shown sends all users back to {now.stable}"
    status = now.rollout.status.model_copy(
        update={
            "phase": RolloutPhase.HOLDING,
            "verified": True,
            "held_until": now.observed.now + timedelta(seconds=seconds),
            "evidence": Evidence(),
            "message": words[:1000],
        }
    )
    return _written(now, status, "Holding", words)


def confirm(now: Walk) -> tuple[Action, ...]:
    """Nothing spoke against it while the way back was armed: the rollout is over."""
    words = f"nothing was shown against {now.name} while the way back was armed: {now.numbers}"
    status = now.rollout.status.model_copy(
        update={
            "phase": RolloutPhase.SUCCESSFUL,
            "ended_at": now.observed.now,
            "evidence": now.trial.evidence if now.trial else now.rollout.status.evidence,
            "decisions": _decided(now, "Confirmed", words),
            "message": words[:1000],
        }
    )
    return _written(now, status, str(RolloutPhase.SUCCESSFUL), words)


def end(now: Walk) -> tuple[Action, ...]:
    """Every replica serves what was decided: the rollout is over."""
    last = now.rollout.status.decisions[-1].verdict if now.rollout.status.decisions else ""
    phase = _ENDS.get(last, RolloutPhase.SUCCESSFUL)
    status = now.rollout.status.model_copy(update={"phase": phase, "verified": True, "ended_at": now.observed.now})
    served = now.name if phase is RolloutPhase.SUCCESSFUL else now.stable
    event = PublishEvent(reason=str(phase), message=f"{now.rollout.name}: every replica serves {served}")
    return WriteRolloutStatus(name=now.rollout.name, status=status), event


def _decided(now: Walk, verdict: str, words: str, by: str = "") -> list[Decision]:
    step, before = now.rollout.status.step, now.rollout.status.decisions
    number = before[-1].number + 1 if before else 0
    told = {"number": number, "time": now.observed.now, "step": step, "verdict": verdict, "words": words[:1000], "by": by}
    return [*before, Decision.model_validate(told)][-_KEPT_DECISIONS:]


def _written(now: Walk, status: RolloutStatus, reason: str, words: str, *, warn: bool = False) -> tuple[Action, ...]:
    severity = "Warning" if warn else "Normal"
    event = PublishEvent(reason=reason, message=f"{now.rollout.name}: {words}"[:900], severity=severity)
    return WriteRolloutStatus(name=now.rollout.name, status=status), event
