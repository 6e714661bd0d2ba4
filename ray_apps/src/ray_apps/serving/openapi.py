"""The API's OpenAPI 3.1 description, generated from the schemas."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from recsys_schemas.serving_api import (
    BatchRequest,
    BatchResponse,
    EventsRequest,
    EventsResponse,
    EvidenceResponse,
    ModelResponse,
    PopularRequest,
    Problem,
    RecommendationRequest,
    RecommendationResponse,
    SessionRequest,
    SimilarItemsRequest,
)

Json = dict[str, Any]
_REF = "#/components/schemas/{model}"


def openapi() -> Json:
    """The whole description. Paths are relative to the model's route prefix."""
    requests: list[type[BaseModel]] = [RecommendationRequest, SessionRequest, SimilarItemsRequest, PopularRequest]
    requests += [BatchRequest, EventsRequest]
    answers: list[type[BaseModel]] = [RecommendationResponse, BatchResponse, EventsResponse, ModelResponse, EvidenceResponse, Problem]
    _, schemas = models_json_schema(
        [*((model, "validation") for model in requests), *((model, "serialization") for model in answers)], ref_template=_REF
    )
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
        "/v1/popular": _answering("popular", "What is liked most now.", PopularRequest),
        "/v1/batch": _answering("batch", "The best items for several users.", BatchRequest, BatchResponse),
        "/v1/events": {
            "post": _operation(
                "sendEvents",
                "Send events; answered when all in-sync replicas of Kafka have them. Repeats of an event_id are dropped. Token: writer.",
                _json(EventsResponse, "All events are on Kafka."),
                EventsRequest,
                (400, 401, 403, 413, 422, 503),
            )
        },
        "/v1/model": {
            "get": _operation(
                "model", "What the replica that answers serves. Tokens: any.", _json(ModelResponse, "Its state."), None, (401, 503)
            )
        },
        "/v1/evidence": {
            "get": _operation(
                "evidence",
                "Every replica's counters, by version. Token: operator.",
                _json(EvidenceResponse, "Every replica's last report."),
                None,
                (401, 403, 503),
            )
        },
        "/metrics": {
            "get": _operation("metrics", "This replica's Prometheus metrics. Token: operator.", _plain("text/plain"), None, (401, 403, 503))
        },
        "/openapi.json": {"get": _operation("description", "This description. Tokens: any.", _plain("application/json"), None, (401, 503))},
        "/docs": {"get": _operation("docs", "This description as a page. Tokens: any.", _plain("text/html"), None, (401, 503))},
        "/healthz": {"get": _open("healthz", "Whether the replica works. No token.")},
        "/readyz": {"get": _open("readyz", "Whether a version answers. No token.")},
    }


def _answering(name: str, summary: str, asked: type[BaseModel], answer: type[BaseModel] = RecommendationResponse) -> Json:
    told = _json(answer, "The best items, best first.")
    return {"post": _operation(name, f"{summary} Tokens: reader, writer.", told, asked, (400, 401, 403, 413, 422, 503))}


def _operation(name: str, summary: str, success: Json, request: type[BaseModel] | None, errors: tuple[int, ...]) -> Json:
    problem = {"description": "A problem.", "content": {"application/problem+json": {"schema": _ref(Problem)}}}
    operation: Json = {"operationId": name, "summary": summary, "responses": {"200": success} | {str(code): problem for code in errors}}
    if request is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(request)}}}
    return operation


def _open(name: str, summary: str) -> Json:
    return _operation(name, summary, _plain("application/json"), None, (503,)) | {"security": []}


def _json(model: type[BaseModel], description: str) -> Json:
    return {"description": description, "content": {"application/json": {"schema": _ref(model)}}}


def _plain(content_type: str) -> Json:
    return {"description": "The content.", "content": {content_type: {}}}


def _ref(model: type[BaseModel]) -> Json:
    return {"$ref": _REF.format(model=model.__name__)}
