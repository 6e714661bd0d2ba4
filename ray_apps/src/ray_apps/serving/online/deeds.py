"""From a record's value to a deed: as little as an answer needs, decoded in native code."""

from collections.abc import Sequence
from typing import Any

import msgspec

from ray_apps.algorithms.tastes import strength
from ray_apps.serving.online.recent import Deed
from recsys_schemas.filters import ContextValue

LONGEST_ID = 128
"""Characters of an id, as the schemas have it: what is longer is not remembered."""
_FRAMED, _HEADER = 0, 5


class _Event(msgspec.Struct):
    user_id: str
    item_id: str
    timestamp: int


class _Watch(_Event):
    fraction: float = 1.0


class _Rate(_Event):
    rating: float


class _Credit(msgspec.Struct):
    item_id: str
    request_id: str | None = None


_CREDIT = msgspec.json.Decoder(_Credit)
_WHOLE = msgspec.json.Decoder(dict[str, Any])
_WATCH, _RATE = msgspec.json.Decoder(_Watch), msgspec.json.Decoder(_Rate)


def deed_of(event_type: str, value: bytes | None) -> tuple[str, Deed] | None:
    """Who did what; None when it is no event that can be read here (ingest says why it is none).

    A value in a registry's frame is read when what is framed is JSON; Avro is not, and waits for the next version.
    """
    if not value:
        return None
    told = _told(value)
    try:
        event: _Watch | _Rate = (_WATCH if event_type == "watch" else _RATE).decode(told)
    except (msgspec.DecodeError, ValueError):
        return None
    if len(event.user_id) > LONGEST_ID or len(event.item_id) > LONGEST_ID:
        return None
    liked = strength("watch", event.fraction) if isinstance(event, _Watch) else strength("rate", event.rating)
    return event.user_id, Deed(event.item_id, liked, event.timestamp)


def credit_of(value: bytes | None) -> tuple[str, str] | None:
    """Which answer an event names, and which item; None when it names no answer."""
    if not value:
        return None
    try:
        event = _CREDIT.decode(_told(value))
    except (msgspec.DecodeError, ValueError):
        return None
    return (event.request_id, event.item_id) if event.request_id else None


def context_of(value: bytes, keys: Sequence[str]) -> dict[str, ContextValue]:
    """What an event says of these keys: fields of its own, whose values are single ones."""
    try:
        told = _WHOLE.decode(_told(value))
    except (msgspec.DecodeError, ValueError):
        return {}
    return {key: word for key in keys if isinstance(word := told.get(key), str | bool | int | float)}


def _told(value: bytes) -> bytes:
    """Without a registry's frame."""
    return value[_HEADER:] if value[0] == _FRAMED else value
