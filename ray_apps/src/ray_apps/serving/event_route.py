"""POST /v1/events: validate all, write all, answer when Kafka has all; then credit the answers they came from."""

import time
from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_core import to_json

from ray_apps.serving.event_writer import NotAcknowledged
from ray_apps.serving.problems import ProblemError, unavailable, unfit
from ray_apps.serving.replica import Replica
from recsys_schemas.events import RateEvent, WatchEvent
from recsys_schemas.serving_api import EventsRequest, EventsResponse

SCHEMAS: Mapping[str, type[WatchEvent | RateEvent]] = {"watch": WatchEvent, "rate": RateEvent}
MAX_AHEAD_MS = 24 * 3600 * 1000
"""An event may be dated this far ahead of this machine's clock; beyond it, ingest would put it aside."""
MAX_EVENT_BYTES = 900_000
"""Kafka's brokers take records up to a million bytes, headers included, unless they are told otherwise."""
RETRY_SECONDS = 5


async def accept_events(replica: Replica, body: bytes) -> bytes:
    """Handle one request; the answer is EventsResponse as JSON.

    Raises:
        ProblemError: 422 when one event does not fit (then none is written), 503 when Kafka does not acknowledge.
    """
    request, events = read_events(body, time.time_ns() // 1_000_000)
    topic = replica.arguments.event_topics.get(request.event_type)
    if topic is None:
        known = ", ".join(sorted(replica.arguments.event_topics)) or "none"
        detail = f"event_type: saw {request.event_type!r}; this model takes: {known}"
        raise ProblemError(422, "Unprocessable Content", detail, field="event_type")
    records = [(event.user_id.encode(), to_json(raw, inf_nan_mode="null")) for event, raw in zip(events, request.events, strict=True)]
    for place, (_, value) in enumerate(records):
        if len(value) > MAX_EVENT_BYTES:
            detail = f"events.{place}: {len(value)} bytes; send events of at most {MAX_EVENT_BYTES}"
            raise ProblemError(422, "Unprocessable Content", detail, field=f"events.{place}")
    try:
        await replica.events.write(topic, records)
    except NotAcknowledged as error:
        detail = f"Kafka has not acknowledged the events: {error}. Send them again with the same event ids; repeats are dropped"
        raise unavailable(detail, RETRY_SECONDS) from None
    for event in events:
        named = event.request_id
        if named is not None and replica.credits.credit(named, event.user_id, replica.attribution_seconds()):
            replica.liked.rewarded(event.item_id)
    return EventsResponse(accepted=len(events)).model_dump_json().encode()


def read_events(body: bytes, now_ms: int) -> tuple[EventsRequest, list[WatchEvent | RateEvent]]:
    """Validate a body whole.

    Raises:
        ProblemError: the first thing that does not fit, by its path, such as `events.3.timestamp`.
    """
    try:
        request = EventsRequest.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise unfit(error) from None
    schema = SCHEMAS[request.event_type]
    events: list[WatchEvent | RateEvent] = []
    for place, raw in enumerate(request.events):
        try:
            event = schema.model_validate(raw, strict=True)
        except ValidationError as error:
            raise unfit(error, under=f"events.{place}") from None
        if event.timestamp > now_ms + MAX_AHEAD_MS:
            field = f"events.{place}.timestamp"
            detail = f"{field}: saw {event.timestamp}, more than a day ahead of {now_ms}; send milliseconds since 1970, UTC"
            raise ProblemError(422, "Unprocessable Content", detail, field=field)
        events.append(event)
    return request, events
