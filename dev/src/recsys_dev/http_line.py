"""The little of an HTTP/1.1 client that a load generator needs: kept-alive connections, JSON in, JSON out, little CPU."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

DEADLINE_S = 30.0
"""A machine that stands still for a while makes no request fail that is answered after it."""
PATIENCE_S = 30.0
TOO_MANY, UNAVAILABLE = 429, 503


class LineBrokenError(Exception):
    """The connection ended, or what came was no HTTP answer."""


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used: int = 0


@dataclass(slots=True, kw_only=True)
class HttpLine:
    """POSTs JSON to one server with a bearer token; as many connections as there are requests in flight."""

    url: str
    token: str
    deadline_s: float = DEADLINE_S
    patience_s: float = PATIENCE_S
    """For so long a request that is refused for a while is made again."""
    _idle: list[_Connection] = field(default_factory=list[_Connection])

    async def post(
        self, path: str, body: bytes, refused: Callable[[int], None] = lambda _status: None, again: Collection[int] = (TOO_MANY,)
    ) -> tuple[int, Any]:
        """Return the status and the parsed body (None when it is not JSON).

        One that is refused for load (429; or with another status of `again`) is made again when its Retry-After says, as every client
        should; `refused` is told the status each time.

        Raises:
            LineBrokenError, OSError, TimeoutError: no whole answer came.
        """
        began = time.monotonic()
        while True:
            status, again_s, answer = await self._once(path, body)
            if status not in again or again_s is None:
                return status, answer
            refused(status)
            if time.monotonic() - began + again_s > self.patience_s:
                return status, answer
            await asyncio.sleep(again_s)

    async def _once(self, path: str, body: bytes) -> tuple[int, float | None, Any]:
        """Status, seconds until it may be asked again where that is said, and the parsed body.

        A kept-alive connection that the server has closed in the meantime is replaced once, as every client does.

        Raises:
            LineBrokenError, OSError, TimeoutError: no whole answer came.
        """
        async with asyncio.timeout(self.deadline_s):
            connection = self._idle.pop() if self._idle else await self._connect()
            try:
                return await self._exchange(connection, path, body)
            except (LineBrokenError, OSError):
                connection.writer.close()
                if connection.used == 0:
                    raise
                return await self._exchange(await self._connect(), path, body)
            except BaseException:
                connection.writer.close()
                raise

    async def _connect(self) -> _Connection:
        parts = urlsplit(self.url)
        return _Connection(*await asyncio.open_connection(parts.hostname, parts.port))

    async def _exchange(self, connection: _Connection, path: str, body: bytes) -> tuple[int, float | None, Any]:
        parts = urlsplit(self.url)
        head = (
            f"POST {parts.path}{path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.writer.write(head.encode() + body)
        status, fields, answer = await _read_answer(connection.reader)
        connection.used += 1
        if fields.get("connection", "").lower() != "close" and fields.keys() & {"content-length", "transfer-encoding"}:
            self._idle.append(connection)
        else:
            connection.writer.close()
        again = fields.get("retry-after", "")
        again_s = float(again) if again.isdecimal() else None
        try:
            return status, again_s, json.loads(answer)
        except ValueError:
            return status, again_s, None

    async def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            connection = self._idle.pop()
            connection.writer.close()
            with contextlib.suppress(OSError):
                await connection.writer.wait_closed()


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, fields and body; without a length the body ends with the connection."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ", 2)[1])
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        if "content-length" in fields:
            return status, fields, await reader.readexactly(int(fields["content-length"]))
        if fields.get("transfer-encoding", "").lower() == "chunked":
            return status, fields, await _read_chunks(reader)
        return status, fields, await reader.read(1 << 20)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError) as error:
        raise LineBrokenError(f"{type(error).__name__}: {error}") from error


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)
