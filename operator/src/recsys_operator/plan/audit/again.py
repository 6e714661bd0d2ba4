"""Again: a decision decided anew from its record, by the very code that decided it."""

from dataclasses import dataclass

from recsys_operator.plan import acting, rollout
from recsys_operator.plan.names import app_name
from recsys_operator.plan.topics import Topics
from recsys_operator.state.actions import WriteRolloutStatus
from recsys_operator.state.observed import (
    AppState,
    Key,
    Measured,
    ModelState,
    Observed,
    RayState,
    RolloutState,
    Unavailable,
    VersionState,
)
from recsys_schemas.audit import AuditRecord, Inputs, OtherRollout, OtherVersion
from recsys_schemas.serving_evidence import EvidenceResponse
from recsys_schemas.serving_record import ServingRecord
from recsys_schemas.train_job import ModelIdentity
from recsys_schemas.v1alpha1.analysis import Analysis
from recsys_schemas.v1alpha1.model import ModelSpec
from recsys_schemas.v1alpha1.model_status import ModelStatus
from recsys_schemas.v1alpha1.rollout import Decision, RolloutPhase, RolloutSpec, RolloutStatus
from recsys_schemas.v1alpha1.strategy import Step
from recsys_schemas.v1alpha1.version import Artifact, Cause, ModelReference, SnapshotReference, VersionSpec, VersionStatus
from recsys_schemas.version_card import VersionCard

