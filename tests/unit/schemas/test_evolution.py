from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, create_model

from recsys_schemas.evolution import Breach, compatible
from recsys_schemas.generate import EVENTS


class Inner(BaseModel):
    score: float


class Old(BaseModel):
    user: Annotated[str, Field(max_length=10)]
    rating: Annotated[float, Field(ge=0, le=5)]
    note: str | None = None
    kind: Literal["a", "b"] = "a"
    items: list[Inner] = []
    counts: dict[str, int] = {}


FIELDS: dict[str, Any] = {name: (field.annotation, field) for name, field in Old.model_fields.items()}


def changed(**fields: Any) -> dict[str, Any]:
    """Old with some fields replaced (or left out: None)."""
    kept = {name: field for name, field in (FIELDS | fields).items() if field is not None}
    return create_model("New", **kept).model_json_schema()


class Thin(BaseModel):
    label: str


FINE = {
    "nothing changed": {},
    "a new optional field": {"added": (str | None, None)},
    "a wider bound": {"rating": (Annotated[float, Field(ge=-1, le=10)], ...)},
    "a longer string": {"user": (Annotated[str, Field(max_length=20)], ...)},
    "one more choice": {"kind": (Literal["a", "b", "c"], "a")},
    "a field that may now be absent of value": {"counts": (dict[str, int] | None, None)},
    "whole numbers become any numbers": {"counts": (dict[str, float], {})},
}


@pytest.mark.parametrize("fields", FINE.values(), ids=FINE.keys())
def test_what_only_adds_may_be_released(fields: dict[str, Any]):
    assert compatible(Old.model_json_schema(), changed(**fields)) == []


BROKEN = [
    ("a field removed", {"note": None}, ".note", Breach.REMOVED),
    ("a field renamed", {"note": None, "remark": (str | None, None)}, ".note", Breach.REMOVED),
    ("a new required field", {"added": (str, ...)}, ".added", Breach.NEWLY_REQUIRED),
    ("an old field now required", {"note": (str | None, ...)}, ".note", Breach.NEWLY_REQUIRED),
    ("a required field now optional", {"user": (Annotated[str, Field(max_length=10)], "x")}, ".user", Breach.NO_LONGER_REQUIRED),
    ("a tighter upper bound", {"rating": (Annotated[float, Field(ge=0, le=4)], ...)}, ".rating", Breach.NARROWED),
    ("a tighter lower bound", {"rating": (Annotated[float, Field(ge=1, le=5)], ...)}, ".rating", Breach.NARROWED),
    ("a shorter string", {"user": (Annotated[str, Field(max_length=5)], ...)}, ".user", Breach.NARROWED),
    ("a pattern", {"user": (Annotated[str, Field(max_length=10, pattern="^u")], ...)}, ".user", Breach.NARROWED),
    ("a choice less", {"kind": (Literal["a"], "a")}, ".kind", Breach.NARROWED),
    ("no null any more", {"note": (str, "")}, ".note", Breach.NARROWED),
    ("another type", {"rating": (str, ...)}, ".rating", Breach.NARROWED),
    ("any number becomes whole", {"rating": (int, ...)}, ".rating", Breach.NARROWED),
    ("a field of an item removed", {"items": (list[Thin], [])}, ".items[].score", Breach.REMOVED),
    ("values of a map narrowed", {"counts": (dict[str, Annotated[int, Field(ge=0)]], {})}, ".counts.*", Breach.NARROWED),
]


@pytest.mark.parametrize(("fields", "path", "breach"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_what_breaks_somebody_is_named_by_its_field(fields: dict[str, Any], path: str, breach: Breach):
    found = compatible(Old.model_json_schema(), changed(**fields))
    assert (path, breach) in [(violation.path, violation.breach) for violation in found]
    assert str(found[0]).startswith(f"{found[0].path}: ")


class Tree(BaseModel):
    name: str
    children: list["Tree"] = []


def test_a_schema_that_contains_itself_is_judged_once():
    assert compatible(Tree.model_json_schema(), Tree.model_json_schema()) == []


def test_unknown_fields_that_were_let_through_may_not_be_refused_later():
    open_one = {"type": "object", "properties": {}}
    found = compatible(open_one, open_one | {"additionalProperties": False})
    assert [violation.breach for violation in found] == [Breach.NARROWED]


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_may_follow_itself(name: str):
    schema = EVENTS[name].model_json_schema()
    assert compatible(schema, schema) == []
