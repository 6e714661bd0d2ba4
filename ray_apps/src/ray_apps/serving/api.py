"""The serving API: a raw ASGI application, because the hot path is one JSON in, one JSON out."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ValidationError

from ray_apps.serving import access, asgi, inference_protocol
from ray_apps.serving.answer_log import Logged
from ray_apps.serving.answering import Answer
from ray_apps.serving.arms import Serving
from ray_apps.serving.asgi import Receive, Scope, Send
from ray_apps.serving.asked import Asker, answer_asked
from ray_apps.serving.assignment import point_of
from ray_apps.serving.auditing import Audit
from ray_apps.serving.counters import group_of
from ray_apps.serving.docs_page import page
from ray_apps.serving.event_route import accept_events
from ray_apps.serving.fallback import Chain
from ray_apps.serving.feedback import NO_VERSION
from ray_apps.serving.handling import Handler, Route
from ray_apps.serving.mixing import answer_by_all
from ray_apps.serving.model_route import model_state
from ray_apps.serving.openapi import openapi
from ray_apps.serving.problems import ProblemError, unavailable, unfit
from ray_apps.serving.questions import Question, of_all, of_item, of_session, of_user
from ray_apps.serving.replica import Evidence, Replica
from ray_apps.serving.request_ids import new_id
from ray_apps.serving.ripening import Shown
from ray_apps.serving.shadowing import Copy
from ray_apps.serving.shedding import Shedding, Watch
from ray_apps.serving.shelf import UnknownFieldError
from ray_apps.serving.switch_route import switch
from ray_apps.serving.told_routes import forget_preferences, item_of, preferences_of, say_items, say_preferences, withdraw_item
from recsys_schemas.serving_api import BatchRequest, PopularRequest, RecommendationRequest, SessionRequest, SimilarItemsRequest
from recsys_schemas.serving_evidence import EvidenceResponse
from recsys_schemas.serving_record import Role, ServingRecord, Variant

RETRY_SECONDS = 2
"""Retry-After while versions load."""

_BULK = "/v1/batch"
"""What is refused first when there is more load than can be borne."""
_SHED = frozenset({"/v1/recommendations", "/v1/sessions", "/v1/similar-items", "/v1/popular"})
"""What is refused then as far as it must be. Events are not: they are what somebody did."""
SHED_SECONDS = 1
"""Retry-After of what was refused for load."""

_CLIENT, _ROLES, _NAMED = "recsys.client", "recsys.roles", "recsys.named"
"""Where a request keeps the name of its client, what it may do, and what its path names."""
_VARIANT = b"x-recsys-variant"
"""With this header a tester names the arm that is to answer."""
_PREFERENCES, _ITEM = "/v1/users/{user_id}/preferences", "/v1/items/{item_id}"
_MODEL, _VERSION = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
_TEMPLATES = {_PREFERENCES: ("/v1/users/", "/preferences"), _ITEM: ("/v1/items/", ""), _MODEL: ("/v2/models/", "")}
"""What stands before and after the name in a path; the name itself may have slashes."""

logger = logging.getLogger(__name__)
Asked = TypeVar("Asked", bound=BaseModel)


class Api:
    """Answers HTTP for one replica. Every error is problem+json; only the process's own faults are 5xx."""

    def __init__(self, replica: Replica, evidence: Evidence) -> None:
        self._replica = replica
        self._evidence = evidence
        self._asked: Asker | None = None
        self._openapi = msgspec.json.encode(openapi())
        self._page = page(openapi())
        asked = replica.arguments
        self._chain = Chain(timeout_ms=asked.timeout_ms, steps=asked.fallback)
        self._shedding = Shedding(asked.queue_ms)
        self._in_hand = replica.in_hand
        self._watch = Watch(self._shedding, self._in_hand)
        self._known = access.Known()
        self._audit = Audit(asked, replica.replica_id, replica.events)
        self._routes: dict[str, Mapping[str, Route]] = {
            "/v1/recommendations": {"POST": Route(handler=self._answering(RecommendationRequest, of_user), roles=access.READ)},
            "/v1/sessions": {"POST": Route(handler=self._answering(SessionRequest, of_session), roles=access.READ)},
            "/v1/similar-items": {"POST": Route(handler=self._answering(SimilarItemsRequest, of_item), roles=access.READ)},
            "/v1/popular": {"POST": Route(handler=self._answering(PopularRequest, of_all), roles=access.READ)},
            "/v1/batch": {"POST": Route(handler=self._batch, roles=access.READ)},
            "/v1/events": {"POST": Route(handler=self._events, roles=access.WRITE)},
            _PREFERENCES: {
                "GET": Route(handler=self._preferences, roles=access.READ),
                "POST": Route(handler=self._say_preferences, roles=access.WRITE),
                "DELETE": Route(handler=self._forget_preferences, roles=access.WRITE, audited=True),
            },
            "/v1/items": {"POST": Route(handler=self._say_items, roles=access.WRITE, audited=True)},
            _ITEM: {
                "GET": Route(handler=self._item, roles=access.READ),
                "DELETE": Route(handler=self._withdraw_item, roles=access.WRITE, audited=True),
            },
            "/v1/model": {"GET": Route(handler=self._model, roles=access.ANY)},
            "/v1/model:switch": {"POST": Route(handler=self._switch, roles=access.ADMINISTER, audited=True)},
            "/v1/evidence": {"GET": Route(handler=self._all_reports, roles=access.OPERATE)},
            "/metrics": {"GET": Route(handler=self._metrics, roles=access.MEASURE)},
            "/openapi.json": {"GET": Route(handler=self._description, roles=access.ANY)},
            "/docs": {"GET": Route(handler=self._docs, roles=access.ANY)},
            "/v2": {"GET": Route(handler=self._server, roles=access.ANY)},
            _MODEL: {"GET": Route(handler=self._model_metadata, roles=access.ANY)},
            _VERSION: {"GET": Route(handler=self._model_metadata, roles=access.ANY)},
            "/v2/health/live": {"GET": Route(handler=self._healthz, roles=None)},
            "/v2/health/ready": {"GET": Route(handler=self._readyz, roles=None)},
            "/healthz": {"GET": Route(handler=self._healthz, roles=None)},
            "/readyz": {"GET": Route(handler=self._readyz, roles=None)},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        self._in_hand.inside += 1
        try:
            route = self._route(scope)
            if route.audited:
                await self._audited(route, scope, receive, send)
            else:
                await route.handler(scope, receive, send)
        except ProblemError as error:
            await asgi.send_problem(send, error)
        except asgi.Disconnected:
            return
        except Exception:
            logger.exception("request failed", extra={"event": "RequestFailed", "path": scope["path"]})
            detail = "the replica failed; its log has the trace. Try again"
            await asgi.send_problem(send, ProblemError(500, "Internal Server Error", detail))
        finally:
            self._in_hand.inside -= 1

    async def _audited(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        outcome = "500"

        async def sending(message: Any) -> None:
            nonlocal outcome
            outcome = str(message.get("status", outcome))
            await send(message)

        try:
            await route.handler(scope, receive, sending)
        except ProblemError as error:
            outcome = str(error.problem.status)
            raise
        finally:
            self._audit.tell(scope[_CLIENT], scope["method"], scope["path"], outcome)

    def _route(self, scope: Scope) -> Route:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        methods = self._routes.get(path) or self._templated(scope, path)
        if methods is None:
            raise ProblemError(404, "Not Found", f"path: {path!r} is not there; see /openapi.json for what is", field="path")
        route = methods.get(scope["method"]) or next(iter(methods.values()))
        if route.roles is not None:
            tokens = self._replica.tokens()
            if tokens is None:
                raise unavailable(self._waiting(None), RETRY_SECONDS)
            client = self._known.client(asgi.header(scope, b"authorization"), tokens, self._replica.bearers)
            try:
                access.check(client, route.roles)
            except ProblemError:
                if route.audited:
                    self._audit.tell(client.name, scope["method"], scope["path"], "403")
                raise
            scope[_CLIENT], scope[_ROLES] = client.name, client.roles
            self._limit(client.name, 1.0)
            self._shed(path)
        if scope["method"] not in methods:
            allowed = ", ".join(methods)
            detail = f"method: saw {scope['method']}; use {allowed.replace(', ', ' or ')}"
            raise ProblemError(405, "Method Not Allowed", detail, field="method", headers={"Allow": allowed})
        return route

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
            try:
                question, tested = question_of(request), self._tested(scope)
                body, told = await self._answer(question if tested is None else replace(question, tested=tested))
            except UnknownFieldError as error:
                raise _unknown_field(error) from None
            await asgi.send_bytes(send, 200, body)
            told()

        return handler

    def _tested(self, scope: Scope) -> Variant | None:
        """The arm that a tester names; an answer by it is no evidence."""
        said = asgi.header(scope, _VARIANT)
        if said is None:
            return None
        if Role.TESTER not in scope[_ROLES]:
            detail = f"{_VARIANT.decode()}: only a tester may say who answers; leave it out, or ask with a token of the role tester"
            raise ProblemError(403, "Forbidden", detail, field=_VARIANT.decode())
        serving = self._replica.arms.serving
        there = {arm.variant.value: Variant(arm.variant) for arm in serving.record.arms if arm.version in serving.arms} if serving else {}
        found = there.get(said.decode("latin-1"))
        if found is None:
            detail = f"{_VARIANT.decode()}: saw {said.decode('latin-1')!r}; here are {', '.join(there) or 'none yet'}"
            raise ProblemError(404, "Not Found", detail, field=_VARIANT.decode())
        return found

    async def _batch(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            asked = BatchRequest.model_validate_json(await asgi.read_body(scope, receive), strict=True)
        except ValidationError as error:
            raise unfit(error) from None
        self._limit(scope[_CLIENT], len(asked.requests) - 1.0)
        bodies: list[msgspec.Raw] = []
        for place, request in enumerate(asked.requests):
            try:
                body, told = await self._answer(of_user(request))
            except UnknownFieldError as error:
                raise _unknown_field(error, f"requests.{place}.") from None
            told()
            bodies.append(msgspec.Raw(body))
            await asyncio.sleep(0)  # others have their turn between two users
        await asgi.send_bytes(send, 200, asgi.encode({"answers": bodies}))

    async def _answer(self, question: Question) -> tuple[bytes, Callable[[], None]]:
        """One answer as JSON, and what is left to do once it is sent: to count it and to log it."""
        body, told = await self._answered(question)

        def logged() -> None:
            what = told()
            if self._replica.logs(what.request_id):
                self._replica.log.log(what)

        return body, logged

    async def _by_kafka(self, question: Question) -> Logged:
        """One answer to a question that came by Kafka, counted as any other.

        Raises:
            ProblemError: it cannot be answered, now or at all.
        """
        try:
            _, told = await self._answered(question)
        except UnknownFieldError as error:
            raise _unknown_field(error) from None
        return told()

    async def _answered(self, question: Question) -> tuple[bytes, Callable[[], Logged]]:
        """One answer as JSON, and what counts it and says what is to be logged."""
        started = time.perf_counter()
        asked_at = time.time_ns() // 1_000_000
        replica, who = self._replica, question.who
        serving = replica.arms.serving
        answered = await answer_by_all(serving, question, replica.tallies, self._chain) if serving else None
        if answered is None:
            raise unavailable(self._waiting(serving.record if serving else None), RETRY_SECONDS)
        credited = answered.version if question.counted and answered.variant in _EVIDENCE else NO_VERSION
        shown = Shown(credited, answered.stratum, group_of(who))
        shown_at = int(time.time()) if credited == NO_VERSION else replica.ripening.shown(shown)
        request_id = new_id(replica.id_key, credited, who, shown_at, answered.stratum)
        items = asgi.encode(_listed(answered))
        if answered.telling is not None:
            replica.mixed.shown(request_id, answered.version, answered.mixed_with, group_of(who), answered.telling)

        def told() -> Logged:
            self._mirror(serving, question, answered)
            milliseconds = (time.perf_counter() - started) * 1000
            replica.metrics.count(answered.variant, answered.reason, 200, milliseconds)
            replica.metrics.filtered += question.filters is not None
            replica.metrics.explored += answered.explored
            return Logged(
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
                context=question.context,
                filters=question.filters,
            )

        return _body(request_id, who, answered, items), told

    def _mirror(self, serving: Serving | None, question: Question, answered: Answer) -> None:
        """Give a copy of the question to the version that is tried in the shadow, if this user's are copied."""
        shadow, split = self._replica.shadow, serving.split if serving else None
        if serving is None or shadow is None or split is None or split.mirrored is None or not question.counted:
            return
        arm = serving.arms.get(split.mirrored[1])
        if arm is not None and answered.variant is Variant.STABLE and point_of(split.key, question.who) < split.mirrored[0]:
            given = [item for item, _ in answered.items]
            shadow.offer(Copy(arm=arm, question=question, given=given, within_ms=self._chain.timeout_ms))

    def _templated(self, scope: Scope, path: str) -> Mapping[str, Route] | None:
        """The route of a path with a name in it, which the scope then keeps."""
        for template, (before, after) in _TEMPLATES.items():
            if path.startswith(before) and path.endswith(after) and len(path) > len(before) + len(after):
                scope[_NAMED] = path[len(before) : len(path) - len(after)]
                return self._routes[template]
        return None

    async def _say_preferences(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asgi.send_bytes(send, 200, await say_preferences(self._replica, scope[_NAMED], await asgi.read_body(scope, receive)))

    async def _forget_preferences(self, scope: Scope, _: Receive, send: Send) -> None:
        await asgi.send_bytes(send, 200, await forget_preferences(self._replica, scope[_NAMED]))

    async def _preferences(self, scope: Scope, _: Receive, send: Send) -> None:
        await asgi.send_bytes(send, 200, preferences_of(self._replica, scope[_NAMED]))

    async def _say_items(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asgi.send_bytes(send, 200, await say_items(self._replica, await asgi.read_body(scope, receive)))

    async def _withdraw_item(self, scope: Scope, _: Receive, send: Send) -> None:
        await asgi.send_bytes(send, 200, await withdraw_item(self._replica, scope[_NAMED]))

    async def _item(self, scope: Scope, _: Receive, send: Send) -> None:
        await asgi.send_bytes(send, 200, item_of(self._replica, scope[_NAMED]))

    async def _events(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await accept_events(self._replica, await asgi.read_body(scope, receive))
        await asgi.send_bytes(send, 200, body)

    async def _model(self, _: Scope, __: Receive, send: Send) -> None:
        await asgi.send_bytes(send, 200, model_state(self._replica).model_dump_json().encode())

    async def _switch(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, body = await switch(self._replica, self._evidence, scope[_CLIENT], await asgi.read_body(scope, receive))
        await asgi.send_bytes(send, status, body)

    async def _all_reports(self, _: Scope, __: Receive, send: Send) -> None:
        try:
            evidence: EvidenceResponse = await self._evidence()
        except Exception as error:  # whatever Ray raises: a part of the evidence would look like less of it
            raise unavailable(f"evidence: the board does not answer ({type(error).__name__}); ask again", RETRY_SECONDS) from error
        await asgi.send_bytes(send, 200, evidence.model_dump_json().encode())

    async def _metrics(self, _: Scope, __: Receive, send: Send) -> None:
        self._replica.metrics.dropped = self._replica.log.dropped
        self._replica.metrics.switches = self._replica.arms.switches
        self._replica.metrics.in_hand = self._in_hand.mean
        self._replica.metrics.recalls = self._replica.arms.recalls()
        await asgi.send_bytes(send, 200, self._replica.metrics.text(), b"text/plain; version=0.0.4; charset=utf-8")

    async def _description(self, _: Scope, __: Receive, send: Send) -> None:
        await asgi.send_bytes(send, 200, self._openapi)

    async def _docs(self, _: Scope, __: Receive, send: Send) -> None:
        await asgi.send_bytes(send, 200, self._page, b"text/html; charset=utf-8")

    async def _server(self, _: Scope, __: Receive, send: Send) -> None:
        await asgi.send_bytes(send, 200, inference_protocol.server())

    async def _model_metadata(self, scope: Scope, _: Receive, send: Send) -> None:
        await asgi.send_bytes(send, 200, inference_protocol.model(self._replica, scope[_NAMED]))

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
                self._asked = answer_asked(self._replica, self._by_kafka)
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if self._asked is not None:
                    await asyncio.to_thread(self._asked.close)
                self._replica.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


_EVIDENCE = frozenset({Variant.STABLE, Variant.CANDIDATE, Variant.HOLDBACK})
"""Answers that one arm gave by itself, to somebody who was assigned to it."""


def _listed(answered: Answer) -> list[dict[str, str | float]]:
    """The items as they are answered and logged; in a mixed list each names its version."""
    shown = zip(answered.items, answered.propensities, strict=True)
    listed: list[dict[str, str | float]] = [{"item_id": item, "score": score, "propensity": chance} for (item, score), chance in shown]
    if answered.teams:
        for place in listed:
            place["model_version"] = answered.mixed_with if answered.teams[str(place["item_id"])] else answered.version
    return listed


def _unknown_field(error: UnknownFieldError, under: str = "") -> ProblemError:
    return ProblemError(422, "Unprocessable Content", f"{under}{error}", field=f"{under}{error.field}")


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