_ELSEWHERE = "not kept: no verdict rests on it"
_EARLIER = "the decisions before it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """What the same inputs give now."""

    word: str
    phase: RolloutPhase | None = None
    """None: nothing is decided."""
    weight: int = 0
    decision: Decision | None = None
    about: str = ""


def decide(model: ModelIdentity, inputs: Inputs) -> Again:
    """Judge and act on what was seen then."""
    seen = observed(model, inputs)
    word = rollout.judge(seen, Topics(inputs.topics))
    written = [each.status for each in acting.act(word, seen).actions if isinstance(each, WriteRolloutStatus)]
    if not written or not written[-1].decisions or written[-1].decisions[-1].number != inputs.decided:
        return Again(word=str(word))
    last = written[-1]
    return Again(word=str(word), phase=last.phase, weight=last.weight, decision=last.decisions[-1], about=about(inputs.spec, last))


def differences(record: AuditRecord) -> list[str]:
    """Where a record says otherwise than its inputs give; none without inputs."""
    if record.kept is None:
        return []
    found, outcome = decide(record.model, record.kept.inputs), record.kept.outcome
    if found.decision is None:
        return [f"verdict: recorded {record.verdict}, but from its inputs nothing is decided ({found.word})"]
    spec = record.kept.inputs.spec
    pairs = {
        "verdict": (record.verdict, found.decision.verdict),
        "step": (record.step, found.decision.step),
        "by": (record.by, found.decision.by),
        "time": (record.time, found.decision.time),
        "words": (record.words, found.decision.words),
        "number": (record.number, found.decision.number),
        "rollout": (record.rollout, record.kept.inputs.name),
        "candidate": (record.candidate, spec.candidate.name),
        "stable": (record.stable, spec.stable.name if spec.stable else None),
        "word": (outcome.word, found.word),
        "phase": (outcome.phase, found.phase),
        "weight": (outcome.weight, found.weight),
        "about": (outcome.about, found.about),
        "action": (record.action, action(found.about or record.candidate, found.phase, found.weight)),
    }
    return [f"{name}: recorded {said}, its inputs give {given}" for name, (said, given) in pairs.items() if said != given]


def about(spec: RolloutSpec, status: RolloutStatus) -> str:
    """The versions that a decision on a test of several arms is about; empty where there is but the candidate."""
    if not spec.arms:
        return ""
    if status.winner is not None:
        return status.winner.name
    left = {arm.name for arm in status.left}
    return ", ".join(pin.name for pin in spec.tried if pin.name not in left) or spec.candidate.name


def action(candidate: str, phase: RolloutPhase | None, weight: int) -> str:
    """What was done, in words."""
    match phase:
        case RolloutPhase.LOADING:
            return f"load {candidate} in every replica, for no user yet"
        case RolloutPhase.PROMOTING:
            return f"give {weight} % of the users {candidate}, and end the walk"
        case RolloutPhase.ROLLING_BACK:
            return f"take {candidate} from all users"
        case RolloutPhase.SUCCESSFUL:
            return f"leave {candidate} to all users, and disarm the way back"
        case _:
            return f"give {weight} % of the users {candidate}"


def observed(model: ModelIdentity, inputs: Inputs) -> Observed:
    """The world of then, as far as the decision rests on it; what it does not rest on says so."""
    spec = ModelSpec.model_validate(
        {"ray": {"dashboardURL": "http://not-kept"}, "kafka": {"bootstrapServers": ["not-kept:1"]}, "suspend": inputs.suspend}
    ).model_copy(update={"rollout": inputs.rollout})
    state = ModelState(
        key=Key(namespace=model.namespace, name=model.name),
        uid=model.uid,
        generation=1,
        spec=spec,
        status=ModelStatus(quarantined=inputs.quarantined),
        storage_uri="file:///not-kept",
        has_finalizer=True,
    )
    return Observed(
        now=inputs.now,
        model=state,
        tokens={},
        topics=Unavailable(message=_ELSEWHERE),
        ray=_ray(state, inputs),
        manifest=None if inputs.store_read else Unavailable(message=_ELSEWHERE),
        evidence=None if inputs.reports is None else EvidenceResponse(replicas=inputs.reports),
        versions=tuple(_version(model, each, inputs) for each in inputs.versions),
        rollouts=(*(_other(model, each) for each in inputs.others), _walk(inputs)),
        metrics={
            name: Unavailable(message=each.unavailable)
            if each.unavailable is not None
            else Measured(stable=each.stable, candidate=each.candidate)
            for name, each in inputs.metrics.items()
        },
    )


def _ray(model: ModelState, inputs: Inputs) -> RayState | Unavailable:
    if not inputs.ray_read:
        return Unavailable(message=_ELSEWHERE)
    served, name = inputs.app, app_name(model)
    if served is None:
        return RayState(jobs={}, apps={}, serving_url="")
    record = None if served.epoch is None else ServingRecord(epoch=served.epoch, salt="", arms=served.arms, tokens={})
    app = AppState(name=name, route_prefix="", word="RUNNING", running_replicas=tuple(served.running), record=record)
    return RayState(jobs={}, apps={name: app}, serving_url="")


def _walk(inputs: Inputs) -> RolloutState:
    """The rollout before the decision; of the decisions before that their number is enough."""
    before: list[Decision] = []
    if inputs.decided:
        told = {"number": inputs.decided - 1, "time": inputs.now, "step": 0, "verdict": "Held", "words": _EARLIER}
        before = [Decision.model_validate(told)]
    return RolloutState(name=inputs.name, spec=inputs.spec, status=inputs.status.model_copy(update={"decisions": before}))


def _other(model: ModelIdentity, kept: OtherRollout) -> RolloutState:
    spec = RolloutSpec(
        model_ref=ModelReference(name=model.name, uid=model.uid),
        stable=kept.stable,
        candidate=kept.candidate,
        steps=[Step(set_weight=99)],
        analysis=Analysis(),
        holdback=kept.holdback,
    )
    told = {"time": kept.promoted_at, "step": 0, "verdict": "Promoted", "words": _EARLIER}
    decisions = [Decision.model_validate(told)] if kept.promoted_at is not None else []
    status = RolloutStatus(phase=kept.phase, ended_at=kept.ended_at, decisions=decisions, winner=kept.winner, left=kept.left)
    return RolloutState(name=kept.name, spec=spec, status=status)


def _version(model: ModelIdentity, kept: OtherVersion, inputs: Inputs) -> VersionState:
    spec = VersionSpec(
        model_ref=ModelReference(name=model.name, uid=model.uid),
        cause=Cause(trigger="Initial", detail=_ELSEWHERE),
        snapshot=SnapshotReference(sequence=1, rows=0),
        storage_uri="file:///not-kept",
        algorithm="Popularity",
        seed=0,
    )
    made = Artifact(digest=kept.digest, size_bytes=0) if kept.digest is not None else None
    status = VersionStatus(phase=kept.phase, artifact=made)
    # Of the card only the digest is read; all its other fields are not kept.
    card = VersionCard.model_construct(digest=kept.card_digest) if kept.card_digest is not None else None
    return VersionState(name=kept.name, spec=spec, status=status, created_at=inputs.now, card=card)
