"""Whatever the API server admits, the operator can read: proved on documents drawn from the printed schemas themselves."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from recsys_schemas.kinds import KINDS, Kind
from recsys_schemas.structural import structural
from recsys_schemas.v1alpha1.model import ModelSpec
from recsys_schemas.v1alpha1.resource import Resource

Json = dict[str, Any]


def documents(schema: Json) -> st.SearchStrategy[Any]:
    """Documents that a structural schema admits; rules in CEL are left aside, they only narrow."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema["type"]:
        case "object" if "properties" in schema:
            return _objects(schema)
        case "object":
            values = documents(schema["additionalProperties"]) if "additionalProperties" in schema else st.none() | st.integers()
            return st.dictionaries(st.text(max_size=5), values, max_size=3)
        case "array":
            unique = "x-kubernetes-list-type" in schema
            least = schema.get("minItems", 0)
            most = min(schema.get("maxItems", 5), least + 3)
            return st.lists(documents(schema["items"]), min_size=least, max_size=most, unique_by=repr if unique else None)
        case "string":
            return _strings(schema)
        case "integer":
            return st.integers(schema.get("minimum", -(2**63)), schema.get("maximum", 2**63 - 1))
        case "number":
            return _numbers(schema)
        case "boolean":
            return st.booleans()
        case other:
            raise AssertionError(other)


def _objects(schema: Json) -> st.SearchStrategy[Json]:
    fields = {name: documents(child) for name, child in schema["properties"].items()}
    required = set(schema.get("required", []))
    must = {name: field for name, field in fields.items() if name in required}
    return st.fixed_dictionaries(must, optional={name: field for name, field in fields.items() if name not in required})


def _strings(schema: Json) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda time: time.isoformat() + "Z")
    least, most = schema.get("minLength", 0), schema.get("maxLength", 50)
    if "pattern" not in schema:
        return st.text(st.characters(codec="utf-8"), min_size=least, max_size=min(most, 20))
    # The API server matches as Go does: classes such as \s are ASCII, and $ is the very end.
    drawn = st.from_regex(re.compile(schema["pattern"].removesuffix("$") + r"\Z", re.ASCII))
    return drawn.filter(lambda text: least <= len(text) <= most)


def _numbers(schema: Json) -> st.SearchStrategy[float]:
    low, high = schema.get("minimum", -1e300), schema.get("maximum", 1e300)
    closed = {"exclude_min": schema.get("exclusiveMinimum", False), "exclude_max": schema.get("exclusiveMaximum", False)}
    return st.floats(low, high, allow_nan=False, **closed) | st.integers(int(low), int(high)).filter(lambda n: low < n < high)


SPECS = {kind: structural(kind.spec, defaults=True) for kind in KINDS}
ADMITTED = {kind: documents(schema) for kind, schema in SPECS.items()}
STATUSES = {kind: documents(structural(kind.status, defaults=False)) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_every_spec_that_the_schema_admits_can_be_read(kind: Kind, data: st.DataObject):
    assert isinstance(kind.spec.model_validate(data.draw(ADMITTED[kind])), Resource)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_every_status_that_the_schema_admits_can_be_read_and_written_back(kind: Kind, data: st.DataObject):
    read = kind.status.model_validate(data.draw(STATUSES[kind]))
    written = read.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert kind.status.model_validate(written) == read


def filled(schema: Json, document: Any) -> Any:
    """A document with its defaults, as the API server fills them in."""
    if isinstance(document, dict) and "properties" in schema:
        fields: dict[str, Json] = schema["properties"]
        given_or_default = {name: document.get(name, child.get("default")) for name, child in fields.items()}
        return {name: filled(fields[name], value) for name, value in given_or_default.items() if value is not None}
    if isinstance(document, list) and "items" in schema:
        return [filled(schema["items"], item) for item in document]
    return document


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_the_api_server_and_the_operator_fill_in_the_same_defaults(kind: Kind, data: st.DataObject):
    document = data.draw(ADMITTED[kind])
    assert kind.spec.model_validate(filled(SPECS[kind], document)) == kind.spec.model_validate(document)


@given(name=st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=12))
def test_a_word_that_the_schema_does_not_have_is_refused_by_name(name: str):
    document = {"ray": {"dashboardURL": "http://h"}, "kafka": {"bootstrapServers": ["h:1"]}}
    if name in {field.alias for field in ModelSpec.model_fields.values()}:
        return
    with pytest.raises(ValidationError, match=name):
        ModelSpec.model_validate(document | {name: 1})
