"""The Arrow schema of an event type's table, made from the event's own schema."""

import types
import typing
from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from ray_apps.stores.snapshots import RECORD_COLUMNS
from recsys_schemas.event_fields import TABLES, with_fields
from recsys_schemas.train_job import IngestJob

_ARROW: dict[object, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


class UnknownEventTypeError(Exception):
    """A topic is to be read as an event type that has no schema; the message names the choices."""


def event_of(event_type: str) -> type[BaseModel]:
    """Return the schema of an event type.

    Raises:
        UnknownEventTypeError: there is none.
    """
    try:
        return TABLES[event_type]
    except KeyError:
        raise UnknownEventTypeError(f"topics: event_type {event_type!r} has no schema; use one of {', '.join(TABLES)}") from None


def event_columns(event: type[BaseModel]) -> pa.Schema:
    """Columns of an event: one for each field, in order; `T | None` becomes nullable."""
    return pa.schema([_column(name, field.annotation) for name, field in event.model_fields.items()])


def column_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Values of one field of many events as a column; lists of objects become lists of structs."""
    if not isinstance(kind, pa.ListType):
        return pa.array(values, kind)
    fields, flat = list(typing.cast("pa.StructType", kind.value_type)), list(chain.from_iterable(values))
    parts = [column_of(list(map(attrgetter(field.name), flat)), field.type) for field in fields]
    bounds = np.cumsum([0, *map(len, values)], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(bounds), pa.StructArray.from_arrays(parts, fields=fields), type=kind)


def id_column(event: type[BaseModel]) -> str:
    """The column by which a row is known to repeat another: an event's own id, or the request that an answer belongs to."""
    return "event_id" if "event_id" in event.model_fields else "request_id"


def events_of(job: IngestJob) -> dict[str, type[BaseModel]]:
    """Return the schema of each event type that a job reads, with the fields that were added to it.

    Raises:
        UnknownEventTypeError: an event type has no schema.
        ValueError: an added field has the name of another one.
    """
    types = sorted({each.event_type for each in job.topics})
    return {event_type: with_fields(event_of(event_type), job.added_fields.get(event_type, [])) for event_type in types}


def table_schema(event: type[BaseModel] | str) -> pa.Schema:
    """Columns of an event's table: the event's, then those that say which record a row was made from."""
    return pa.schema([*event_columns(event_of(event) if isinstance(event, str) else event), *RECORD_COLUMNS])


def _column(name: str, annotation: object) -> pa.Field:
    union = typing.get_origin(annotation) in (types.UnionType, typing.Union)
    choices = typing.get_args(annotation) if union else (annotation,)
    plain = [_plain(choice) for choice in choices if choice is not types.NoneType]
    return pa.field(name, _arrow(plain[0]), nullable=types.NoneType in choices)


def _arrow(kind: object) -> pa.DataType:
    """The type of a column; a list of objects is a list of structs, its parts named as Delta Lake names them."""
    if typing.get_origin(kind) is not list:
        return _ARROW[kind]
    (listed,) = typing.get_args(kind)
    return pa.list_(pa.field("element", pa.struct(event_columns(listed)), nullable=False))


def _plain(annotation: object) -> object:
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation
