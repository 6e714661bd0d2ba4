"""A proxy between the operator and an HTTP server: real TCP on loopback, one call at a time through the hands of a director."""

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web

from chaos.operator_calls import CRASH, CUT, GARBAGE, Blow, Director, Moment
from recsys_dev.ports import LOOPBACK, free_ports

T = TypeVar("T")
SiteOf = Callable[[str, str, str, bytes], str]
"""Method, path, query and body of a request → its call site."""
_HOP = frozenset({"host", "connection", "transfer-encoding", "content-length", "keep-alive"})
LOOKS = "storm-looks"
"""Client id of the test's own questions to a broker: no blow falls on them."""
_GARBAGE = b"\xff\xfe{no JSON at all"


class Loop:
    """An event loop in a thread of its own, for all proxies of a run."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=240)

    def close(self) -> None:
        self.run(self._cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=10)

    async def _cancel(self) -> None:
        """Watches that nobody reads any more."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(slots=True, kw_only=True)
class Watches:
    """What befalls each event of each watch."""

    dropped: bool = False
    copies: int = 1
    delay_s: float = 0.0
    frozen_until: float = 0.0
    """On the monotonic clock: until then no watch says anything."""
    events: int = 0
    touched: int = 0
    hit: set[str] = field(default_factory=set[str])
    """Kinds of which an event was touched."""

    async def through(self, kind: str, line: bytes) -> bytes:
        """What is handed on of one event, when it is time."""
        self.events += 1
        wait = max(self.delay_s, self.frozen_until - time.monotonic())
        if wait > 0 or self.dropped or self.copies > 1:
            self.touched += 1
            self.hit.add(kind)
        if wait > 0:
            await asyncio.sleep(wait)
        return b"" if self.dropped else line * self.copies


@dataclass(slots=True, kw_only=True)
class Proxy:
    """Listens on a loopback port and hands on to `upstream`."""

    upstream: str
    site_of: SiteOf
    director: Director
    context: ssl.SSLContext | None = None
    watches: Watches = field(default_factory=Watches)
    port: int = field(default_factory=lambda: free_ports(1)[0])
    _runner: web.AppRunner | None = None
    _session: ClientSession | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def start(self) -> None:
        connector = TCPConnector(ssl=self.context or False, limit=0)
        self._session = ClientSession(connector=connector, auto_decompress=False, timeout=ClientTimeout(total=None))
        application = web.Application(client_max_size=64 * 2**20)
        application.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self.port).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        site = self.site_of(request.method, request.path, request.query_string, body)
        blow = self.director.meet(site)
        if blow is not None and blow.moment is Moment.BEFORE and blow.kind != GARBAGE:
            return self._deny(request, blow)
        try:
            return await self._pass_on(request, body, site, blow)
        except (ClientError, ConnectionResetError):
            return _broken(request)  # the other side has ended, or the operator has

    async def _pass_on(self, request: web.Request, body: bytes, site: str, blow: Blow | None) -> web.StreamResponse:
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        url = f"{self.upstream}{request.raw_path}"
        async with self._session.request(request.method, url, data=body or None, headers=headers, allow_redirects=False) as answer:
            if "watch=" in request.query_string and answer.status == 200 and blow is None:
                return await self._watch(request, site, answer.content.iter_any())
            content = await answer.read()
            if answer.status < 400:
                self.director.done(site)
            if blow is not None and blow.kind == GARBAGE:
                return web.Response(body=_GARBAGE, content_type="application/json")
            if blow is not None and blow.moment is Moment.UNANSWERED:
                return self._deny(request, blow)
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            response = web.Response(status=answer.status, body=content, headers=kept)
            if blow is not None:
                await response.prepare(request)
                await response.write_eof()
                self._deny(request, blow)
            return response

    def _deny(self, request: web.Request, blow: Blow) -> web.Response:
        """Carry a blow out in place of an answer, or right after one."""
        if blow.kind == CRASH:
            self.director.crash()
        if blow.kind in (CUT, CRASH):
            return _broken(request)
        words = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "a blow of the test", "code": int(blow.kind)}
        return web.Response(status=int(blow.kind), body=json.dumps(words).encode(), content_type="application/json")

    async def _watch(self, request: web.Request, site: str, parts: Any) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        kind, held = site.rsplit("/", maxsplit=1)[-1], b""
        async for part in parts:
            *lines, held = (held + part).split(b"\n")
            for line in lines:
                if line and (told := await self.watches.through(kind, line + b"\n")):
                    await response.write(told)
        await response.write_eof()
        return response


def _broken(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


_Asked = dict[int, tuple[str, Blow | None, Director]]
"""Correlation id → what the request is."""


@dataclass(slots=True, kw_only=True)
class KafkaProxy:
    """Listens where a broker says that it is, and hands requests and answers on, frame by frame.

    A frame belongs to the run whose name it carries (that of a topic begins with it); one that carries none, to the only run there is.
    """

    host: str
    broker_port: int
    site_of: Callable[[int], str]
    port: int
    directors: dict[str, Director] = field(default_factory=dict[str, Director])
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_broker, from_broker = await asyncio.open_connection(self.host, self.broker_port)
        except OSError:
            writer.close()
            return
        asked: _Asked = {}
        both = [
            asyncio.create_task(self._ask(reader, from_broker, asked)),
            asyncio.create_task(self._answer(to_broker, writer, asked)),
        ]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        writer.transport.abort()
        from_broker.transport.abort()

    async def _ask(self, reader: asyncio.StreamReader, onward: asyncio.StreamWriter, asked: _Asked) -> None:
        while frame := await _frame(reader):
            site, director = self.site_of(int.from_bytes(frame[4:6], "big")), self._director(frame)
            blow = director.meet(site)
            if blow is not None and blow.moment is Moment.BEFORE and blow.kind != GARBAGE:
                _strike(blow, director)
                return
            asked[int.from_bytes(frame[8:12], "big", signed=True)] = (site, blow, director)
            onward.write(frame)
            await onward.drain()

    async def _answer(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter, asked: _Asked) -> None:
        while frame := await _frame(reader):
            site, blow, director = asked.pop(int.from_bytes(frame[4:8], "big", signed=True), ("", None, Director()))
            director.done(site)
            if blow is not None and blow.moment is Moment.UNANSWERED:
                _strike(blow, director)
                return
            if blow is not None and blow.kind == GARBAGE:
                frame = frame[:8] + b"\xff" * (len(frame) - 8)
            back.write(frame)
            await back.drain()
            if blow is not None and blow.kind != GARBAGE:
                _strike(blow, director)
                return

    def _director(self, frame: bytes) -> Director:
        if LOOKS.encode() in frame:
            return Director()
        named = [director for name, director in self.directors.items() if name.encode() in frame]
        return next(iter(named or self.directors.values())) if named or len(self.directors) == 1 else Director()


def _strike(blow: Blow, director: Director) -> None:
    """The connection is cut now, by us or by the operator's end: Kafka has no status to answer with."""
    if blow.kind == CRASH:
        director.crash()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """One frame of Kafka's protocol, its length included; empty at the end."""
    try:
        head = await reader.readexactly(4)
        return head + await reader.readexactly(int.from_bytes(head, "big"))
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
