"""The little of an HTTP/1.1 client that a load generator needs: kept-alive connections, JSON in, JSON out, little CPU."""

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

DEADLINE_S = 30.0
"""A machine that stands still for a while makes no request fail that is answered after it."""


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
    _idle: list[_Connection] = field(default_factory=list[_Connection])

    async def post(self, path: str, body: bytes) -> tuple[int, Any]:
        """Return the status and the parsed body (None when it is not JSON).

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

    async def _exchange(self, connection: _Connection, path: str, body: bytes) -> tuple[int, Any]:
        parts = urlsplit(self.url)
        head = (
            f"POST {parts.path}{path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.writer.write(head.encode() + body)
        status, keep, answer = await _read_answer(connection.reader)
        connection.used += 1
        if keep:
            self._idle.append(connection)
        else:
            connection.writer.close()
        try:
            return status, json.loads(answer)
        except ValueError:
            return status, None

    async def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            connection = self._idle.pop()
            connection.writer.close()
            with contextlib.suppress(OSError):
                await connection.writer.wait_closed()


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bool, bytes]:
    """Status, whether the connection may be used again, and the body."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ", 2)[1])
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        keep = fields.get("connection", "").lower() != "close"
        if "content-length" in fields:
            return status, keep, await reader.readexactly(int(fields["content-length"]))
        if fields.get("transfer-encoding", "").lower() == "chunked":
            return status, keep, await _read_chunks(reader)
        return status, False, await reader.read(1 << 20)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError) as error:
        raise LineBrokenError(f"{type(error).__name__}: {error}") from error


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)
