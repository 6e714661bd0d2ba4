"""The API's OpenAPI 3.1 description, generated from the schemas."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from recsys_schemas.events import RateEvent, WatchEvent
from recsys_schemas.serving_api import (
    BatchRequest,
    BatchResponse,
    EventsRequest,
    EventsResponse,
    ItemResponse,
    ItemsRequest,
    ModelMetadata,
    ModelResponse,
    PopularRequest,
    PreferencesRequest,
    PreferencesResponse,
    Problem,
    RecommendationRequest,
    RecommendationResponse,
    ServerMetadata,
    SessionRequest,
    SimilarItemsRequest,
    SwitchRequest,
    SwitchResponse,
)
from recsys_schemas.serving_evidence import EvidenceResponse

Json = dict[str, Any]
EVENTS: Mapping[str, type[BaseModel]] = {"watch": WatchEvent, "rate": RateEvent}
_REF = "#/components/schemas/{model}"


def openapi() -> Json:
    """The whole description. Paths are relative to the model's route prefix."""
    requests: list[type[BaseModel]] = [RecommendationRequest, SessionRequest, SimilarItemsRequest, PopularRequest]
    requests += [BatchRequest, EventsRequest, PreferencesRequest, ItemsRequest, SwitchRequest, *EVENTS.values()]
    answers: list[type[BaseModel]] = [RecommendationResponse, BatchResponse, EventsResponse, PreferencesResponse, ItemResponse]
    answers += [ModelResponse, EvidenceResponse, ServerMetadata, ModelMetadata, SwitchResponse, Problem]
    _, schemas = models_json_schema(
        [*((model, "validation") for model in requests), *((model, "serialization") for model in answers)], ref_template=_REF
    )
    _detail_events(schemas["$defs"])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Recommendations",
            "version": "1",
            "description": "Recommendations for one model. A bearer token opens every endpoint but health; errors are RFC 9457 problems.",
        },
        "servers": [{"url": "."}],
        "security": [{"bearer": []}],
        "paths": _paths(),
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths() -> Json:
    return {
        "/v1/recommendations": _answering("recommend", "The best items for one user.", RecommendationRequest),
        "/v1/sessions": _answering("session", "The best items for somebody unknown, by the items of the session.", SessionRequest),
        "/v1/similar-items": _answering("similarItems", "What is liked by those who like an item.", SimilarItemsRequest),
        "/v1/popular": _answering("popular", "What is liked these days.", PopularRequest),
        "/v1/batch": _answering("batch", "The best items for several users.", BatchRequest, BatchResponse),
        "/v1/events": {
            "post": _operation(
                "sendEvents",
                "Send events; answered when all in-sync replicas of Kafka have them. Repeats of an event_id are dropped. Token: writer.",
                _json(EventsResponse, "All events are on Kafka."),
                EventsRequest,
                _ASKED,
            )
        },
        "/v1/users/{user_id}/preferences": _named("user_id", _preferences()),
        "/v1/items": {
            "post": _operation(
                "sayItems",
                "Say what is known of items now, in the place of the catalogue's file: new ones may be shown from then on. Token: writer.",
                _json(EventsResponse, "All records are on Kafka."),
                ItemsRequest,
                (*_ASKED, 404),
            )
        },
        "/v1/items/{item_id}": _named("item_id", _item()),
        "/v1/model": {
            "get": _operation(
                "model", "What the replica that answers serves. Tokens: any.", _json(ModelResponse, "Its state."), None, _OPEN
            )
        },
        "/v1/model:switch": {"post": _switch()},
        "/v1/evidence": {
            "get": _operation(
                "evidence",
                "Every replica's counters, by version. Tokens: admin, operator.",
                _json(EvidenceResponse, "Every replica's last report."),
                None,
                _OPEN,
            )
        },
        "/metrics": {
            "get": _operation(
                "metrics", "This replica's Prometheus metrics. Tokens: admin, metrics, operator.", _plain("text/plain"), None, _OPEN
            )
        },
        "/openapi.json": {"get": _operation("description", "This description. Tokens: any.", _plain("application/json"), None, _OPEN)},
        "/docs": {"get": _operation("docs", "This description as a page. Tokens: any.", _plain("text/html"), None, _OPEN)},
        "/v2": {
            "get": _operation(
                "server", "Who answers (Open Inference Protocol). Tokens: any.", _json(ServerMetadata, "The server."), None, _OPEN
            )
        },
        "/v2/models/{name}": _named("name", {"get": _metadata("modelMetadata", "What answers")}),
        "/v2/models/{name}/versions/{version}": _named("name", _named("version", {"get": _metadata("versionMetadata", "One version")})),
        "/v2/health/live": {"get": _open("live", "Whether the replica works (Open Inference Protocol). No token.")},
        "/v2/health/ready": {"get": _open("ready", "Whether a version answers (Open Inference Protocol). No token.")},
        "/healthz": {"get": _open("healthz", "Whether the replica works. No token.")},
        "/readyz": {"get": _open("readyz", "Whether a version answers. No token.")},
    }


