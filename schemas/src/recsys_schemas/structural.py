"""A pydantic model's JSON Schema as the structural schema that a CustomResourceDefinition accepts.

Structural schemas are OpenAPI 3.0 with further limits (Kubernetes documentation, "Specifying a structural schema"): every
node has one type, nothing is referenced, unions are not expressible. What cannot be said is refused with its path, never
passed on in silence.
"""

from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

Schema = dict[str, Any]

KEPT = (
    "description",
    "type",
    "format",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
)
SCALARS = ("string", "integer", "number", "boolean")
EXTENSION = "x-kubernetes-"
RULES = "x-kubernetes-validations"
KNOWN = {
    *KEPT,
    *("default", "properties", "items", "additionalProperties", "const", "uniqueItems", "exclusiveMinimum", "exclusiveMaximum"),
    *("title", "examples", "deprecated", "$defs"),  # words that the CRD has no place for
}


class NotStructural(ValueError):  # noqa: N818 - it is the name of what the schema is
    """A part of a model that a CustomResourceDefinition cannot express."""

    def __init__(self, path: str, seen: str, mend: str) -> None:
        """Name the path, what stands there and what to write instead."""
        super().__init__(f"{path or '.'}: {seen}; {mend}")
        self.path = path


class _WithFactories(GenerateJsonSchema):
    """Print also the defaults that a `default_factory` makes: the API server fills them in as pydantic does."""

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> Any:
        """Return the default, made by its factory where it has one."""
        if "default_factory" in schema and not schema.get("default_factory_takes_data"):
            return cast("Any", schema["default_factory"])()
        return super().get_default_value(schema)

    def encode_default(self, dft: Any) -> Any:
        """Return an object's default without what its own fields default to, a list's in full."""
        if isinstance(dft, BaseModel):
            return dft.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_none=True)
        if isinstance(dft, list):
            return [_whole(item) for item in cast("list[object]", dft)]
        return super().encode_default(dft)


def _whole(value: object) -> object:
    return value.model_dump(mode="json", by_alias=True, exclude_none=True) if isinstance(value, BaseModel) else value


def structural(model: type[BaseModel], *, defaults: bool) -> Schema:
    """Return the structural schema of a model.

    Args:
        model: the pydantic model; its aliases are the field names.
        defaults: print defaults (a spec), or leave them out (a status, whose writer states every field).

    Raises:
        NotStructural: naming the path of a union, tuple, recursion or an unknown keyword.
    """
    schema = model.model_json_schema(by_alias=True, schema_generator=_WithFactories)
    return _Printer(schema.get("$defs", {}), defaults=defaults).node(schema, "", ())


class _Printer:
    """Walk one JSON Schema; `defs` are what its references name."""

    def __init__(self, defs: Mapping[str, Schema], *, defaults: bool) -> None:
        self._defs = defs
        self._defaults = defaults

    def node(self, schema: Schema, path: str, within: tuple[str, ...]) -> Schema:
        schema, within = self._inlined(schema, path, within)
        self._refuse(schema, path)
        out: Schema = {word: schema[word] for word in KEPT if word in schema}
        if "const" in schema:
            out["enum"] = [schema["const"]]
            out.setdefault("type", _type_of(schema["const"]))
        for side in ("minimum", "maximum"):
            exclusive = f"exclusive{side.capitalize()}"
            if exclusive in schema:
                out |= {side: schema[exclusive], exclusive: True}
        if schema.get("uniqueItems"):
            out["x-kubernetes-list-type"] = "set"
        if self._defaults and schema.get("default") is not None:
            out["default"] = schema["default"]
        self._children(schema, out, path, within)
        out |= {word: value for word, value in schema.items() if word.startswith(EXTENSION)}
        return {word: _plain_number(value) for word, value in out.items()}

    def _children(self, schema: Schema, out: Schema, path: str, within: tuple[str, ...]) -> None:
        if "items" in schema:
            out["items"] = self.node(schema["items"], f"{path}[]", within)
        if "properties" in schema:
            # `additionalProperties: false` may not stand beside `properties`: unknown fields are pruned instead.
            out["properties"] = {name: self.node(child, f"{path}.{name}", within) for name, child in schema["properties"].items()}
        elif schema.get("type") == "object":
            values = schema.get("additionalProperties", True)
            if isinstance(values, dict):
                out["additionalProperties"] = self.node(cast("Schema", values), f"{path}.*", within)
            elif values:
                out["x-kubernetes-preserve-unknown-fields"] = True

    def _inlined(self, schema: Schema, path: str, within: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """Return the schema without `$ref` and without null: the field's own words win, rules of both hold."""
        while "$ref" in schema or "anyOf" in schema:
            if "anyOf" in schema:
                inner = _without_null(schema["anyOf"], path)
            else:
                name = str(schema["$ref"]).removeprefix("#/$defs/")
                if name in within:
                    raise NotStructural(path, f"{name} contains itself", "bound the depth with a type for each level")
                within = (*within, name)
                inner = self._defs[name]
            own = {word: value for word, value in schema.items() if word not in ("$ref", "anyOf")}
            rules = [*inner.get(RULES, []), *own.get(RULES, [])]
            schema = inner | own | ({RULES: rules} if rules else {})
        return schema, within

    def _refuse(self, schema: Schema, path: str) -> None:
        for union in ("oneOf", "allOf", "discriminator"):
            if union in schema:
                raise NotStructural(path, "a union", "give each choice a field of its own and a CEL rule that exactly one is set")
        if "prefixItems" in schema:
            raise NotStructural(path, "a tuple", "use an object with a field for each place")
        if "patternProperties" in schema or "propertyNames" in schema:
            raise NotStructural(path, "keys with a pattern", "use plain keys, or a list with list-type map")
        for word in schema:
            if word not in KNOWN and not word.startswith(EXTENSION):
                raise NotStructural(path, f"the keyword {word}", "say it in CEL")
        if "type" not in schema and "const" not in schema and "x-kubernetes-preserve-unknown-fields" not in schema:
            raise NotStructural(path, "no type", "annotate the field with one type")
        kind = schema.get("type")
        if kind == "array" and "items" not in schema:
            raise NotStructural(path, "a list of anything", "annotate its items")
        if not isinstance(kind, str | None) or kind not in (*SCALARS, "object", "array", None):
            raise NotStructural(path, f"the type {kind}", "use string, integer, number, boolean, object or array")


def _without_null(choices: list[Schema], path: str) -> Schema:
    """Return the one choice beside null.

    The result is not `nullable`: an optional field is absent or set, so that `has()` in CEL asks one question only.
    """
    others = [choice for choice in choices if choice.get("type") != "null"]
    if len(others) != 1:
        raise NotStructural(path, "a union", "give each choice a field of its own and a CEL rule that exactly one is set")
    return others[0]


def _type_of(value: str | bool | float) -> str:
    return {str: "string", bool: "boolean", int: "integer", float: "number"}[type(value)]


def _plain_number(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value
