"""Recording: which decisions are still to be written to the audit topic, told from the rollouts' status like all that is told (ADR 36)."""

import base64
import binascii
import zlib
from dataclasses import replace

from pydantic import ValidationError

from recsys_operator.plan import telling
from recsys_operator.plan.audit import inputs
from recsys_operator.plan.audit.again import about, action
from recsys_operator.plan.names import identity
from recsys_operator.plan.once import once
from recsys_operator.plan.rollout import Rollout
from recsys_operator.plan.shares import active
from recsys_operator.plan.telling import Saying
from recsys_operator.plan.topics import Topics
from recsys_operator.state.actions import Action, AppendRecord, WriteRolloutStatus
from recsys_operator.state.observed import AUDIT, Delivery, Observed
from recsys_operator.state.plan import Fact, Part
from recsys_schemas.audit import FIRST, AuditRecord, Kept, Outcome, canonical
from recsys_schemas.v1alpha1.conditions import ConditionType
from recsys_schemas.v1alpha1.rollout import MOST_KEPT, Decision, RolloutStatus
from recsys_schemas.v1alpha1.telling import AuditStatus, Told
from recsys_schemas.v1alpha1.topics import Topic

MOST = 20
"""So many records are in line at a time."""
MOST_HELD = 100
"""Objects of so many decisions are kept for the topic beyond their limit."""
MOST_UNTOLD = 8
"""So many decisions of one rollout keep their inputs while the topic cannot be written."""


def topic(observed: Observed) -> Topic | None:
    """Where decisions go; None where the model names none."""
    return next((each for each in observed.model.spec.kafka.topics if each.role == "Decisions"), None)


def part(observed: Observed) -> Part:
    """What is to be written in this pass, and what is said of it."""
    asked = topic(observed)
    if asked is None:
        return Part()
    sent = _delivery(observed).sent
    unsent = [record for _, record in _line(observed) if record.id not in sent]
    waiting = len(unsent) + len(_unwritten(observed)) - len(_line(observed))
    actions: tuple[Action, ...] = tuple(AppendRecord(topic=asked.name, record=record) for record in unsent)
    return Part(actions=actions, facts=(_fact(observed, asked, waiting),), busy=waiting > 0)


def status(observed: Observed) -> AuditStatus | None:
    """How far the topic has them: what was in line and is written moves the mark."""
    if topic(observed) is None:
        return observed.model.status.audit
    line, delivery, before = _line(observed), _delivery(observed), _before(observed)
    done = 0
    while done < len(line) and line[done][1].id in delivery.sent:
        done += 1
    message = delivery.message[:1000] if delivery.attempts else ""
    waiting = len(_unwritten(observed)) - done
    if not done:
        return before.model_copy(update={"waiting": waiting, "message": message})
    told, last = line[done - 1]
    return AuditStatus(told=told, sequence=last.sequence, sha256=last.sha256, waiting=waiting, message=message)


def unwritten(observed: Observed) -> frozenset[str]:
    """Versions whose decisions the topic does not have yet: while their rollouts are there, nothing is lost."""
    if topic(observed) is None:
        return frozenset()
    return frozenset(each.rollout.spec.candidate.name for each in _unwritten(observed)[-MOST_HELD:])


def keeping(observed: Observed, seen: Topics, word: Rollout, walk: Part) -> Part:
    """The decision of this pass with all that it was made from."""
    rollout = active(observed)
    if topic(observed) is None or rollout is None:
        return walk
    before = rollout.status.decisions[-1].number if rollout.status.decisions else -1

    def kept(action: Action) -> Action:
        if not isinstance(action, WriteRolloutStatus) or not action.status.decisions or action.status.decisions[-1].number <= before:
            return action
        outcome = Outcome(word=str(word), phase=action.status.phase, weight=action.status.weight, about=about(rollout.spec, action.status))
        packed = pack(Kept(inputs=inputs.of(observed, rollout, seen), outcome=outcome))
        *others, last = action.status.decisions
        decisions = [*others, last.model_copy(update={"kept": packed if len(packed) <= MOST_KEPT else ""})]
        return replace(action, status=action.status.model_copy(update={"decisions": _lean(decisions)}))

    return replace(walk, actions=tuple(kept(each) for each in walk.actions))


