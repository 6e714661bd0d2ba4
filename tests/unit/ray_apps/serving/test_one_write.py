"""An answer leaves in one write, so that a kill leaves a whole one or none."""

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from ray_apps.serving import asgi
from ray_apps.serving.asgi import Receive, Scope, Send
from ray_apps.serving.one_write import OneWrite, answer_in_one_write

CLOSED = b"(closed)"
HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}


class Line(asyncio.Transport):
    """A connection that notes what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[bytes] = []

    def write(self, data: Any) -> None:
        self.done.append(bytes(data))

    def close(self) -> None:
        self.done.append(CLOSED)

    def is_closing(self) -> bool:
        return CLOSED in self.done

    def resume_reading(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is put in its place is put back."""
    monkeypatch.setattr(httptools_impl, "RequestResponseCycle", RequestResponseCycle)


def told(app: Any, *requests: bytes) -> list[bytes]:
    """What is done to a connection on which these are asked."""

    async def play() -> list[bytes]:
        config = uvicorn.Config(app, lifespan="off", log_config=None)
        config.load()
        protocol, line = HttpToolsProtocol(config, ServerState(), {}), Line()
        protocol.connection_made(line)
        for request in requests:
            protocol.data_received(request)
        while protocol.tasks:
            await asyncio.gather(*protocol.tasks, return_exceptions=True)
            await asyncio.sleep(0)
        done = list(line.done)
        protocol.connection_lost(None)
        return done

    return asyncio.run(play())


ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def whole(_: Scope, __: Receive, send: Send) -> None:
    await asgi.send_bytes(send, 200, b'{"a":1}')


def test_uvicorn_as_it_comes_writes_twice_and_ours_once():
    usually = told(whole, ASK)
    assert len(usually) == 2
    answer_in_one_write()
    (ours,) = told(whole, ASK)
    assert ours == b"".join(usually)
    assert ours.endswith(b'\r\n\r\n{"a":1}')


def played(status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> Any:
    """An application that says this."""

    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


SHORT, SAID = (b"content-length", b"2"), (b"x-request-id", b"one")


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, [SHORT], b"ab"),
        (429, [(b"Content-Length", b"2"), (b"Retry-After", b"1"), SAID], b"ab"),
        (200, [SHORT, (b"connection", b"close")], b"ab"),
        (200, [SHORT, (b"connection", b"keep-alive")], b"ab"),
        (200, [], b"ab"),
        (200, [(b"transfer-encoding", b"chunked")], b"ab"),
        (204, [SAID], b""),
        (200, [(b"content-length", b"0")], b""),
        (200, [SHORT, (b"content-length", b"9")], b"ab"),
        (299, [SHORT], b"ab"),
    ],
)
@pytest.mark.parametrize("ask", [b"GET / HTTP/1.1", b"HEAD / HTTP/1.1", b"GET / HTTP/1.0"])
def test_an_answer_has_the_bytes_that_uvicorn_gives_it_whatever_it_says(
    status: int, headers: list[tuple[bytes, bytes]], body: bytes, ask: bytes
):
    app, request = played(status, headers, body), ask + b"\r\nHost: x\r\n\r\n"
    usually = told(app, request)
    answer_in_one_write()
    assert b"".join(told(app, request)) == b"".join(usually)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([SHORT], b"abc"),
        ([SHORT], b"a"),
        ([SHORT, (b"x-request-id", b"one\r\nset-cookie: a=b")], b"ab"),
        ([SHORT, (b"x request", b"one")], b"ab"),
    ],
    ids=["longer than it says", "shorter", "a line break in a value", "no name"],
)
def test_what_is_no_answer_does_not_leave_as_one(headers: list[tuple[bytes, bytes]], body: bytes):
    answer_in_one_write()
    done = b"".join(told(played(200, headers, body), ASK))
    assert b"set-cookie" not in done
    assert b" 500 " in done or done.endswith(CLOSED)


def test_requests_in_a_row_are_answered_in_their_order():
    async def named(scope: Scope, _: Receive, send: Send) -> None:
        await asgi.send_bytes(send, 200, scope["path"].encode())

    answer_in_one_write()
    done = told(named, b"GET /first HTTP/1.1\r\nHost: x\r\n\r\nGET /second HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [part[-6:] for part in done] == [b"/first", b"second"]


def test_the_last_answer_is_written_before_the_connection_is_closed():
    answer_in_one_write()
    answer, closed = told(whole, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"connection: close" in answer
    assert answer.endswith(b'{"a":1}')
    assert closed == CLOSED


def test_what_comes_in_parts_is_written_in_parts():
    async def parts(_: Scope, __: Receive, send: Send) -> None:
        await send(HEAD)
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        await send({"type": "http.response.body", "body": b"cd"})

    answer_in_one_write()
    first, second = told(parts, ASK)
    assert first.endswith(b"\r\n\r\nab")
    assert second == b"cd"


def test_one_who_fails_between_head_and_body_has_said_nothing_and_is_told_as_a_fault():
    async def failing(_: Scope, __: Receive, send: Send) -> None:
        await send(HEAD)
        raise RuntimeError("before a word was said")

    answer_in_one_write()
    assert told(failing, ASK)[0].startswith(b"HTTP/1.1 500 ")


def test_it_is_what_servers_take_from_then_on():
    answer_in_one_write()
    assert httptools_impl.RequestResponseCycle is OneWrite
