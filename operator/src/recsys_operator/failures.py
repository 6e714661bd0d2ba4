"""A pass that could not do what was planned says so in the status: which condition, in which words. Pure."""

from datetime import datetime

from pydantic import ValidationError

from recsys_operator.state.observed import Observed
from recsys_operator.world.errors import RefusedError
from recsys_operator.world.kube import Json
from recsys_schemas.v1alpha1.conditions import Condition, ConditionType
from recsys_schemas.v1alpha1.model_status import ModelStatus

_LONGEST = 4000


def with_failure(decided: ModelStatus, seen: Observed, *, action: str, error: Exception) -> ModelStatus:
    """The decided status, changed to tell that an action failed.

    What was refused is `Stalled`: a person must act. What was unavailable is tried again, and `Progressing` says so.
    """
    if isinstance(error, RefusedError):
        kind, holds, reason = ConditionType.STALLED, "True", "Refused"
    else:
        kind, holds, reason = ConditionType.PROGRESSING, "False", "Retrying"
    words = f"{action}: {error}"[:_LONGEST]
    told = Condition(
        type=kind,
        status=holds,
        reason=reason,
        message=words,
        observed_generation=seen.model.generation,
        last_transition_time=_since(seen, kind, holds),
    )
    others = [condition for condition in decided.conditions if condition.type != kind]
    # A cluster that was to be given up is not forgotten before it is.
    return decided.model_copy(update={"conditions": [*others, told], "cluster": seen.model.status.cluster})


def _since(seen: Observed, kind: str, holds: str) -> datetime:
    """When the condition took this status: it may have had it before."""
    same = [condition for condition in seen.model.status.conditions if condition.type == kind and condition.status == holds]
    return same[0].last_transition_time if same else seen.now


def stalled_status(raw: Json, *, reason: str, message: str, generation: int, now: datetime) -> Json:
    """A status as read, with `Stalled` true and `Ready` unknown, where the rest of it cannot be or was not judged."""
    words = message[:_LONGEST]
    told = [(ConditionType.STALLED, "True"), (ConditionType.READY, "Unknown")]
    conditions = [body for body in raw.get("conditions", []) if body.get("type") not in {kind for kind, _ in told}]
    for kind, holds in told:
        before = next((body for body in raw.get("conditions", []) if body.get("type") == kind), {})
        since = before.get("lastTransitionTime") if before.get("status") == holds else None
        try:
            condition = Condition.model_validate(
                {
                    "type": kind,
                    "status": holds,
                    "reason": reason,
                    "message": words,
                    "observedGeneration": generation,
                    "lastTransitionTime": since or now,
                }
            )
        except ValidationError:
            continue
        conditions.append(condition.model_dump(mode="json", by_alias=True))
    return raw | {"conditions": conditions}
