"""The serving API: a raw ASGI application, because the hot path is one JSON in, one JSON out."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from ray_apps.serving import access, asgi
from ray_apps.serving.answer_log import Logged
from ray_apps.serving.answering import Answer
from ray_apps.serving.asgi import Receive, Scope, Send
from ray_apps.serving.counters import group_of
from ray_apps.serving.docs_page import page
from ray_apps.serving.event_route import accept_events
from ray_apps.serving.fallback import Chain, answer
from ray_apps.serving.feedback import NO_VERSION
from ray_apps.serving.model_route import model_state
from ray_apps.serving.openapi import openapi
from ray_apps.serving.problems import ProblemError, unavailable, unfit
from ray_apps.serving.questions import Question, of_all, of_item, of_session, of_user
from ray_apps.serving.replica import Evidence, Replica
from ray_apps.serving.request_ids import new_id
from ray_apps.serving.ripening import Shown
from ray_apps.serving.shedding import Shedding, Watch
from recsys_schemas.serving_api import (
    BatchRequest,
    EvidenceResponse,
    PopularRequest,
    RecommendationRequest,
    Role,
    ServingRecord,
    SessionRequest,
    SimilarItemsRequest,
    Variant,
)

RETRY_SECONDS = 2
"""Retry-After while versions load."""

_BULK = "/v1/batch"
"""What is refused first when there is more load than can be borne."""
_SHED = frozenset({"/v1/recommendations", "/v1/sessions", "/v1/similar-items", "/v1/popular"})
"""What is refused then as far as it must be. Events are not: they are what somebody did."""
SHED_SECONDS = 1
"""Retry-After of what was refused for load."""

_CLIENT = "recsys.client"
"""Where a request keeps the name of its client."""

logger = logging.getLogger(__name__)
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]
Asked = TypeVar("Asked", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one path."""

    method: str
    handler: Handler
    roles: frozenset[Role] | None


