from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from recsys_schemas.structural import NotStructural, structural
from recsys_schemas.v1alpha1.resource import Resource, cel, list_map


class Colour(StrEnum):
    """One of the colours."""

    RED = "red"
    BLUE = "blue"


class Part(Resource):
    """A part in general."""

    model_config = Resource.model_config | {"json_schema_extra": cel(("self.size > 1", "size must be over 1"))}

    size: Annotated[float, Field(gt=0, le=10)] = 2.5
    """How large."""
    colour: Colour = Colour.RED


class Whole(Resource):
    """Everything that the printer must know."""

    fixed: Literal["only"]
    """No choice."""
    part: Part = Field(default_factory=Part)
    """The field's own words."""
    other: Annotated[Part | None, Field(json_schema_extra=cel(("self.size < 9", "size must be under 9")))] = None
    parts: Annotated[list[Part], Field(max_length=3, json_schema_extra=list_map("size"))] = Field(default_factory=lambda: [Part(size=3)])
    tags: dict[str, int] = Field(default_factory=dict)
    anything: dict[str, Any] | None = None
    unique: set[str] | None = None
    at: datetime | None = None


PART = {
    "description": "A part in general.",
    "type": "object",
    "properties": {
        "size": {
            "description": "How large.",
            "type": "number",
            "minimum": 0,
            "exclusiveMinimum": True,
            "maximum": 10,
            "default": 2.5,
        },
        "colour": {"description": "One of the colours.", "type": "string", "enum": ["red", "blue"], "default": "red"},
    },
    "x-kubernetes-validations": [{"rule": "self.size > 1", "message": "size must be over 1"}],
}


def test_a_model_becomes_the_structural_schema_that_is_written_here():
    assert structural(Whole, defaults=True) == {
        "description": "Everything that the printer must know.",
        "type": "object",
        "required": ["fixed"],
        "properties": {
            "fixed": {"description": "No choice.", "type": "string", "enum": ["only"]},
            "part": PART | {"description": "The field's own words.", "default": {}},
            "other": PART
            | {
                "x-kubernetes-validations": [
                    {"rule": "self.size > 1", "message": "size must be over 1"},
                    {"rule": "self.size < 9", "message": "size must be under 9"},
                ]
            },
            "parts": {
                "type": "array",
                "maxItems": 3,
                "default": [{"size": 3.0, "colour": "red"}],
                "items": PART,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["size"],
            },
            "tags": {"type": "object", "default": {}, "additionalProperties": {"type": "integer"}},
            "anything": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "unique": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            "at": {"type": "string", "format": "date-time"},
        },
    }


def defaults_within(schema: object) -> list[object]:
    if isinstance(schema, dict):
        return ([schema["default"]] if "default" in schema else []) + [d for child in schema.values() for d in defaults_within(child)]
    return [d for child in schema for d in defaults_within(child)] if isinstance(schema, list) else []


def test_a_status_carries_no_defaults():
    assert defaults_within(structural(Whole, defaults=True)) != []
    assert defaults_within(structural(Whole, defaults=False)) == []


class Tree(BaseModel):
    children: list["Tree"] = []


class Plain(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Union(BaseModel):
    inner: int | str


class Either(BaseModel):
    inner: Plain | Colour | None = None


class Tuple(BaseModel):
    inner: tuple[int, str]


class Untyped(BaseModel):
    inner: Any


class Anything(BaseModel):
    inner: list[Any]


class Keyed(BaseModel):
    inner: dict[Annotated[str, Field(pattern="^a")], int]


class Labelled(BaseModel):
    inner: Annotated[int, Field(json_schema_extra={"contentEncoding": "base64"})]


class Deep(BaseModel):
    list_of: list[Union]


@pytest.mark.parametrize(
    ("model", "path", "words"),
    [
        (Union, ".inner", "a union; give each choice a field of its own"),
        (Either, ".inner", "a union; give each choice a field of its own"),
        (Tuple, ".inner", "a tuple; use an object"),
        (Tree, ".children[]", "Tree contains itself; bound the depth"),
        (Untyped, ".inner", "no type; annotate"),
        (Anything, ".inner[]", "no type; annotate"),
        (Keyed, ".inner", "keys with a pattern"),
        (Labelled, ".inner", "the keyword contentEncoding"),
        (Deep, ".list_of[].inner", "a union"),
    ],
)
def test_what_a_definition_cannot_say_is_refused_with_its_path(model: type[BaseModel], path: str, words: str):
    with pytest.raises(NotStructural) as refused:
        structural(model, defaults=True)
    assert refused.value.path == path
    assert words in str(refused.value)
