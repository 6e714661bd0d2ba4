"""Every hostile token at every route of the running API, by the API's own description: a route that is new and open cannot pass."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from ray_apps.serving import access
from ray_apps.serving.api import Api
from ray_apps.serving.clients import Client
from ray_apps.serving.handling import Route
from ray_apps.serving.jwks import KeySet
from ray_apps.serving.jwt_bearer import Bearers
from ray_apps.serving.openapi import openapi
from recsys_schemas.serving_record import Role
from unit.ray_apps.serving.conftest import Caller, make_replica, record, until
from unit.ray_apps.serving.test_jwt import HOSTILE, TRUST, Issuer, token

OPEN = {"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"}
"""What needs no token; whoever opens another route has to say so here."""
KEYS = {role: f"the key of a {role}" for role in Role}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")
NAMED = {"{user_id}": "ann", "{item_id}": "item-1", "{name}": "movies", "{version}": "good"}

BEARERS: dict[str, bytes] = {name: b"Bearer " + made for name, made in HOSTILE.items()}
HEADERS: dict[str, bytes | None] = {
    "no header": None,
    "empty": b"",
    "a scheme alone": b"Bearer",
    "a scheme and a space": b"Bearer ",
    "a key without a scheme": KEYS[Role.ADMIN].encode(),
    "another scheme": b"Basic " + KEYS[Role.ADMIN].encode(),
    "a key's digest, as the record has it": b"Bearer " + hashlib.sha256(KEYS[Role.ADMIN].encode()).hexdigest().encode(),
    "a key and more": b"Bearer " + KEYS[Role.ADMIN].encode() + b"x",
    "a key cut short": b"Bearer " + KEYS[Role.ADMIN].encode()[:-1],
    "a key in another case": b"Bearer " + KEYS[Role.ADMIN].upper().encode(),
    "a name": b"Bearer key:5f1d0c2a9b77",
    "a role": b"Bearer admin",
    "two tokens": b"Bearer a, Bearer " + KEYS[Role.ADMIN].encode(),
    **BEARERS,
}


class Operation(NamedTuple):
    """One method of one path, and what the description says of who may ask."""

    method: str
    path: str
    roles: frozenset[str] | None

    @property
    def address(self) -> str:
        """The path with names in it."""
        address = self.path
        for name, given in NAMED.items():
            address = address.replace(name, given)
        return address


def said(operation: dict[str, Any]) -> frozenset[str] | None:
    """`Tokens: reader, writer.` at the end of a summary; `any` is all but metrics."""
    if operation.get("security") == []:
        return None
    words = operation["summary"].rstrip(".").rpartition(": ")[2].split(", ")
    return frozenset(Role) - {Role.METRICS} if words == ["any"] else frozenset(words)


OPERATIONS = [
    Operation(method.upper(), path, said(operation))
    for path, methods in openapi()["paths"].items()
    for method, operation in methods.items()
    if method != "parameters"
]
GUARDED = [operation for operation in OPERATIONS if operation.roles is not None]


@pytest.fixture(scope="module")
def running() -> Iterator[Caller]:
    """A replica with a key of each role, that takes signed tokens too."""
    replica = make_replica(acknowledge_seconds=0.02)
    keys = KeySet(TRUST.jwks_uri, Issuer().fetch)
    caller = Caller(replace(replica, bearers=Bearers(TRUST, keys)))
    made = record(1, ("good", 100))
    made["tokens"] = {hashlib.sha256(key.encode()).hexdigest(): role for role, key in KEYS.items()}
    caller.serve(made)
    until(lambda: keys.known)
    yield caller
    keys.close()
    replica.close()


class Answered(NamedTuple):
    """What the application sent."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


def ask(api: Api, method: str, path: str, authorization: bytes | None) -> Answered:
    """One answer."""
    return asyncio.run(_ask(api, method, path, authorization))


