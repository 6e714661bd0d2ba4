"""The head of an answer and its body leave a replica in one write.

uvicorn writes the head as soon as it has it, and the body after it. A replica that is killed between the two leaves an answer that has
begun, which the ingress cannot ask for elsewhere: its client gets half of it. And each answer costs a second call to the kernel, and the
ingress a second wake-up. So a head is kept until there is something to go with it. An answer that is whole then, and says its length,
as all but a few are, is put together here, in one step; what else there may be is left to uvicorn.
"""

from typing import Any

from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class _Kept:
    """Takes the place of a connection while an answer is put together."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.parts.append(data)

    def close(self) -> None:
        """Close the connection afterwards."""
        self.closed = True


class OneWrite(RequestResponseCycle):
    """A request and its answer."""

    _head: Any = None

    async def send(self, message: Any) -> None:
        """Take a part of the answer, as ASGI has it."""
        if message["type"] == "http.response.start" and not self.response_started:
            self._head = message
            return
        head, self._head = self._head, None
        if head is None:
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()  # here, for nothing may happen between the next lines
        whole = self._whole(head, message)
        if whole is not None:
            self._leave(whole)
            return
        connection, kept = self.transport, _Kept()
        self.transport: Any = kept
        try:
            await super().send(head)
            await super().send(message)
        finally:
            self.transport = connection
            if kept.parts:
                connection.write(b"".join(kept.parts))
            if kept.closed:
                connection.close()

    def _whole(self, head: Any, message: Any) -> bytes | None:
        """The answer as it leaves; None where it is more than a head with a length and a body of that length."""
        body: bytes = message.get("body", b"")
        more = message["type"] != "http.response.body" or message.get("more_body", False)
        if more or self.disconnected or not self.keep_alive or self.access_log:
            return None
        headers = [*self.default_headers, *head["headers"]]
        parts = [httptools_impl.STATUS_LINE[head["status"]]]
        length = -1
        for given, value in headers:
            name = given.lower()
            if name == b"content-length" and length < 0:
                length = int(value)
            elif name in _NOT_HERE:
                return None
            parts += (name, b": ", value, b"\r\n")
        if length != len(body) or self.scope["method"] == "HEAD":
            return None
        names, values = (b"".join(column) for column in zip(*headers, strict=True))
        if httptools_impl.HEADER_RE.search(names) or httptools_impl.HEADER_VALUE_RE.search(values):
            return None
        parts += (b"\r\n", body)
        return b"".join(parts)

    def _leave(self, answer: bytes) -> None:
        """Write it, and say that it is done, as uvicorn does."""
        self.transport.write(answer)
        self.waiting_for_100_continue = False
        self.chunked_encoding, self.expected_content_length = False, 0
        self.response_started = self.response_complete = True
        self.message_event.set()
        self.on_response()


_NOT_HERE = frozenset({b"content-length", b"transfer-encoding", b"connection"})
"""Of headers with these names, uvicorn decides; of lengths there is one."""


def answer_in_one_write() -> None:
    """Let every HTTP server of this process do so, for requests that come from now on."""
    httptools_impl.RequestResponseCycle = OneWrite
