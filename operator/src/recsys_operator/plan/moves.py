"""Moves: the written status that follows from a word of the rollout, with its decision and its Event."""

from dataclasses import dataclass

from recsys_operator.plan import shares
from recsys_operator.plan.reports import Reports, reports
from recsys_operator.plan.weighing import Weighing, weigh
from recsys_operator.state.actions import Action, CreateRollout, PublishEvent, WriteRolloutStatus
from recsys_operator.state.observed import Observed, RolloutState, VersionState
from recsys_schemas.v1alpha1.rollout import Decision, Evidence, Pinned, RolloutPhase, RolloutSpec, RolloutStatus
from recsys_schemas.v1alpha1.version import ModelReference

_KEPT_DECISIONS = 50
_WEIGHT = {RolloutPhase.PROMOTING: 100, RolloutPhase.ROLLING_BACK: 0, RolloutPhase.LOADING: 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A rollout, with the reports and the evidence of this pass."""

    observed: Observed
    rollout: RolloutState
    seen: Reports | None
    weighing: Weighing | None

    @property
    def name(self) -> str:
        """The candidate."""
        return self.rollout.spec.candidate.name

    @property
    def stable(self) -> str:
        """What serves now, in words."""
        return self.rollout.spec.stable.name if self.rollout.spec.stable else "nothing"

    @property
    def numbers(self) -> str:
        """The evidence in words."""
        return self.weighing.words if self.weighing else "no reports"


def walk(observed: Observed, rollout: RolloutState) -> Walk:
    """Put together what the moves of this pass rest on."""
    seen = reports(observed)
    return Walk(observed=observed, rollout=rollout, seen=seen, weighing=weigh(rollout, seen) if seen else None)


def begin(observed: Observed, version: VersionState) -> tuple[Action, ...]:
    """Make the rollout: later edits of the model do not change it."""
    asked = observed.model.spec.rollout
    digest = version.status.artifact.digest if version.status.artifact else ""
    spec = RolloutSpec(
        model_ref=ModelReference(name=observed.model.key.name, uid=observed.model.uid),
        stable=shares.champion(observed),
        candidate=Pinned(name=version.name, digest=digest),
        steps=list(asked.steps),
        analysis=asked.analysis,
        progress_deadline_seconds=asked.progress_deadline_seconds,
    )
    return (CreateRollout(name=version.name, spec=spec),)


def weight_at(rollout: RolloutState, step: int) -> int:
    """The share of a step: a pause keeps the one before it."""
    weights = [s.set_weight for s in rollout.spec.steps[: step + 1] if s.set_weight is not None]
    return weights[-1] if weights else 0


def to(now: Walk, phase: RolloutPhase, verdict: str, words: str) -> tuple[Action, ...]:
    """Write a verdict with its numbers, and the phase that follows from it."""
    before = now.rollout.status
    status = before.model_copy(
        update={
            "phase": phase,
            "weight": _WEIGHT[phase],
            "verified": False,
            "started_at": before.started_at or now.observed.now,
            "evidence": now.weighing.evidence if now.weighing else before.evidence,
            "decisions": _decided(now, verdict, words),
            "message": words[:1000],
        }
    )
    return _written(now, status, verdict, words, warn=phase is RolloutPhase.ROLLING_BACK)


def enter(now: Walk, step: int, words: str) -> tuple[Action, ...]:
    """Ask for a step's share; the step begins when every replica reports it."""
    before, weight = now.rollout.status, weight_at(now.rollout, step)
    words = f"{words}: {weight} % of the users"
    status = before.model_copy(
        update={
            "phase": RolloutPhase.PROGRESSING,
            "step": step,
            "step_since": None,
            "weight": weight,
            "verified": False,
            "evidence": Evidence() if weight != before.weight else before.evidence,
            "decisions": _decided(now, "Advanced", words),
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
            "message": f"{before.weight} % of the users, verified in every replica",
        }
    )
    return (WriteRolloutStatus(name=now.rollout.name, status=status),)


def note(now: Walk, waits: str | None, *, held: bool) -> tuple[Action, ...]:
    """Keep the evidence and the words fresh; no share changes."""
    before, analysis = now.rollout.status, now.rollout.spec.analysis
    if before.phase not in (RolloutPhase.PROGRESSING, RolloutPhase.PAUSED):
        return ()
    count = now.weighing.answers if now.weighing else 0
    doubt = "; harm is likely though not shown: no share grows" if now.weighing and now.weighing.doubtful else ""
    earning = f"{count} of {analysis.minimum_requests} answers at {before.weight} %, at least {analysis.minimum_seconds} s"
    status = before.model_copy(
        update={
            "phase": RolloutPhase.PAUSED if held else RolloutPhase.PROGRESSING,
            "evidence": now.weighing.evidence if now.weighing else before.evidence,
            "message": (waits or f"{earning}; {now.numbers}{doubt}")[:1000],
        }
    )
    return (WriteRolloutStatus(name=now.rollout.name, status=status),) if status != before else ()


def end(now: Walk, *, promoted: bool) -> tuple[Action, ...]:
    """Every replica serves what was decided: the rollout is over."""
    aborted = any(decision.verdict == "Aborted" for decision in now.rollout.status.decisions[-1:])
    sent_back = RolloutPhase.ABORTED if aborted else RolloutPhase.ROLLED_BACK
    phase = RolloutPhase.SUCCESSFUL if promoted else sent_back
    status = now.rollout.status.model_copy(update={"phase": phase, "verified": True, "ended_at": now.observed.now})
    served = now.name if promoted else now.stable
    event = PublishEvent(reason=str(phase), message=f"{now.rollout.name}: every replica serves {served}")
    return WriteRolloutStatus(name=now.rollout.name, status=status), event


def _decided(now: Walk, verdict: str, words: str) -> list[Decision]:
    step = now.rollout.status.step
    decision = Decision.model_validate({"time": now.observed.now, "step": step, "verdict": verdict, "words": words[:1000]})
    return [*now.rollout.status.decisions, decision][-_KEPT_DECISIONS:]


def _written(now: Walk, status: RolloutStatus, reason: str, words: str, *, warn: bool = False) -> tuple[Action, ...]:
    severity = "Warning" if warn else "Normal"
    event = PublishEvent(reason=reason, message=f"{now.rollout.name}: {words}"[:900], severity=severity)
    return WriteRolloutStatus(name=now.rollout.name, status=status), event
