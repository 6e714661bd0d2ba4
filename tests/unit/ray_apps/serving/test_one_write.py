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
