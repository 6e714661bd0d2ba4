"""Triggers: which of them asks for another version now, and why. Each fires once for one cause.

A cause has a key, and the version that it made carries it; and it lies after the newest version. So what a pass that died had already
done is seen by the next, and nothing needs to be remembered but when a schedule was first seen and where a span of answers began.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from recsys_operator.plan import shares
from recsys_operator.plan.drift import psi
from recsys_operator.plan.schedule import UnreadableScheduleError, coming, latest
from recsys_operator.state.observed import Observed, Unavailable, VersionState
from recsys_operator.state.plan import Fact
from recsys_schemas.v1alpha1.conditions import ConditionType
from recsys_schemas.v1alpha1.model import Training
from recsys_schemas.v1alpha1.triggers import Trigger, TriggerStatus
from recsys_schemas.v1alpha1.version import Cause
from recsys_schemas.version_card import Evaluation, VersionCard

SPAN_S = 3600
"""Of a Quality trigger that does not say for how long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What one trigger says now, in words; and the cause, if it fires."""

    words: str
    cause: Cause | None = None
    unreadable: bool = False


def armed(training: Training) -> list[Trigger]:
    """The triggers of a spec, each once: those that it lists, or new data alone."""
    listed = training.triggers if training.triggers is not None else [Trigger(type="NewData")]
    return list({key_of(trigger, training): trigger for trigger in listed}.values())


def key_of(trigger: Trigger, training: Training) -> str:
    """What tells a trigger from others: its type, and what it was told."""
    match trigger.type:
        case "Schedule":
            return f"Schedule {trigger.cron} {trigger.time_zone or 'UTC'}"
        case "NewData":
            return f"NewData {trigger.records or training.new_records}"
        case "Quality":
            return f"Quality {trigger.metric} {trigger.below:g} {trigger.for_seconds or SPAN_S}"
        case "Drift":
            return f"Drift {trigger.metric} {trigger.above:g}"


def fired(observed: Observed, last: VersionState, rows: int) -> Cause | None:
    """The first trigger that asks for a version, or None; none does while there is nothing new to learn from."""
    if rows <= last.spec.snapshot.rows:
        return None
    return next((heard.cause for heard in hear(observed, last, rows) if heard.cause is not None), None)


def hear(observed: Observed, last: VersionState, rows: int) -> Sequence[Heard]:
    """What each trigger says, in the order of the spec."""
    served = {version.spec.cause.key for version in observed.versions if version.spec.cause.key is not None}
    found = [_one(trigger, observed, last, rows) for trigger in armed(observed.model.spec.training)]
    return [Heard(words=heard.words) if heard.cause and heard.cause.key in served else heard for heard in found]


def _one(trigger: Trigger, observed: Observed, last: VersionState, rows: int) -> Heard:
    match trigger.type:
        case "Schedule":
            return _schedule(trigger, observed, last)
        case "NewData":
            return _new_data(trigger, observed, last, rows)
        case "Quality":
            return _reward_rate(trigger, observed, last) if trigger.metric == "rewardRate" else _held_out(trigger, observed, last)
        case "Drift":
            return _drift(trigger, observed, last)


def _memory(trigger: Trigger, observed: Observed) -> TriggerStatus | None:
    key = key_of(trigger, observed.model.spec.training)
    return next((each for each in observed.model.status.triggers if each.key == key), None)


def _new_data(trigger: Trigger, observed: Observed, last: VersionState, rows: int) -> Heard:
    wanted, fresh = trigger.records or observed.model.spec.training.new_records, rows - last.spec.snapshot.rows
    name = "records of a NewData trigger" if trigger.records else "spec.training.newRecords"
    if fresh < wanted:
        return Heard(words=f"NewData: {fresh} of {wanted} rows")
    words = f"{fresh} new rows since {last.name}, at least {name} {wanted}"
    return Heard(words=f"NewData: {words}", cause=Cause(trigger="NewData", detail=words, key=f"NewData since {last.name}"))


def _schedule(trigger: Trigger, observed: Observed, last: VersionState) -> Heard:
    before = _memory(trigger, observed)
    try:
        time, following = latest(trigger, observed.now), coming(trigger, observed.now)
    except UnreadableScheduleError as error:
        return Heard(words=str(error), unreadable=True)
    if before is None or time <= max(before.since, last.created_at):
        return Heard(words=f"Schedule: next at {following:%Y-%m-%dT%H:%M:%SZ}")
    words = f"{trigger.cron} ({trigger.time_zone or 'UTC'}) was due at {time:%Y-%m-%dT%H:%M:%SZ}, after {last.name}"
    key = f"{before.key} at {time:%Y-%m-%dT%H:%M:%SZ}"
    return Heard(words=f"Schedule: {words}", cause=Cause(trigger="Schedule", detail=words, key=key))


def _reward_rate(trigger: Trigger, observed: Observed, last: VersionState) -> Heard:
    before = _memory(trigger, observed)
    if before is None or before.breached is None or before.breached_at is None or before.breached_at <= last.created_at:
        return Heard(words=f"Quality: rewardRate has not been under {trigger.below:g} for {trigger.for_seconds or SPAN_S} s")
    key = f"{before.key} at {before.breached_at:%Y-%m-%dT%H:%M:%S.%fZ}"
    return Heard(words=f"Quality: {before.breached}", cause=Cause(trigger="Quality", detail=before.breached, key=key))


def _held_out(trigger: Trigger, observed: Observed, last: VersionState) -> Heard:
    """As the newest card has it: a champion is measured again in each run, on what has become new to it."""
    champion, card = shares.champion(observed), last.card
    evaluation = _of_champion(card, champion.name) if card is not None and champion is not None else None
    value = evaluation.metrics.get(trigger.metric or "") if evaluation else None
    if card is None or champion is None or value is None:
        return Heard(words=f"Quality: the newest run has not measured {trigger.metric} of the champion")
    ripe = card.created_at + timedelta(seconds=trigger.for_seconds or SPAN_S)
    words = (
        f"{trigger.metric} of {champion.name} {value.value:.4f} on {value.samples}, as measured by {card.version}, under {trigger.below:g}"
    )
    if trigger.below is None or value.value >= trigger.below or observed.now < ripe:
        return Heard(words=f"Quality: {trigger.metric} of {champion.name} is {value.value:.4f}, as measured by {card.version}")
    key = f"{key_of(trigger, observed.model.spec.training)} of {champion.name} by {card.version}"
    return Heard(words=f"Quality: {words}", cause=Cause(trigger="Quality", detail=words, key=key))


def _of_champion(card: VersionCard, champion: str) -> Evaluation | None:
    role = "candidate" if card.version == champion else "champion"
    return next((each for each in card.evaluations if each.role == role and (role == "candidate" or each.name == champion)), None)


def _drift(trigger: Trigger, observed: Observed, last: VersionState) -> Heard:
    learnt = next((v.card.profile for v in reversed(observed.versions) if v.card and v.card.profile), None)
    now = observed.upkeep.profile if observed.upkeep else None
    if learnt is None or now is None or now.sequence <= last.spec.snapshot.sequence:
        return Heard(words="Drift: no profile of newer events than the newest version's")
    value = psi(learnt, now)
    words = f"psi {value:.3f} between the newest {learnt.events} events of snapshot {learnt.sequence} and {now.events} of {now.sequence}"
    if trigger.above is None or value <= trigger.above:
        return Heard(words=f"Drift: {words}")
    words = f"{words}, above {trigger.above:g}"
    key = f"{key_of(trigger, observed.model.spec.training)} at {now.sequence}"
    return Heard(words=f"Drift: {words}", cause=Cause(trigger="Drift", detail=words, key=key))


def fact(observed: Observed) -> Fact:
    """Whether the triggers can do their work, and how near each of them is."""
    manifest, last = observed.manifest, observed.versions[-1] if observed.versions else None
    if last is None or manifest is None or isinstance(manifest, Unavailable):
        return Fact(type=ConditionType.TRIGGERS_ARMED, holds=None, reason="NoVersion", message="they wait for the first version")
    heard = hear(observed, last, manifest.rows)
    unreadable = [each.words for each in heard if each.unreadable]
    if unreadable:
        return Fact(type=ConditionType.TRIGGERS_ARMED, holds=False, reason="Unreadable", message="; ".join(unreadable))
    message = "; ".join(each.words for each in heard) or "no trigger: only a change of spec.model makes a version due"
    return Fact(type=ConditionType.TRIGGERS_ARMED, holds=True, reason="Armed", message=message[:2000])
