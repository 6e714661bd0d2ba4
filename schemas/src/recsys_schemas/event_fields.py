"""Fields that users add to the events: always optional, so that old records, old files and old producers stay valid."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model

from recsys_schemas.artifact import Artifact
from recsys_schemas.events import RateEvent, ResponseEvent, WatchEvent

EVENTS: dict[str, type[BaseModel]] = {"watch": WatchEvent, "rate": RateEvent}
"""What each event type's records must fit, before anything is added."""
RESPONSES = "responses"
"""The table of logged answers, beside those of the events: nobody learns from it, off-policy estimates stand on it."""
TABLES: dict[str, type[BaseModel]] = {**EVENTS, RESPONSES: ResponseEvent}
"""What each table's records must fit."""
BUILT_IN = tuple(dict.fromkeys(name for event in EVENTS.values() for name in event.model_fields))
"""Names that an added field may not have."""
FIELD_NAME = r"^[a-z][a-z0-9_]*$"
"""Lower case: Delta Lake tells columns apart without regard to case. No `_` first: such columns are ours."""
MAX_LENGTH = 1024
"""Characters of a text, unless said otherwise."""
LEAST, MOST = -(2**63), 2**63 - 1
"""Integers are kept in 64 bits."""

FieldType = Literal["string", "integer", "number", "boolean"]


class AddedField(Artifact):
    """One optional field: absent or null reads as null."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=FIELD_NAME)]
    """Its name in the events and in the tables."""
    type: FieldType
    """As in JSON Schema."""
    minimum: float | None = None
    """Least integer or number."""
    maximum: float | None = None
    """Greatest integer or number."""
    max_length: Annotated[int, Field(ge=1)] | None = None
    """Characters of a string; 1024 when not given."""


def with_fields(event: type[BaseModel], fields: Sequence[AddedField]) -> type[BaseModel]:
    """Return the schema of an event with fields added to it; the event's own when there are none.

    Raises:
        ValueError: a name is taken; the message names it.
    """
    added: dict[str, Any] = {}
    for field in fields:
        if field.name in event.model_fields or field.name in added:
            raise ValueError(f"fields: {field.name!r} is a field already; give the new one another name")
        added[field.name] = (_kind(field), None)
    return create_model(event.__name__, __base__=event, __doc__=event.__doc__, **added) if added else event


def _kind(field: AddedField) -> Any:
    low, high = field.minimum, field.maximum
    match field.type:
        case "string":
            return _optional(Annotated[str, Field(max_length=field.max_length or MAX_LENGTH)])
        case "integer":
            least = LEAST if low is None else max(LEAST, math.ceil(low))
            most = MOST if high is None else min(MOST, math.floor(high))
            return _optional(Annotated[int, Field(ge=least, le=most)])
        case "number":
            return _optional(Annotated[float, Field(ge=low, le=high, allow_inf_nan=False)])
        case "boolean":
            return bool | None


def _optional(kind: Any) -> Any:
    return kind | None