def _detail_events(schemas: Json) -> None:
    """Events are validated by the schema that their type names; say so."""
    plain = schemas["EventsRequest"]["properties"]["events"]
    schemas["EventsRequest"]["oneOf"] = [
        {"properties": {"event_type": {"const": name}, "events": {"type": "array", "items": _ref(event)}}} for name, event in EVENTS.items()
    ]
    schemas["EventsRequest"]["properties"]["events"] = plain | {"items": {"type": "object"}}
    for event in EVENTS.values():
        # A field of the model's own: any scalar.
        schemas[event.__name__]["additionalProperties"] = {"type": ["string", "boolean", "integer", "number", "null"]}


_OPEN = (401, 403, 405, 429, 503)
"""Problems of every route with a token."""
_ASKED = (400, 413, 415, 422, *_OPEN)
"""Problems of every route with a body."""


def _preferences() -> Json:
    told = _json(PreferencesResponse, "What the user has said.")
    none = (*_OPEN, 404, 422)
    return {
        "get": _operation("preferences", "What a user has said they like. Tokens: reader, tester, writer.", told, None, none),
        "post": _operation(
            "sayPreferences",
            "Say what a user likes, in the place of what was said before; answers go by it until deeds are known. Token: writer.",
            told,
            PreferencesRequest,
            (*_ASKED, 404),
        ),
        "delete": _operation(
            "forgetPreferences", "Take back what a user has said. Token: writer.", _json(EventsResponse, "It is on Kafka."), None, none
        ),
    }


def _item() -> Json:
    told, none = _json(ItemResponse, "The record."), (*_OPEN, 404, 422)
    return {
        "get": _operation("item", "What the live record says of an item. Tokens: reader, tester, writer.", told, None, none),
        "delete": _operation("withdrawItem", "Show an item no more. Token: writer.", _json(EventsResponse, "It is on Kafka."), None, none),
    }


def _switch() -> Json:
    told = "Ask that a version which served before, and is loaded still, serves all users; the operator does it once. Token: admin."
    asked = _operation("switchModel", told, _json(SwitchResponse, "It serves already."), SwitchRequest, (*_ASKED, 409))
    asked["responses"]["202"] = _json(SwitchResponse, "Asked: the operator takes it up with its next look.")
    return asked


def _metadata(name: str, what: str) -> Json:
    told = _json(ModelMetadata, "The model.")
    return _operation(name, f"{what} (Open Inference Protocol). Tokens: any.", told, None, (*_OPEN, 404))


def _named(name: str, operations: Json) -> Json:
    """A path with an id in it."""
    what = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^[^\x00-\x1f\x7f]+$"}
    before = operations.get("parameters", [])
    return {**operations, "parameters": [{"name": name, "in": "path", "required": True, "schema": what}, *before]}


def _answering(name: str, summary: str, asked: type[BaseModel], answer: type[BaseModel] = RecommendationResponse) -> Json:
    told = _json(answer, "The best items, best first.")
    return {"post": _operation(name, f"{summary} Tokens: reader, tester, writer.", told, asked, _ASKED)}


def _operation(name: str, summary: str, success: Json, request: type[BaseModel] | None, errors: tuple[int, ...]) -> Json:
    problem = {"description": "A problem.", "content": {"application/problem+json": {"schema": _ref(Problem)}}}
    operation: Json = {"operationId": name, "summary": summary, "responses": {"200": success} | {str(code): problem for code in errors}}
    if request is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(request)}}}
    return operation


def _open(name: str, summary: str) -> Json:
    return _operation(name, summary, _plain("application/json"), None, (405, 503)) | {"security": []}


def _json(model: type[BaseModel], description: str) -> Json:
    return {"description": description, "content": {"application/json": {"schema": _ref(model)}}}


def _plain(content_type: str) -> Json:
    return {"description": "The content.", "content": {content_type: {}}}


def _ref(model: type[BaseModel]) -> Json:
    return {"$ref": _REF.format(model=model.__name__)}
