"""Spans: what triggers must remember from pass to pass, for it cannot be looked up again."""

from datetime import timedelta

from recsys_operator.plan import shares
from recsys_operator.plan.reports import reports
from recsys_operator.plan.triggers import SPAN_S, armed, key_of
from recsys_operator.state.observed import Observed
from recsys_schemas.v1alpha1.triggers import Trigger, TriggerStatus

LEAST_ANSWERS = 500


def remember(observed: Observed) -> list[TriggerStatus]:
    """What the status is to keep of the triggers: when a schedule was first seen, and the present span of answers."""
    known = {each.key: each for each in observed.model.status.triggers}
    kept: list[TriggerStatus] = []
    for trigger in armed(observed.model.spec.training):
        key = key_of(trigger, observed.model.spec.training)
        if trigger.type == "Schedule":
            kept.append(known.get(key) or TriggerStatus(key=key, since=observed.now))
        elif trigger.metric == "rewardRate":
            kept.append(_span(trigger, key, known.get(key), observed))
    return kept


def _span(trigger: Trigger, key: str, before: TriggerStatus | None, observed: Observed) -> TriggerStatus:
    """The span goes on until it is long enough and has enough answers; then it is judged and the next one begins."""
    champion, seen = shares.champion(observed), reports(observed)
    if champion is None or seen is None:
        return before or TriggerStatus(key=key, since=observed.now)
    impressions, rewards = seen.given(champion.name)
    fresh = TriggerStatus(key=key, since=observed.now, version=champion.name, impressions=impressions, rewards=rewards)
    lost = before is not None and (impressions < before.impressions or rewards < before.rewards)
    if before is None or before.version != champion.name or lost:
        return fresh
    answers, liked = impressions - before.impressions, rewards - before.rewards
    long_enough = observed.now >= before.since + timedelta(seconds=trigger.for_seconds or SPAN_S)
    if not long_enough or answers < (trigger.minimum_samples or LEAST_ANSWERS):
        return before
    if trigger.below is None or liked >= trigger.below * answers:
        return fresh
    words = (
        f"rewardRate of {champion.name} {liked}/{answers} = {liked / answers:.4f} "
        f"from {before.since:%Y-%m-%dT%H:%M:%SZ} to {observed.now:%Y-%m-%dT%H:%M:%SZ}, under {trigger.below:g}"
    )
    return fresh.model_copy(update={"breached": words, "breached_at": observed.now})
