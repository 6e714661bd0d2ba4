"""What people say of themselves and a shop says of its items: written to Kafka and acknowledged by it, then known by every replica."""

import time
from collections.abc import Sequence

from pydantic import BaseModel, TypeAdapter, ValidationError

from ray_apps.serving.event_writer import NotAcknowledged
from ray_apps.serving.problems import ProblemError, unavailable, unfit
from ray_apps.serving.replica import Replica
from recsys_schemas.catalogue import CatalogueItem
from recsys_schemas.events import Identifier, ItemEvent, PreferenceEvent
from recsys_schemas.serving_api import EventsResponse, ItemResponse, ItemsRequest, PreferencesRequest, PreferencesResponse

RETRY_SECONDS = 5
_IDENTIFIER = TypeAdapter[str](Identifier)


async def say_preferences(replica: Replica, user_id: str, body: bytes) -> bytes:
    """POST /v1/users/{user_id}/preferences: PreferencesResponse as JSON, once Kafka has them.

    Raises:
        ProblemError: 422 when they do not fit, 404 when the model keeps none, 503 when Kafka does not acknowledge.
    """
    _checked("user_id", user_id)
    try:
        asked = PreferencesRequest.model_validate_json(body)
    except ValidationError as error:
        raise unfit(error) from None
    now = _now()
    said = PreferenceEvent(user_id=user_id, timestamp=now, genres=asked.genres, items=asked.items, level=asked.level)
    await _write(replica, _preferences_topic(replica), [(user_id, said)])
    return _told(said)


async def forget_preferences(replica: Replica, user_id: str) -> bytes:
    """DELETE of the same: what was said is taken back, and gone from the topic when the brokers compact it."""
    _checked("user_id", user_id)
    await _write(replica, _preferences_topic(replica), [(user_id, None)])
    return EventsResponse(accepted=1).model_dump_json().encode()


def preferences_of(replica: Replica, user_id: str) -> bytes:
    """GET of the same: what this replica knows of it.

    Raises:
        ProblemError: 404 when the user has said nothing.
    """
    _checked("user_id", user_id)
    _preferences_topic(replica)
    said = replica.arms.beside.told.preferences(user_id)
    if said is None:
        raise ProblemError(404, "Not Found", f"user_id: {user_id!r} has said nothing that this replica knows; POST it", field="user_id")
    return _told(said)


async def say_items(replica: Replica, body: bytes) -> bytes:
    """POST /v1/items: EventsResponse as JSON, once Kafka has all of them.

    Raises:
        ProblemError: 422 when one does not fit (then none is written), 404 when the model keeps none, 503 when Kafka does not acknowledge.
    """
    try:
        asked = ItemsRequest.model_validate_json(body)
    except ValidationError as error:
        raise unfit(error) from None
    now = _now()
    records = [(item.item_id, ItemEvent(timestamp=now, **item.model_dump())) for item in asked.items]
    await _write(replica, _items_topic(replica), records)
    return EventsResponse(accepted=len(records)).model_dump_json().encode()


async def withdraw_item(replica: Replica, item_id: str) -> bytes:
    """DELETE /v1/items/{item_id}: it is not shown any more, also where the catalogue's file has it."""
    _checked("item_id", item_id)
    live = replica.arms.beside.told.item(item_id)
    known = live.item if live else CatalogueItem(item_id=item_id)
    await _write(replica, _items_topic(replica), [(item_id, ItemEvent(timestamp=_now(), withdrawn=True, **known.model_dump()))])
    return EventsResponse(accepted=1).model_dump_json().encode()


def item_of(replica: Replica, item_id: str) -> bytes:
    """GET of the same: what this replica knows by live records.

    Raises:
        ProblemError: 404 when there is no live record.
    """
    _checked("item_id", item_id)
    _items_topic(replica)
    live = replica.arms.beside.told.item(item_id)
    if live is None:
        raise ProblemError(404, "Not Found", f"item_id: {item_id!r} has no live record that this replica knows; POST it", field="item_id")
    return ItemResponse(item=live.item, said_at=live.at, withdrawn=live.withdrawn).model_dump_json().encode()


def _told(said: PreferenceEvent) -> bytes:
    told = PreferencesResponse(user_id=said.user_id, said_at=said.timestamp, genres=said.genres, items=said.items, level=said.level)
    return told.model_dump_json().encode()


def _now() -> int:
    return time.time_ns() // 1_000_000


def _checked(field: str, value: str) -> None:
    try:
        _IDENTIFIER.validate_python(value)
    except ValidationError as error:
        raise unfit(error, under=field) from None


def _preferences_topic(replica: Replica) -> str:
    return _topic(replica.arguments.preferences_topic, "Preferences")


def _items_topic(replica: Replica) -> str:
    return _topic(replica.arguments.items_topic, "Items")


def _topic(name: str | None, role: str) -> str:
    if name is None:
        raise ProblemError(
            404, "Not Found", f"path: this model keeps none; add a topic with the role {role} to spec.kafka.topics", field="path"
        )
    return name


async def _write(replica: Replica, topic: str, records: Sequence[tuple[str, BaseModel | None]]) -> None:
    """Write records; None for what is taken back."""
    values = [(key.encode(), None if value is None else value.model_dump_json(exclude_none=True).encode()) for key, value in records]
    try:
        await replica.events.write(topic, values)
    except NotAcknowledged as error:
        raise unavailable(f"Kafka has not acknowledged it: {error}. Send it again; the newest counts", RETRY_SECONDS) from None
