"""What a pass could not do is told in a condition, and the rest of the status stays as decided."""

from datetime import UTC, datetime, timedelta

from recsys_operator.failures import stalled_status, with_failure
from recsys_operator.state.observed import Key, ModelState, Observed, Unavailable
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_schemas.v1alpha1.conditions import Condition, ConditionType
from recsys_schemas.v1alpha1.model import ModelSpec, Ray
from recsys_schemas.v1alpha1.model_status import ModelStatus
from recsys_schemas.v1alpha1.topics import Kafka

NOW = datetime(2026, 9, 1, tzinfo=UTC)
BEFORE = NOW - timedelta(hours=1)


def condition(kind: ConditionType, holds: str, reason: str, since: datetime) -> Condition:
    return Condition.model_validate(
        {"type": kind, "status": holds, "reason": reason, "message": "", "observed_generation": 1, "last_transition_time": since}
    )


def observed(*conditions: Condition) -> Observed:
    spec = ModelSpec(ray=Ray(dashboard_url="http://127.0.0.1:1"), kafka=Kafka(bootstrap_servers=["127.0.0.1:1"]))
    model = ModelState(
        key=Key(namespace="default", name="movies"),
        uid="u",
        generation=2,
        spec=spec,
        status=ModelStatus(conditions=list(conditions)),
        storage_uri="file:///s",
        has_finalizer=True,
    )
    away = Unavailable(message="away")
    return Observed(now=NOW, model=model, tokens={}, topics=away, ray=away, manifest=None, evidence=None)


READY = condition(ConditionType.READY, "True", "ChampionServing", BEFORE)
MOVING = condition(ConditionType.PROGRESSING, "True", "Weighted", BEFORE)
CALM = condition(ConditionType.STALLED, "False", "Progressing", BEFORE)
DECIDED = ModelStatus(phase="Serving", conditions=[READY, MOVING, CALM])


def told(status: ModelStatus) -> dict[str, tuple[str, str, datetime]]:
    return {each.type: (each.status, each.reason, each.last_transition_time) for each in status.conditions}


def test_what_was_refused_is_stalled_with_the_other_sides_words() -> None:
    status = with_failure(DECIDED, observed(READY, MOVING, CALM), action="CreateTopic", error=RefusedError("Kafka: no"))
    assert told(status) == told(DECIDED) | {"Stalled": ("True", "Refused", NOW)}
    assert status.conditions[-1].message == "CreateTopic: Kafka: no"
    assert (status.phase, status.conditions[-1].observed_generation) == ("Serving", 2)


def test_what_was_unavailable_is_tried_again_and_says_so() -> None:
    status = with_failure(DECIDED, observed(READY, MOVING, CALM), action="SubmitJob", error=UnavailableError("Ray: 503"))
    assert told(status) == told(DECIDED) | {"Progressing": ("False", "Retrying", NOW)}


def test_a_failure_that_lasts_keeps_the_time_at_which_it_began() -> None:
    stuck = condition(ConditionType.STALLED, "True", "Refused", BEFORE)
    status = with_failure(DECIDED, observed(READY, MOVING, stuck), action="CreateTopic", error=RefusedError("no"))
    assert told(status)["Stalled"] == ("True", "Refused", BEFORE)


def test_a_model_that_cannot_be_read_is_stalled_once_and_keeps_all_else() -> None:
    raw = {"phase": "Serving", "later": {"release": 2}, "conditions": [READY.model_dump(mode="json", by_alias=True)]}
    first = stalled_status(raw, reason="InvalidSpec", message="spec.x", generation=2, now=NOW)
    assert (first["phase"], first["later"]) == ("Serving", {"release": 2})
    assert [(each["type"], each["status"], each["reason"]) for each in first["conditions"]] == [
        ("Stalled", "True", "InvalidSpec"),
        ("Ready", "Unknown", "InvalidSpec"),
    ]
    assert stalled_status(first, reason="InvalidSpec", message="spec.x", generation=2, now=NOW + timedelta(hours=1)) == first
