"""The door: whole requests go in, slow and large ones wait or are refused before anybody counts them."""

import asyncio
from typing import Any

import pytest

from ray_apps.serving import asgi, door
from ray_apps.serving.door import Door


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Door, "ours", True)
    monkeypatch.setattr(asgi, "BODY_SECONDS", 60.0)  # what comes is not late, however busy the machine is


class Behind:
    """What the door stands before."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.headers = scope["headers"]
        self.bodies.append(await asgi.read_body(scope, receive))
        await asgi.send_bytes(send, 200, b"{}")


def ask(behind: Behind, *pieces: bytes | None, length: int | None = None, stand: Door | None = None, slowly: bool = False) -> list[Any]:
    """Send a body in pieces; None: nothing comes any more."""
    sent: list[Any] = []
    left = list(pieces)

    async def receive() -> Any:
        if slowly:
            await asyncio.sleep(0.001)
        piece = left.pop(0)
        if piece is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", str(sum(len(p or b"") for p in pieces) if length is None else length).encode())]
    asyncio.run((stand or Door(behind))({"type": "http", "headers": headers}, receive, send))
    return sent


def status(sent: list[Any]) -> int:
    return sent[0]["status"]


def test_a_whole_request_goes_in_and_is_not_watched():
    behind = Behind()
    assert status(ask(behind, b'{"a"', b":1}")) == 200
    assert behind.bodies == [b'{"a":1}']
    assert door.NOT_WATCHED in behind.headers


def test_a_body_that_does_not_come_is_refused_and_never_goes_in(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(asgi, "BODY_SECONDS", 0.1)
    behind = Behind()
    sent = ask(behind, b'{"a"', None, length=100)
    assert status(sent) == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert behind.bodies == []


def test_a_body_that_is_here_whole_sets_no_timer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(asgi.asyncio, "timeout", lambda _: pytest.fail("a timer was set"))
    behind = Behind()
    assert status(ask(behind, b'{"a"', b":1}")) == 200
    assert behind.bodies == [b'{"a":1}']


def test_a_body_that_comes_in_pieces_is_read_whole():
    behind = Behind()
    assert status(ask(behind, b'{"a"', b":1", b"}", slowly=True)) == 200
    assert behind.bodies == [b'{"a":1}']


def test_a_body_that_is_too_large_is_refused_by_its_length_alone():
    behind = Behind()
    assert status(ask(behind, None, length=1 << 30)) == 413
    assert behind.bodies == []


def test_bodies_that_are_being_read_have_a_space_of_their_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(door, "MOST_BYTES", 150)
    behind = Behind()
    stand = Door(behind)
    stand._bytes = 100
    assert status(ask(behind, b"x" * 100, stand=stand)) == 429
    stand._bytes = 0
    assert status(ask(behind, b"x" * 100, stand=stand)) == 200
    assert stand._bytes == 0


def test_applications_of_others_are_passed_through(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Door, "ours", False)
    behind = Behind()
    assert status(ask(behind, b"x" * 10)) == 200
    assert door.NOT_WATCHED not in behind.headers


def test_ray_serve_is_given_the_headers_that_it_reads_and_the_api_finds_all_the_first_of_each():
    seen: list[Any] = []

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(
            (scope["headers"], [asgi.header(scope, name) for name in (b"authorization", b"x-request-id", b"content-type", b"nothing")])
        )
        await asgi.read_body(scope, receive)
        await asgi.send_bytes(send, 200, b"{}")

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(_: Any) -> None:
        pass

    traced = [(b"x-request-id", b"one"), (b"traceparent", b"00-1"), (b"serve_multiplexed_model_id", b"m")]
    given = [(b"host", b"x"), (b"authorization", b"Bearer a"), (b"content-type", b"text/plain"), *traced, (b"content-type", b"text/html")]
    asyncio.run(Door(behind)({"type": "http", "headers": [*given, (b"content-length", b"2")]}, receive, send))
    assert seen == [[*traced, door.NOT_WATCHED], [b"Bearer a", b"one", b"text/plain", None]]
