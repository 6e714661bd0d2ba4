"""Connections to a replica's own server: how many there may be, and how long one may say nothing."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ray_apps.serving import asgi, guests
from ray_apps.serving.asgi import Receive, Scope, Send
from ray_apps.serving.guests import Guest, bound_connections

ASK = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def answer(_: Scope, __: Receive, send: Send) -> None:
    await asgi.send_bytes(send, 200, b"{}")


def served(story: Callable[[int], Awaitable[None]], protocol: type[HttpToolsProtocol] = Guest) -> None:
    """Play a story against a real server, by its port."""

    async def play() -> None:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            config = uvicorn.Config(answer, http=protocol, lifespan="off", log_config=None)
            config.load()
            server = uvicorn.Server(config)
            server.lifespan = config.lifespan_class(config)
            await server.startup(sockets=[listening])
            try:
                async with asyncio.timeout(120):
                    await story(listening.getsockname()[1])
            finally:
                server.force_exit = True
                await server.shutdown(sockets=[listening])

    asyncio.run(play())


async def line(port: int, said: bytes = b"") -> Line:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    await writer.drain()
    return reader, writer


async def asked(port: int) -> Line:
    """A connection that was answered once."""
    opened = await line(port, ASK)
    assert await is_answered(opened)
    return opened


async def is_answered(opened: Line) -> bool:
    try:
        head = await opened[0].readuntil(b"{}")
    except (asyncio.IncompleteReadError, ConnectionError):
        return False
    return head.startswith(b"HTTP/1.1 200")


async def ends(opened: Line, within_s: float = 60.0) -> bool:
    try:
        async with asyncio.timeout(within_s):
            return await opened[0].read(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: "], ids=["nothing", "half a head"])
def test_who_does_not_come_to_a_whole_request_is_let_go_and_who_asked_stays(said: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Guest, "seconds", 0.2)

    async def story(port: int) -> None:
        known = await line(port, ASK)
        while not await is_answered(known):  # on a busy machine it may not come to its request in time either
            known = await line(port, ASK)
        assert await ends(await line(port, said))
        known[1].write(ASK)
        assert await is_answered(known)

    served(story)


def test_without_the_bound_a_silent_connection_stays():
    async def story(port: int) -> None:
        assert not await ends(await line(port), within_s=0.5)

    served(story, HttpToolsProtocol)


def test_one_too_many_takes_the_place_of_who_was_silent_longest(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Guest, "most", 3)

    async def story(port: int) -> None:
        known = await asked(port)
        silent = [await line(port), await line(port)]
        await asked(port)
        assert await ends(silent[0])
        assert not await ends(silent[1], within_s=0.2)
        known[1].write(ASK)
        assert await is_answered(known)

    served(story)


def test_one_too_many_is_refused_where_all_others_have_asked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Guest, "most", 2)

    async def story(port: int) -> None:
        known = [await asked(port), await asked(port)]
        assert not await is_answered(await line(port, ASK))
        for each in known:
            each[1].write(ASK)
            assert await is_answered(each)

    served(story)


@pytest.mark.parametrize("said", ["many", "3", "inf", "nan"])
def test_a_bound_that_is_none_is_named(said: str):
    with pytest.raises(ValueError, match=f"{guests.MOST}: saw '{said}'; set a number of 64 or more"):
        bound_connections({guests.MOST: said})
