"""What the events of a model hold beyond the built-in fields."""

from typing import Annotated

from pydantic import Field

from recsys_schemas.event_fields import BUILT_IN, FIELD_NAME, MAX_LENGTH, FieldType
from recsys_schemas.v1alpha1.resource import Resource, cel, list_map

_MEND = "keep the old field and add one of another name"
_LENGTH = f"(has({{0}}.maxLength) ? {{0}}.maxLength : {MAX_LENGTH})"


def _fault(words: str) -> str:
    return f"'field ' + self.name + ': {words}'"


class EventField(Resource):
    """An optional field. Readers of old files see null; so nothing but adding is allowed, and widening its bounds."""

    model_config = Resource.model_config | {
        "json_schema_extra": cel(
            (
                f"!(self.name in [{', '.join(repr(name) for name in BUILT_IN)}])",
                "name of a field must not be one that every event has",
                _fault("every event has one of this name; choose another"),
            ),
            (
                "self.type in ['integer', 'number'] || !(has(self.minimum) || has(self.maximum))",
                "minimum and maximum are for integer and number only",
                "'field ' + self.name + ': minimum and maximum are for integer and number, seen ' + self.type + '; remove them'",
            ),
            (
                "self.type == 'string' || !has(self.maxLength)",
                "maxLength is for string only",
                "'field ' + self.name + ': maxLength is for string, seen ' + self.type + '; remove it'",
            ),
            (
                "!(has(self.minimum) && has(self.maximum)) || self.minimum <= self.maximum",
                "minimum must not exceed maximum",
                _fault("minimum exceeds maximum, no value would fit; exchange them"),
            ),
            (
                "self.type == oldSelf.type",
                f"type of a field cannot be changed: {_MEND}",
                f"'field ' + self.name + ': type cannot be changed from ' + oldSelf.type + ' to ' + self.type + ': {_MEND}'",
            ),
            (
                "!has(self.minimum) || (has(oldSelf.minimum) && self.minimum <= oldSelf.minimum)",
                "minimum of a field cannot be added or raised: old records may not fit",
                _fault("minimum cannot be added or raised, old records may not fit; allow what was allowed"),
            ),
            (
                "!has(self.maximum) || (has(oldSelf.maximum) && self.maximum >= oldSelf.maximum)",
                "maximum of a field cannot be added or lowered: old records may not fit",
                _fault("maximum cannot be added or lowered, old records may not fit; allow what was allowed"),
            ),
            (
                f"{_LENGTH.format('self')} >= {_LENGTH.format('oldSelf')}",
                "maxLength of a field cannot be lowered: old records may not fit",
                _fault("maxLength cannot be lowered, old records may not fit; allow what was allowed"),
            ),
        )
    }

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=FIELD_NAME)]
    """Its name in the events and in the tables."""
    type: FieldType
    """As in JSON Schema. Cannot be changed."""
    minimum: Annotated[float | None, Field(ge=-1e15, le=1e15)] = None
    """Least integer or number; may be lowered or removed."""
    maximum: Annotated[float | None, Field(ge=-1e15, le=1e15)] = None
    """Greatest integer or number; may be raised or removed."""
    max_length: Annotated[int | None, Field(ge=1, le=65_536)] = None
    """Characters of a string; may be raised. Default: 1024."""


Fields = Annotated[
    list[EventField],
    Field(
        max_length=32,
        json_schema_extra=list_map(
            "name",
            (
                "oldSelf.all(o, self.exists(n, n.name == o.name))",
                "a field cannot be removed or renamed: old files have it; leave it there, producers may stop sending it",
                (
                    # Each text is made where its name is bounded: after `filter` the API server would reckon with names of any length.
                    "oldSelf.map(o, !self.exists(n, n.name == o.name), 'field ' + o.name"
                    " + ': cannot be removed or renamed, old files have it: leave it there, producers may stop sending it')[0]"
                ),
            ),
        ),
    ),
]


class EventType(Resource):
    """One type of events."""

    fields: Fields = Field(default_factory=list[EventField])
    """Optional fields beyond the built-in ones; may grow, never shrink."""


class Events(Resource):
    """What the events hold beyond the built-in fields, and when one repeats another."""

    watch: EventType = Field(default_factory=EventType)
    """Events of the role Watch."""
    rate: EventType = Field(default_factory=EventType)
    """Events of the role Rate."""
    duplicate_window_records: Annotated[int, Field(ge=0, le=1_000_000)] = 100_000
    """An event is put aside as a repeat when a row of the same event_id stands at most so many records before it in its partition.
    0 lets repeats in. A consumer looks back over 600,000 records in all, so with over 6 partitions each has a shorter memory."""
