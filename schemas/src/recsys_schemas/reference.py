"""The reference manual: every field, limit and rule in Markdown, from the same schemas that the API server enforces."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from pydantic import BaseModel

from recsys_schemas import events, metric_names, serving_api, serving_evidence
from recsys_schemas.kinds import Kind, open_api
from recsys_schemas.structural import RULES, Schema
from recsys_schemas.v1alpha1 import API_VERSION

LIMITS = (
    ("minimum", "≥ {}"),
    ("maximum", "≤ {}"),
    ("exclusiveMinimum", "> {}"),
    ("exclusiveMaximum", "< {}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
    ("pattern", "matches `{}`"),
)
ANSWERS: tuple[type[BaseModel], ...] = (
    serving_api.RecommendationRequest,
    serving_api.RecommendationResponse,
    serving_api.EventsRequest,
    serving_api.EventsResponse,
    serving_evidence.EvidenceResponse,
    serving_api.ModelResponse,
    serving_api.Problem,
)


def kind_page(kind: Kind) -> str:
    """The page of one kind: how kubectl names it, its fields, what holds between them."""
    schema = open_api(kind)
    spec, status = schema["properties"]["spec"], schema["properties"]["status"]
    lines = [
        f"# {kind.name}",
        "",
        schema["description"],
        "",
        f"`{API_VERSION}`, namespaced. `kubectl get {kind.short}`, `kubectl get {kind.plural}`, or all kinds: `kubectl get recsys`.",
        f"The same words on your terminal: `kubectl explain {kind.short}.spec --recursive`.",
    ]
    if kind.selectable:
        lines += ["", "Field selectors: " + ", ".join(f"`{path.removeprefix('.')}`" for path in kind.selectable) + "."]
    lines += ["", "## Spec", "", *_table(_walk(spec, "spec"))]
    lines += ["", "## Rules", "", "The API server refuses an object that breaks one of these, with these words:", ""]
    lines += [f"- `{path or 'object'}`: {rule['message']}." for path, rule in _rules(schema, "")]
    lines += ["", "## Status", "", "Written by the operator alone, through the `status` subresource.", "", *_table(_walk(status, "status"))]
    return "\n".join(lines) + "\n"


def events_page() -> str:
    """The page of the events on Kafka."""
    lines = [
        "# Events",
        "",
        "Every record's value is one JSON object in UTF-8; its key is the `user_id` (of items the `item_id`), so that their order is kept.",
        "Fields that are not named here are allowed and ignored: schemas evolve by adding.",
        "JSON Schemas to validate with: `schemas/events/`.",
    ]
    models = (
        events.WatchEvent,
        events.RateEvent,
        events.PreferenceEvent,
        events.ItemEvent,
        events.AuditEvent,
        events.RequestEvent,
        events.ResponseEvent,
        events.DeadLetter,
    )
    return "\n".join([*lines, *_sections(models)]) + "\n"


def serving_page() -> str:
    """The page of the serving API's messages."""
    lines = [
        "# Serving API",
        "",
        "JSON over HTTP below `spec.serving.routePrefix`, with `Authorization: Bearer <token>`. Paths, status codes and examples:",
        "`schemas/openapi.json`. Every error answer is a Problem (RFC 9457).",
    ]
    return "\n".join([*lines, *_sections(ANSWERS)]) + "\n"


def metrics_page() -> str:
    """The page of the Prometheus metrics."""
    lines = ["# Metrics", "", "Dashboards and alerts use these names only. How they reach Prometheus: `docs/guides/alerts.md`.", ""]
    for source, where in _EXPORTED_BY.items():
        lines += [f"## {source.capitalize()}", "", where, ""]
        lines += ["| name | kind | unit | labels | meaning |", "|---|---|---|---|---|"]
        lines += [
            f"| `{metric.name}` | {metric.kind} | {metric.unit} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.help} |"
            for metric in metric_names.ALL
            if metric.source == source
        ]
        lines.append("")
    return "\n".join(lines)


