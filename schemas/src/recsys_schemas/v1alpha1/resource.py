"""How a resource is written: camelCase JSON, frozen, its docstrings the words of `kubectl explain`."""

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic.alias_generators import to_camel


def camel(name: str) -> str:
    """The camelCase name, with Go's initialisms as the Kubernetes API conventions write them.

    >>> camel("storage_uri"), camel("dashboard_url"), camel("min_insync_replicas")
    ('storageURI', 'dashboardURL', 'minInsyncReplicas')
    """
    word = to_camel(name)
    for ending, initialism in (("Uri", "URI"), ("Url", "URL"), ("Id", "ID")):
        if word.endswith(ending):
            return word.removesuffix(ending) + initialism
    return word


class Resource(BaseModel):
    """A part of a resource; unknown fields are refused here and pruned by the API server."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=camel,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


Rule = tuple[str, str] | tuple[str, str, str]
"""A CEL expression, the words when it does not hold, and optionally a CEL expression for words that carry the values seen."""


def cel(*rules: Rule) -> dict[str, JsonValue]:
    """`json_schema_extra` with CEL rules."""
    return {"x-kubernetes-validations": [_printed(*rule) for rule in rules]}


def _printed(rule: str, message: str, seen: str = "") -> dict[str, JsonValue]:
    # The API server falls back to `message` when the expression fails; the reference manual prints it.
    printed: dict[str, JsonValue] = {"rule": rule, "message": message}
    return printed | ({"messageExpression": seen} if seen else {})


def list_map(key: str, *rules: Rule) -> dict[str, JsonValue]:
    """`json_schema_extra` of a list whose items are told apart by a key, with CEL rules on the whole."""
    extra: dict[str, JsonValue] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
    return extra | cel(*rules) if rules else extra
