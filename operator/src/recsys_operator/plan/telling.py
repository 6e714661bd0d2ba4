"""Telling: which decisions are still to be told, by Events and by webhooks. A decision is told from its record, so that none is lost.

Events have derived names, so one that was published before is there already. A place of `spec.notifications` is told of decisions in
their order, at least once; the status says up to where, and the id tells a repeat.
"""

from dataclasses import dataclass

from recsys_operator.plan.names import identity
from recsys_operator.state.actions import Action, Notify, PublishEvent
from recsys_operator.state.observed import Delivery, Observed, RolloutState
from recsys_operator.state.plan import Fact, Part
from recsys_schemas.news import News
from recsys_schemas.v1alpha1.conditions import ConditionType
from recsys_schemas.v1alpha1.rollout import Decision
from recsys_schemas.v1alpha1.telling import DEFAULT_OCCASIONS, Notification, NotificationStatus, Told

MOST = 20
"""So many messages of one place are in line at a time."""
_ALARMING = frozenset({"RolledBack", "Aborted", "Superseded", "Inconclusive"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """One decision of one rollout."""

    rollout: RolloutState
    decision: Decision

    @property
    def told(self) -> Told:
        """The mark of one who knows it."""
        return Told(rollout=self.rollout.name, number=self.decision.number, time=self.decision.time)


def sayings(observed: Observed) -> list[Saying]:
    """Every decision that is written down, in its order."""
    return [Saying(rollout=rollout, decision=each) for rollout in observed.rollouts for each in rollout.status.decisions]


def after(observed: Observed, told: Told | None) -> list[Saying]:
    """Those that one who was told up to `told` does not know. A rollout that is gone is passed over by the time of its decision."""
    found = sayings(observed)
    if told is None or not told.rollout:
        return found
    order = [rollout.name for rollout in observed.rollouts]
    if told.rollout in order:
        place = order.index(told.rollout)
        return [each for each in found if (order.index(each.rollout.name), each.decision.number) > (place, told.number)]
    return [each for each in found if told.time is None or each.decision.time > told.time]


def part(observed: Observed) -> Part:
    """What is told in this pass, and what is said of the places that cannot be reached."""
    actions: list[Action] = [_event(each) for each in after(observed, _events_told(observed))]
    places = observed.model.spec.notifications
    for place in places:
        told = _place_told(observed, place)
        actions += [Notify(place=place, news=news(observed, each)) for each in _waiting(observed, place, told)[:MOST]]
    return Part(actions=tuple(actions), facts=(_fact(observed),) if places else ())


def told(observed: Observed) -> Told | None:
    """Up to where this pass has told by Events, once all its actions are done."""
    known = sayings(observed)
    return known[-1].told if known else observed.model.status.told


def notifications(observed: Observed) -> list[NotificationStatus]:
    """What the status says of each place."""
    return [_status(observed, place) for place in observed.model.spec.notifications]


def news(observed: Observed, saying: Saying) -> News:
    """What is told of a decision."""
    rollout, decision = saying.rollout, saying.decision
    return News(
        id=f"{observed.model.uid}/{rollout.name}/{decision.number}",
        model=identity(observed.model),
        rollout=rollout.name,
        candidate=rollout.lead.name,
        stable=rollout.spec.stable.name if rollout.spec.stable else None,
        time=decision.time,
        step=decision.step,
        weight=rollout.status.weight,
        verdict=decision.verdict,
        by=decision.by,
        words=decision.words,
    )


def _event(saying: Saying) -> PublishEvent:
    """In the words in which it was published when it was decided: then it is the same Event."""
    decision = saying.decision
    severity = "Warning" if decision.verdict in _ALARMING else "Normal"
    return PublishEvent(reason=decision.verdict, message=f"{saying.rollout.name}: {decision.words}"[:900], severity=severity)


def _events_told(observed: Observed) -> Told | None:
    """A status of an earlier release does not say: what is written down by then counts as told."""
    before = observed.model.status
    if before.told is None and before.observed_generation and any(rollout.status.ended_at for rollout in observed.rollouts):
        return told(observed)
    return before.told


def _place_told(observed: Observed, place: Notification) -> Told:
    """A place that is new is told of what comes from now on."""
    before = next((each for each in observed.model.status.notifications if each.name == place.name), None)
    if before is not None:
        return before.told
    return told(observed) or Told()


def _waiting(observed: Observed, place: Notification, told_before: Told) -> list[Saying]:
    wanted, sent = place.on or DEFAULT_OCCASIONS, _delivery(observed, place).sent
    return [each for each in after(observed, told_before) if each.decision.verdict in wanted and news(observed, each).id not in sent]


def _delivery(observed: Observed, place: Notification) -> Delivery:
    return observed.deliveries.get(place.name, Delivery())


def _status(observed: Observed, place: Notification) -> NotificationStatus:
    before, delivery = _place_told(observed, place), _delivery(observed, place)
    waiting = {each.told.model_dump_json() for each in _waiting(observed, place, before)}
    passed = before
    for each in after(observed, before):
        if each.told.model_dump_json() in waiting:
            break
        passed = each.told
    return NotificationStatus(
        name=place.name, told=passed, attempts=delivery.attempts, given_up=delivery.given_up, message=delivery.message[:1000]
    )


def _fact(observed: Observed) -> Fact:
    def fact(holds: bool, reason: str, message: str) -> Fact:
        return Fact(type=ConditionType.NOTIFIED, holds=holds, reason=reason, message=message[:2000])

    places = {place.name: _delivery(observed, place) for place in observed.model.spec.notifications}
    failing = [f"{name}: {each.message} (tried {each.attempts} times)" for name, each in places.items() if each.attempts]
    if failing:
        return fact(False, "DeliveryFailing", f"{'; '.join(failing)}; tried again by itself, and nothing waits for it")
    lost = [f"{name}: {each.given_up} messages ({each.message})" for name, each in places.items() if each.given_up]
    if lost:
        return fact(False, "GivenUp", f"could not be delivered within a day: {'; '.join(lost)}")
    return fact(True, "Delivered", f"{len(places)} places know of every decision that they are to be told of, or are being told")