_EXPORTED_BY: dict[metric_names.Source, str] = {
    "operator": "At `/metrics` of the operator's leader. They are there also while ingest is dead, and go when the model is deleted.",
    "ingest": "By the Ray agent of each node, as `ray_recsys_...` with Ray's own labels; counted from 0 by each process.",
    "serving": "At `/metrics` below the model's route prefix.",
}


Row = tuple[str, Schema, bool]


def _walk(schema: Schema, path: str) -> Iterator[Row]:
    """Every field below an object, parents before children, with its path and whether it must be given."""
    required = schema.get("required", [])
    for name, child in cast("dict[str, Schema]", schema.get("properties", {})).items():
        here = f"{path}.{name}"
        yield here, child, name in required
        yield from _walk(child, here)
        if "items" in child:
            yield from _walk(child["items"], f"{here}[]")


def _rules(schema: Schema, path: str) -> Iterator[tuple[str, Mapping[str, str]]]:
    for rule in schema.get(RULES, []):
        yield path, rule
    for name, child in cast("dict[str, Schema]", schema.get("properties", {})).items():
        yield from _rules(child, f"{path}.{name}".removeprefix("."))
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")


def _table(rows: Iterable[Row]) -> list[str]:
    lines = ["| field | type | default | limits | meaning |", "|---|---|---|---|---|"]
    for path, schema, required in rows:
        default = "required" if required else f"`{json.dumps(schema['default'])}`" if _has_default(schema) else ""
        lines.append(_row(f"`{path}`", _type(schema), default, _limits(schema), _words(schema)))
    return lines


def _has_default(schema: Schema) -> bool:
    """Whether the default fits a cell: a list of objects is told in the field's own words."""
    default = schema.get("default")
    return default is not None and default != {} and "object" not in _type(schema)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _words(schema: Schema) -> str:
    return " ".join(str(schema.get("description", "")).split())


def _type(schema: Schema) -> str:
    """One or a few words for the type: `string`, `list of integer`, `map of number`, the name of an object."""
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix("#/$defs/")
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(choice) for choice in schema["anyOf"] if choice.get("type") != "null")
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    values = schema.get("additionalProperties")
    if schema.get("type") == "object" and isinstance(values, dict):
        return f"map of {_type(cast('Schema', values))}"
    word = str(schema.get("format") or schema.get("type", "any"))
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    return ", ".join(f"`{choice}`" for choice in choices) if choices else word


def _limits(schema: Schema) -> str:
    """Limits in words; exclusive ones as OpenAPI 3.0 has them (a flag) or as JSON Schema has them (a number)."""
    schema = _single(schema)
    said: list[str] = []
    for word, sentence in LIMITS:
        if word not in schema or isinstance(schema[word], bool):
            continue
        exclusive = schema.get(f"exclusive{word.capitalize()}") is True
        said.append(sentence.replace("≥", ">").replace("≤", "<").format(schema[word]) if exclusive else sentence.format(schema[word]))
    if schema.get("type") == "array" and (of := _limits(schema["items"])):
        said.append(f"each {of}")
    return ", ".join(said)


def _single(schema: Schema) -> Schema:
    choices = [choice for choice in schema.get("anyOf", []) if choice.get("type") != "null"]
    return choices[0] if len(choices) == 1 else schema


def _sections(models: Iterable[type[BaseModel]]) -> Iterator[str]:
    """A section for each model and for each object that it is made of, each once."""
    seen: dict[str, Schema] = {}
    for model in models:
        schema: dict[str, Any] = model.model_json_schema()
        parts = schema.pop("$defs", {})
        for name, part in {model.__name__: schema, **parts}.items():
            seen.setdefault(name, part)
    for name, part in seen.items():
        yield from ("", f"## {name}", "", _words(part))
        if "properties" in part:
            rows = ((field, child, field in part.get("required", [])) for field, child in part["properties"].items())
            yield from ("", *_table(rows))
        elif "enum" in part:
            yield from ("", f"One of {_type(part)}.")