class Api:
    """Answers HTTP for one replica. Every error is problem+json; only the process's own faults are 5xx."""

    def __init__(self, replica: Replica, evidence: Evidence) -> None:
        self._replica = replica
        self._evidence = evidence
        self._openapi = msgspec.json.encode(openapi())
        self._page = page(openapi())
        asked = replica.arguments
        self._chain = Chain(timeout_ms=asked.timeout_ms, steps=asked.fallback)
        self._shedding = Shedding(asked.queue_ms)
        self._watch = Watch(self._shedding)
        self._known = access.Known()
        self._routes = {
            "/v1/recommendations": Route(method="POST", handler=self._answering(RecommendationRequest, of_user), roles=access.READ),
            "/v1/sessions": Route(method="POST", handler=self._answering(SessionRequest, of_session), roles=access.READ),
            "/v1/similar-items": Route(method="POST", handler=self._answering(SimilarItemsRequest, of_item), roles=access.READ),
            "/v1/popular": Route(method="POST", handler=self._answering(PopularRequest, of_all), roles=access.READ),
            "/v1/batch": Route(method="POST", handler=self._batch, roles=access.READ),
            "/v1/events": Route(method="POST", handler=self._events, roles=access.WRITE),
            "/v1/model": Route(method="GET", handler=self._model, roles=access.ANY),
            "/v1/evidence": Route(method="GET", handler=self._all_reports, roles=access.OPERATE),
            "/metrics": Route(method="GET", handler=self._metrics, roles=access.MEASURE),
            "/openapi.json": Route(method="GET", handler=self._description, roles=access.ANY),
            "/docs": Route(method="GET", handler=self._docs, roles=access.ANY),
            "/healthz": Route(method="GET", handler=self._healthz, roles=None),
            "/readyz": Route(method="GET", handler=self._readyz, roles=None),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        try:
            handler = self._route(scope)
            await handler(scope, receive, send)
        except ProblemError as error:
            await asgi.send_problem(send, error)
        except asgi.Disconnected:
            return
        except Exception:
            logger.exception("request failed", extra={"event": "RequestFailed", "path": scope["path"]})
            detail = "the replica failed; its log has the trace. Try again"
            await asgi.send_problem(send, ProblemError(500, "Internal Server Error", detail))

    def _route(self, scope: Scope) -> Handler:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        route = self._routes.get(path)
        if route is None:
            raise ProblemError(404, "Not Found", f"path: {path!r} is not there; see /openapi.json for what is", field="path")
        if route.roles is not None:
            tokens = self._replica.tokens()
            if tokens is None:
                raise unavailable(self._waiting(None), RETRY_SECONDS)
            client = self._known.client(asgi.header(scope, b"authorization"), tokens, self._replica.bearers)
            access.check(client, route.roles)
            scope[_CLIENT] = client.name
            self._limit(client.name, 1.0)
            self._shed(path)
        if scope["method"] != route.method:
            detail = f"method: saw {scope['method']}; use {route.method}"
            raise ProblemError(405, "Method Not Allowed", detail, field="method", headers={"Allow": route.method})
        return route.handler

    def _shed(self, path: str) -> None:
        """Refuse load that cannot be borne.

        Raises:
            ProblemError: 429 with Retry-After.
        """
        if not self._watch.started:
            self._watch.start()
        if not (self._shedding.refuses_bulk if path == _BULK else path in _SHED and self._shedding.refuses()):
            return
        self._replica.metrics.shed += 1
        detail = f"this replica has more to do than it can within spec.serving.queueMilliseconds; ask again in {SHED_SECONDS} s"
        raise ProblemError(429, "Too Many Requests", detail, headers={"Retry-After": str(SHED_SECONDS)})

    def _limit(self, client: str, cost: float) -> None:
        limits = self._replica.limits
        seconds = limits.wait(client, time.monotonic(), cost) if limits else 0.0
        if seconds:
            detail = f"{client} asks more often than spec.serving.access.rateLimit allows; ask again in {seconds:.1f} s"
            raise ProblemError(429, "Too Many Requests", detail, headers={"Retry-After": str(math.ceil(seconds))})

    def _answering(self, schema: type[Asked], question_of: Callable[[Asked], Question]) -> Handler:
        """A handler of one sort of question."""

        async def handler(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                request = schema.model_validate_json(await asgi.read_body(scope, receive), strict=True)
            except ValidationError as error:
                raise unfit(error) from None
            body, told = await self._answer(question_of(request))
            await asgi.send_bytes(send, 200, body)
            told()

        return handler

    async def _batch(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            asked = BatchRequest.model_validate_json(await asgi.read_body(scope, receive), strict=True)
        except ValidationError as error:
            raise unfit(error) from None
        self._limit(scope[_CLIENT], len(asked.requests) - 1.0)
        bodies: list[msgspec.Raw] = []
        for request in asked.requests:
            body, told = await self._answer(of_user(request))
            told()
            bodies.append(msgspec.Raw(body))
            await asyncio.sleep(0)  # others have their turn between two users
        await asgi.send_bytes(send, 200, asgi.encode({"answers": bodies}))

    async def _answer(self, question: Question) -> tuple[bytes, Callable[[], None]]:
        """One answer as JSON, and what is left to do once it is sent: to count it and to log it."""
        started = time.perf_counter()
        asked_at = time.time_ns() // 1_000_000
        replica, who = self._replica, question.who
        serving = replica.arms.serving
        answered = await answer(serving, question, replica.tallies, self._chain) if serving else None
        if answered is None:
            raise unavailable(self._waiting(serving.record if serving else None), RETRY_SECONDS)
        credited = NO_VERSION if answered.variant is Variant.FALLBACK or not question.counted else answered.version
        shown = Shown(credited, answered.stratum, group_of(who))
        shown_at = int(time.time()) if credited == NO_VERSION else replica.ripening.shown(shown)
        request_id = new_id(replica.id_key, credited, who, shown_at, answered.stratum)
        items = asgi.encode([{"item_id": item, "score": score, "propensity": 1.0} for item, score in answered.items])

        def told() -> None:
            milliseconds = (time.perf_counter() - started) * 1000
            replica.metrics.count(answered.variant, answered.reason, 200, milliseconds)
            replica.log.log(
                Logged(
                    request_id=request_id,
                    user_id=who,
                    k=question.k,
                    asked_at=asked_at,
                    answered_at=asked_at + int(milliseconds),
                    model_version=answered.version,
                    variant=answered.variant,
                    reason=answered.reason,
                    items=items,
                    epoch=answered.epoch,
                    latency_ms=milliseconds,
                )
            )

        return _body(request_id, who, answered, items), told

    async def _events(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await accept_events(self._replica, await asgi.read_body(scope, receive))
        await asgi.send_bytes(send, 200, body)

    async def _model(self, _: Scope, __: Receive, send: Send) -> None:
        await asgi.send_bytes(send, 200, model_state(self._replica).model_dump_json().encode())

    async def _all_reports(self, _: Scope, __: Receive, send: Send) -> None:
        try:
            evidence: EvidenceResponse = await self._evidence()
        except Exception as error:  # whatever Ray raises: a part of the evidence would look like less of it
            raise unavailable(f"evidence: the board does not answer ({type(error).__name__}); ask again", RETRY_SECONDS) from error
        await asgi.send_bytes(send, 200, evidence.model_dump_json().encode())

    async def _metrics(self, _: Scope, __: Receive, send: Send) -> None:
        self._replica.metrics.dropped = self._replica.log.dropped
        await asgi.send_bytes(send, 200, self._replica.metrics.text(), b"text/plain; version=0.0.4; charset=utf-8")

    async def _description(self, _: Scope, __: Receive, send: Send) -> None:
        await asgi.send_bytes(send, 200, self._openapi)

    async def _docs(self, _: Scope, __: Receive, send: Send) -> None:
        await asgi.send_bytes(send, 200, self._page, b"text/html; charset=utf-8")

    async def _healthz(self, _: Scope, __: Receive, send: Send) -> None:
        ill = self._replica.ill()
        if ill:
            raise unavailable(ill, RETRY_SECONDS)
        await asgi.send_bytes(send, 200, b'{"status":"ok"}')

    async def _readyz(self, _: Scope, __: Receive, send: Send) -> None:
        serving = self._replica.arms.serving
        if serving is None or serving.stable is None:
            raise unavailable(self._waiting(serving.record if serving else None), RETRY_SECONDS)
        await asgi.send_bytes(send, 200, b'{"status":"ready"}')

    def _waiting(self, served: ServingRecord | None) -> str:
        """Why no version answers."""
        arms = self._replica.arms
        if arms.refused_record and arms.wanted is None:
            return f"user_config was refused: {arms.refused_record}"
        if arms.wanted is None:
            return "no serving record has come yet; ask again"
        if served is not None and not arms.wanted.arms:
            return "the model has no version yet; ask again when one has been trained"
        refused = "; ".join(f"{version}: {why}" for version, why in arms.refused().items())
        return f"the stable version is being loaded; ask again{f' (refused: {refused})' if refused else ''}"

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message: Any = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                self._replica.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _body(request_id: str, user_id: str, answered: Answer, items: bytes) -> bytes:
    """RecommendationResponse as JSON; the items are encoded once, for the answer and for the log."""
    return asgi.encode(
        {
            "request_id": request_id,
            "user_id": user_id,
            "items": msgspec.Raw(items),
            "model_version": answered.version,
            "variant": answered.variant,
            "reason": answered.reason,
        }
    )
