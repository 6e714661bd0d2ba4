"""Wishes: a version that served before and is to serve all users again, by whom, and until when.

`spec.rollout.rollbackTo` pins: it holds until the field is removed. An ask through POST /v1/model:switch is fulfilled once: it is over
when a rollout has been made of it, when another version than at its time serves, when a rollout has promoted since, or after ten minutes.
"""

from dataclasses import dataclass
from datetime import timedelta

from recsys_operator.plan.names import again_name
from recsys_operator.state.observed import Observed, Unavailable
from recsys_schemas.serving_evidence import SwitchAsk
from recsys_schemas.v1alpha1.rollout import RolloutPhase

OPEN_SECONDS = 600.0
"""An ask that could not be taken up is over after so long."""
_READ_LATER = timedelta(seconds=10)
"""The age of an ask is read a little after the clock: what was promoted so shortly after it does not end it by itself."""
_PROMOTED = (RolloutPhase.SUCCESSFUL, RolloutPhase.HOLDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One, with its words."""

    version: str
    rollout: str
    """The rollout that fulfils it."""
    words: str
    """Who asks for what."""
    pins: bool
    """Whether it holds on, and is tried once more first: else it is loaded in every replica already."""
    by: str = ""
    reason: str = ""


def wish(observed: Observed) -> Wish | None:
    """What is to serve, if anybody asks for a version; a pin goes before an ask."""
    pinned = observed.model.spec.rollout.rollback_to
    if pinned is not None:
        return Wish(version=pinned, rollout=again_name(observed, pinned), words=f"spec.rollout.rollbackTo: {pinned}", pins=True)
    asked = _newest(observed)
    if asked is None or _is_over(observed, asked):
        return None
    words = f"POST /v1/model:switch: {asked.version}, asked by {asked.by}{f' ({asked.reason})' if asked.reason else ''}"
    return Wish(version=asked.version, rollout=switch_name(asked), words=words, pins=False, by=asked.by, reason=asked.reason)


def switch_name(asked: SwitchAsk) -> str:
    """The rollout that an ask becomes."""
    return f"{asked.version}-switch-{asked.id}"


def _newest(observed: Observed) -> SwitchAsk | None:
    """The newest of what all replicas were asked, those that are gone included."""
    if observed.evidence is None or isinstance(observed.evidence, Unavailable):
        return None
    asks = [
        each.switch.model_copy(update={"age_seconds": each.switch.age_seconds + each.age_seconds})
        for each in observed.evidence.replicas
        if each.switch is not None
    ]
    return min(asks, key=lambda each: each.age_seconds, default=None)


def _is_over(observed: Observed, asked: SwitchAsk) -> bool:
    asked_at = observed.now - timedelta(seconds=asked.age_seconds)
    promoted = [walk for walk in observed.rollouts if walk.status.phase in _PROMOTED]
    serving = promoted[-1].lead.name if promoted else None
    decided = [each.time for walk in promoted for each in walk.status.decisions if each.verdict == "Promoted"]
    return (
        asked.age_seconds >= OPEN_SECONDS
        or asked.version == asked.instead_of
        or asked.instead_of != serving
        or any(walk.name == switch_name(asked) for walk in observed.rollouts)
        or max(decided, default=asked_at) > asked_at + _READ_LATER
    )
