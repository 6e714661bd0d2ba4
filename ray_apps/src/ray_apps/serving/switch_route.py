"""POST /v1/model:switch: ask the operator that a version which served before, and is loaded still, serves all users."""

from http import HTTPStatus

from pydantic import ValidationError

from ray_apps.serving.problems import ProblemError, shown, unavailable, unfit
from ray_apps.serving.replica import Evidence, Replica
from ray_apps.serving.switching import retained
from recsys_schemas.serving_api import SwitchRequest, SwitchResponse
from recsys_schemas.serving_record import ServingRecord, Variant

RETRY_SECONDS = 2


async def switch(replica: Replica, evidence: Evidence, client: str, body: bytes) -> tuple[int, bytes]:
    """Handle one request: the status, and SwitchResponse as JSON.

    The ask is on the board when this returns, so it outlives the replica; the operator reads it there with its next look.

    Raises:
        ProblemError: 409 for a version that cannot be had, with those that can; 503 while nothing serves or the board does not answer.
    """
    try:
        request = SwitchRequest.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise unfit(error) from None
    record = replica.arms.wanted
    stable = next((arm.version for arm in record.arms if arm.variant is Variant.STABLE), None) if record else None
    if record is None or stable is None:
        raise unavailable("the model has no version yet; ask again when one serves", RETRY_SECONDS)
    if request.version != stable:
        _check(replica, record, request.version)
    # What serves already is asked for too: it takes the place of an ask that has not been taken up yet.
    asked = replica.switches.ask(request.version, stable, record.epoch, client, request.reason)
    try:
        await evidence()
    except Exception as error:  # whatever Ray raises
        replica.switches.withdraw(asked)
        detail = f"the board does not answer ({type(error).__name__}), so the operator would not learn of it; ask again"
        raise unavailable(detail, RETRY_SECONDS) from error
    if request.version == stable:
        return HTTPStatus.OK, SwitchResponse(version=stable, state="Serving").model_dump_json().encode()
    told = SwitchResponse(version=request.version, state="Asked", id=asked.id)
    return HTTPStatus.ACCEPTED, told.model_dump_json().encode()


def _check(replica: Replica, record: ServingRecord, version: str) -> None:
    can = retained(replica.arms)
    if version in can:
        return
    there = next((arm for arm in record.arms if arm.version == version), None)
    if there is None:
        why = "is not retained: unknown here, sent back, or older than spec.rollout.keepLoaded reaches"
    elif there.variant is Variant.CANDIDATE:
        why = "is a candidate, which earns its users (kubectl recsys promote gives them to it)"
    else:
        why = f"is not loaded here: {replica.arms.refused().get(version, 'it is being loaded; ask again')}"
    names = f"retained are: {', '.join(can) or 'none'}"
    mend = "name one of them, raise spec.rollout.keepLoaded, or go back with kubectl recsys rollback"
    raise ProblemError(409, "Conflict", f"version: {shown(version)} {why}; {names}; {mend}", field="version")