def trimmed(observed: Observed, actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """What the topic has need not be kept: each status that is written is without it, and one that is not is written once more."""
    mark, written = observed.model.status.audit, {each.name for each in actions if isinstance(each, WriteRolloutStatus)}
    untold = {(each.rollout.name, each.decision.number) for each in telling.after(observed, mark.told if mark else None)}

    def without(name: str, status: RolloutStatus) -> RolloutStatus:
        there = {each.number for walk in observed.rollouts if walk.name == name for each in walk.status.decisions}
        decisions = [
            each.model_copy(update={"kept": ""}) if each.number in there and (name, each.number) not in untold else each
            for each in status.decisions
        ]
        return status.model_copy(update={"decisions": decisions}) if decisions != status.decisions else status

    done = [replace(each, status=without(each.name, each.status)) if isinstance(each, WriteRolloutStatus) else each for each in actions]
    for walk in observed.rollouts:
        lean = without(walk.name, walk.status)
        if walk.name not in written and lean is not walk.status:
            done.append(WriteRolloutStatus(name=walk.name, status=lean))
    return tuple(done)


def pack(kept: Kept) -> str:
    """For the status: base64 of deflated JSON."""
    return base64.b64encode(zlib.compress(canonical(kept.model_dump(mode="json", by_alias=True, exclude_none=True)), 9)).decode()


def unpack(packed: str) -> Kept | None:
    """What was kept; None where nothing is, or it cannot be read by this release."""
    try:
        return Kept.model_validate_json(zlib.decompress(base64.b64decode(packed, validate=True))) if packed else None
    except (binascii.Error, zlib.error, ValidationError):
        return None


def _lean(decisions: list[Decision]) -> list[Decision]:
    """The newest few keep what they were made from; the others have waited too long."""
    return [each.model_copy(update={"kept": ""}) if each.kept else each for each in decisions[:-MOST_UNTOLD]] + decisions[-MOST_UNTOLD:]


def _before(observed: Observed) -> AuditStatus:
    """A topic that is new begins with what is decided from now on."""
    return observed.model.status.audit or AuditStatus(told=telling.told(observed) or Told())


@once
def _unwritten(observed: Observed) -> list[Saying]:
    """All that the mark has not passed."""
    return telling.after(observed, _before(observed).told)


@once
def _line(observed: Observed) -> list[tuple[Told, AuditRecord]]:
    """The next of them as records that follow the mark: the same ones in each pass until it moves."""
    before, found = _before(observed), list[tuple[Told, AuditRecord]]()
    number, previous = before.sequence, before.sha256 or FIRST
    for saying in _unwritten(observed)[:MOST]:
        number += 1
        record = _record(observed, saying, number, previous)
        previous = record.sha256
        found.append((saying.told, record))
    return found


def _record(observed: Observed, saying: Saying, sequence: int, previous: str) -> AuditRecord:
    spec, decision, kept = saying.rollout.spec, saying.decision, unpack(saying.decision.kept)
    done = action(kept.outcome.about or spec.candidate.name, kept.outcome.phase, kept.outcome.weight) if kept else "not kept"
    record = AuditRecord(
        model=identity(observed.model),
        sequence=sequence,
        rollout=saying.rollout.name,
        number=decision.number,
        candidate=spec.candidate.name,
        stable=spec.stable.name if spec.stable else None,
        time=decision.time,
        step=decision.step,
        action=done,
        verdict=decision.verdict,
        by=decision.by,
        words=decision.words,
        kept=kept,
        previous=previous,
        sha256="",
    )
    return record.sealed


def _delivery(observed: Observed) -> Delivery:
    return observed.deliveries.get(AUDIT, Delivery())


def _fact(observed: Observed, asked: Topic, waiting: int) -> Fact:
    def fact(holds: bool | None, reason: str, message: str) -> Fact:
        return Fact(type=ConditionType.AUDITED, holds=holds, reason=reason, message=message[:2000])

    delivery, before = _delivery(observed), _before(observed)
    if waiting and delivery.attempts:
        words = f"{delivery.message} (tried {delivery.attempts} times); tried again by itself, and nothing waits for it"
        return fact(False, "TopicNotWritten", f"{waiting} decisions are not on topic {asked.name}: {words}")
    if waiting:
        return fact(None, "Writing", f"{waiting} decisions are being written to topic {asked.name}")
    return fact(True, "Recorded", f"topic {asked.name} has all {before.sequence + 1} decisions since it was asked for")