async def _ask(api: Api, method: str, path: str, authorization: bytes | None, body: bytes = b"{}") -> Answered:
    """Speak ASGI: whatever bytes, for no client library stands before the application."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [] if authorization is None else [(b"authorization", authorization)]
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": headers, "query_string": b"", "client": None}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await api(scope, receive, send)  # pyright: ignore[reportArgumentType] - as a server calls it
    start = sent[0]
    return Answered(start["status"], dict(start["headers"]), b"".join(message.get("body", b"") for message in sent[1:]))


def let_in(api: Api, operation: Operation) -> list[str]:
    """The tokens that were not refused as they must be."""

    async def all_of_them() -> dict[str, Answered]:
        return {name: await _ask(api, operation.method, operation.address, header) for name, header in HEADERS.items()}

    found: list[str] = []
    for name, answered in asyncio.run(all_of_them()).items():
        proper = answered.headers.get(b"content-type") == b"application/problem+json" and b"www-authenticate" in answered.headers
        if answered.status != 401 or not proper or b"evil" in answered.body:
            found.append(name)
    return found


def may(api: Api, operation: Operation) -> frozenset[str]:
    """The roles whose keys get further than to the door."""
    answers = {role: ask(api, operation.method, operation.address, b"Bearer " + key.encode()).status for role, key in KEYS.items()}
    assert 401 not in answers.values()
    return frozenset(role for role, status in answers.items() if status != 403)


def test_the_battery_is_large_enough_and_what_is_open_is_known():
    assert len(HEADERS) >= 85
    assert {operation.path for operation in OPERATIONS if operation.roles is None} == OPEN
    assert {role for operation in GUARDED if operation.roles for role in operation.roles} <= set(Role)


def test_every_route_is_in_the_description_with_all_its_methods(running: Caller):
    there = {(method, path) for path, methods in running.api._routes.items() for method in methods}
    assert there == {(operation.method, operation.path) for operation in OPERATIONS}


def name_of(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


@pytest.mark.parametrize("operation", GUARDED, ids=name_of)
def test_no_hostile_token_opens_a_route(running: Caller, operation: Operation):
    assert let_in(running.api, operation) == []


@pytest.mark.parametrize("operation", GUARDED, ids=name_of)
def test_a_route_is_open_to_the_roles_that_its_description_names_and_to_no_other(running: Caller, operation: Operation):
    assert may(running.api, operation) == operation.roles


def test_a_signed_token_opens_what_its_role_may(running: Caller):
    good = b"Bearer " + token(roles=["reader"])
    for operation in GUARDED:
        assert operation.roles is not None
        assert (ask(running.api, operation.method, operation.address, good).status == 403) == ("reader" not in operation.roles)


@pytest.mark.parametrize("path", sorted({operation.path for operation in GUARDED}))
def test_no_method_goes_round_the_door(running: Caller, path: str):
    address = next(operation.address for operation in GUARDED if operation.path == path)
    assert {method: ask(running.api, method, address, None).status for method in METHODS} == dict.fromkeys(METHODS, 401)


@pytest.mark.parametrize(
    "path",
    ["/metrics/", "//metrics", "/METRICS", "/v1/../metrics", "/metrics?", "/metrics;x", "/healthz/../metrics", "/%6detrics", "metrics",
     "/v1/model:switch/", "/v1//model:switch", "/healthz/", "/docs/..", "", "/"],
)  # fmt: skip
def test_no_spelling_of_a_path_goes_round_the_door(running: Caller, path: str):
    for method in ("GET", "POST"):
        assert ask(running.api, method, path, None).status in (401, 404)


def opened(api: Api, operation: Operation) -> Api:
    """The same with a route that asks nobody who they are; one route answers for a model and for its versions."""
    path = operation.path.removesuffix("/versions/{version}")
    methods: dict[str, Route] = dict(api._routes[path])
    methods[operation.method] = replace(methods[operation.method], roles=None)
    api._routes = {**api._routes, path: methods}
    return api


@pytest.mark.parametrize("operation", GUARDED, ids=name_of)
def test_a_twin_without_a_guard_at_one_route_is_caught(running: Caller, operation: Operation):
    twin = opened(Caller(running.replica).api, operation)
    # What such a route does with a request that nobody checked is its own affair: it is no proper refusal.
    assert let_in(twin, operation)


def everybody(client: Client, allowed: frozenset[Role]) -> None:
    del client, allowed


def the_longest_of_the_record(authorization: bytes | None, tokens: Any, bearers: Any) -> Client:
    """Takes a digest of the record for a key."""
    said_digest = (authorization or b"").removeprefix(b"Bearer ").decode("latin-1")
    if said_digest in tokens:
        return Client(name="key:x", roles=frozenset({tokens[said_digest]}))
    return CLIENT_OF(authorization, tokens, bearers)


CLIENT_OF = access.client_of
TWINS: dict[str, tuple[str, Callable[..., object]]] = {
    "roles are not looked at": ("check", everybody),
    "a digest is as good as a key": ("client_of", the_longest_of_the_record),
}


@pytest.mark.parametrize("twin", TWINS)
def test_a_twin_of_the_door_is_caught(running: Caller, monkeypatch: pytest.MonkeyPatch, twin: str):
    name, broken = TWINS[twin]
    monkeypatch.setattr(access, name, broken)
    api = Caller(running.replica).api
    assert any(let_in(api, operation) or may(api, operation) != operation.roles for operation in GUARDED)
