"""An event's schema, compiled for msgspec: as far as its rules are known to be held as pydantic holds them."""

import functools
import operator
import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any

import annotated_types as at
import msgspec
from pydantic import BaseModel
from pydantic.fields import FieldInfo

# What `Identifier` allows: in JSON such a character can only stand behind a backslash, or be DEL itself.
_PRINTABLE = r"^[^\x00-\x1f\x7f]+$"


class NotUnderstoodError(Exception):
    """A rule that msgspec is not known to hold as pydantic does, or a value that it could see otherwise."""


def fast_decoder(event: type[BaseModel]) -> "msgspec.json.Decoder[Any] | None":
    """Compile an event's schema for msgspec; None when a rule of it is not understood here, so that pydantic judges alone.

    Unknown fields are refused by it (and so judged by pydantic): what stands in them is checked by the exact parser only.
    """
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    try:
        for name, field in event.model_fields.items():
            kind = _fast_kind(field.annotation, field.metadata)
            fields.append((name, kind) if field.is_required() else (name, kind, field.get_default(call_default_factory=False)))
    except NotUnderstoodError:
        return None
    struct = msgspec.defstruct(event.__name__, fields, forbid_unknown_fields=True, gc=False, kw_only=True)
    return msgspec.json.Decoder(struct)


def _fast_kind(annotation: Any, rules: Iterable[object]) -> Any:
    if typing.get_origin(annotation) is Annotated:
        plain, *marks = typing.get_args(annotation)
        inner = [rule for mark in marks for rule in (mark.metadata if isinstance(mark, FieldInfo) else [mark])]
        return _fast_kind(plain, [*inner, *rules])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return functools.reduce(operator.or_, [_fast_kind(choice, rules) for choice in typing.get_args(annotation)])
    if annotation is types.NoneType:
        return None
    if annotation not in (str, int, float, bool):
        raise NotUnderstoodError
    bounds: dict[str, Any] = {}
    for rule in rules:
        bounds |= _bounds(rule)
    return Annotated[annotation, msgspec.Meta(**bounds)] if bounds else annotation


def _bounds(rule: object) -> dict[str, Any]:
    match rule:
        case at.Ge(ge=limit):
            return {"ge": limit}
        case at.Le(le=limit):
            return {"le": limit}
        case at.MinLen(min_length=length):
            return {"min_length": length}
        case at.MaxLen(max_length=length):
            return {"max_length": length}
        case _:
            return _held_anyway(rule)


def _held_anyway(rule: object) -> dict[str, Any]:
    # Strict JSON has no NaN and no infinity, and `_decode` keeps every control character from the fast decoder.
    if getattr(rule, "allow_inf_nan", None) is False or getattr(rule, "pattern", None) == _PRINTABLE:
        return {}
    raise NotUnderstoodError
