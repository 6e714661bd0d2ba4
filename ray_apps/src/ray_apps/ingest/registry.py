"""A Confluent-compatible schema registry: fetches the schemas that records were written with, and keeps the reader's own in step.

A registry that does not answer is trouble, not a verdict: the session ends, is told, and begins again from the tables, so that
nothing is lost and no record is judged without its schema.
"""

import json
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import fastavro
from pydantic import BaseModel

from ray_apps.ingest.columns import events_of
from ray_apps.ingest.widening import RefusedError
from recsys_schemas.evolution import compatible
from recsys_schemas.train_job import IngestJob

if TYPE_CHECKING:
    from httpx import Response

_CALL_S, _DEADLINE_S, _PAUSE_S = 5.0, 20.0, 0.5
_MOST_SCHEMAS = 1000
_UNKNOWN_FOR_S = 60.0
_NOT_FOUND = 404
_CONFLICT = 409
_SERVER_ERROR = 500
_TYPES = {"string": ("string",), "integer": ("int", "long"), "number": ("int", "long", "float", "double"), "boolean": ("boolean",)}
Parsed = Any
"""fastavro's own form of a schema."""


class RegistryError(Exception):
    """The registry does not answer as it should; the message names the field, what was seen and the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterSchema:
    """A schema that records were written with."""

    avro: Parsed | None
    """None: JSON Schema, so the record is JSON."""


class SchemaRegistry:
    """Asks one registry. Not thread-safe."""

    def __init__(self, url: str, *, deadline_s: float = _DEADLINE_S) -> None:
        self._url = url.rstrip("/")
        self._deadline_s = deadline_s
        from httpx import Client, HTTPError  # noqa: PLC0415 — a tenth of the time to start, and most models have no registry

        self._client = Client(timeout=_CALL_S, trust_env=False, headers={"Accept": "application/vnd.schemaregistry.v1+json"})
        self._failures = (HTTPError, ValueError)
        self._known: OrderedDict[int, WriterSchema | float] = OrderedDict()

    def writer_schema(self, number: int) -> WriterSchema | None:
        """The schema of an id; None when the registry has none, which is asked again after a minute.

        Raises:
            RegistryError: the registry does not answer within 20 s, or with something else than a schema.
        """
        known = self._known.get(number)
        if isinstance(known, WriterSchema):
            self._known.move_to_end(number)
            return known
        if known is not None and time.monotonic() < known:
            return None
        answer = self._ask("GET", f"/schemas/ids/{number}")
        found = self._parsed(answer, f"schema {number}") if answer is not None else None
        self._known[number] = found or time.monotonic() + _UNKNOWN_FOR_S
        if len(self._known) > _MOST_SCHEMAS:
            self._known.popitem(last=False)
        return found

    def settle(self, topic: str, event: type[BaseModel]) -> None:
        """See that the reader can read what the topic's subject says is written; register the reader's schema where it only adds.

        Raises:
            RefusedError: it cannot: the message names the field.
            RegistryError: the registry does not answer.
        """
        subject, ours = f"{topic}-value", event.model_json_schema()
        latest = self._ask("GET", f"/subjects/{subject}/versions/latest")
        if latest is None:
            self._register(subject, ours, None)
            return
        if latest.get("schemaType", "AVRO") == "AVRO":
            theirs = cast("dict[str, Any]", json.loads(latest["schema"]))
            _check_avro(subject, theirs, ours)
            return
        theirs = cast("dict[str, Any]", json.loads(latest["schema"]))
        _check_json(subject, theirs, ours)
        if theirs != ours and set(theirs.get("properties", {})) <= set(ours["properties"]):
            self._register(subject, ours, theirs)

    def _register(self, subject: str, ours: dict[str, Any], theirs: dict[str, Any] | None) -> None:
        """Let the registry judge by its own compatibility level; a narrowing is refused before it is asked."""
        broken = compatible(theirs, ours) if theirs else []
        if broken:
            raise RefusedError("; ".join(f"schemaRegistryURL: {subject}{each}" for each in broken))
        body = {"schemaType": "JSON", "schema": json.dumps(ours)}
        answer = self._ask("POST", f"/subjects/{subject}/versions", body)
        if answer is None or "id" not in answer:
            raise RegistryError(f"schemaRegistryURL: {self._url} did not register {subject}: {str(answer)[:300]}")

    def _parsed(self, answer: dict[str, Any], what: str) -> WriterSchema:
        kind = answer.get("schemaType", "AVRO")
        try:
            if kind == "AVRO":
                return WriterSchema(avro=fastavro.parse_schema(json.loads(answer["schema"])))
            if kind == "JSON":
                return WriterSchema(avro=None)
        except Exception as error:
            raise RegistryError(f"schemaRegistryURL: {self._url} gave {what}, which cannot be parsed: {error}") from error
        raise RegistryError(f"schemaRegistryURL: {self._url} gave {what} of type {kind!r}; write AVRO or JSON")

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any] | None:
        """The answer, None for 404; tried again until the deadline while the registry is down."""
        deadline = time.monotonic() + self._deadline_s
        while True:
            try:
                answer = self._client.request(method, self._url + path, json=body)
                if answer.status_code < _SERVER_ERROR:
                    return _read(answer, f"{self._url}{path}")
                words = f"{answer.status_code} {answer.text[:200]}"
            except self._failures as error:
                words = f"{type(error).__name__}: {error}"
            if time.monotonic() + _PAUSE_S > deadline:
                raise RegistryError(f"schemaRegistryURL: {self._url} does not answer ({words}); ingest waits until it does")
            time.sleep(_PAUSE_S)


def settle_all(job: IngestJob) -> None:
    """Settle every topic of a job with its registry (see `SchemaRegistry.settle`)."""
    registry, events = SchemaRegistry(job.schema_registry_url or ""), events_of(job)
    for each in job.topics:
        registry.settle(each.topic, events[each.event_type])


def _read(answer: "Response", where: str) -> dict[str, Any] | None:
    if answer.status_code == _NOT_FOUND:
        return None
    told = answer.json()
    if answer.status_code == _CONFLICT:
        raise RefusedError(f"schemaRegistryURL: {where} refuses the schema of this model as not compatible: {str(told)[:500]}")
    if answer.is_error:
        raise RegistryError(f"schemaRegistryURL: {where} answers {answer.status_code} {str(told)[:300]}")
    return cast("dict[str, Any]", told)


def _check_json(subject: str, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    for name in ours.get("required", []):
        written = theirs.get("properties", {}).get(name)
        _check_field(subject, name, _json_types(written) if written else None, ours, _json_types(ours["properties"][name]))


def _check_avro(subject: str, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    written = {field["name"]: field["type"] for field in theirs.get("fields", [])}
    for name in ours.get("required", []):
        wanted = {kind for each in _json_types(ours["properties"][name]) for kind in _TYPES.get(each, ())}
        _check_field(subject, name, _avro_types(written[name]) if name in written else None, ours, wanted)


def _check_field(subject: str, name: str, seen: set[str] | None, ours: dict[str, Any], wanted: set[str]) -> None:
    if seen is None:
        words = f"{ours.get('title', 'the event')} needs it and the registered schema lacks it; write it"
        raise RefusedError(f"schemaRegistryURL: {subject}.{name}: {words}")
    if seen and not seen & wanted and not ("number" in wanted and "integer" in seen):
        words = f"{' or '.join(sorted(seen))} in the registered schema, {' or '.join(sorted(wanted))} needed"
        raise RefusedError(f"schemaRegistryURL: {subject}.{name}: {words}; write the needed type")


def _json_types(schema: dict[str, Any]) -> set[str]:
    """Types that a field may have; empty when it does not say."""
    choices = schema.get("anyOf", schema.get("oneOf", [schema]))
    found = [choice.get("type", []) for choice in choices]
    return {kind for each in found for kind in ([each] if isinstance(each, str) else each)}


def _avro_types(kind: object) -> set[str]:
    choices = cast("list[object]", kind) if isinstance(kind, list) else [kind]
    return {str(cast("dict[str, Any]", each)["type"]) if isinstance(each, dict) else str(each) for each in choices}
