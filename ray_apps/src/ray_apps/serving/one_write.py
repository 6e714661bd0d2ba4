"""The head of an answer and its body leave a replica in one write.

uvicorn writes the head as soon as it has it, and the body after it. A replica that is killed between the two leaves an answer that has
begun, which the ingress cannot ask for elsewhere: its client gets half of it. And each answer costs a second call to the kernel, and the
ingress a second wake-up. So a head is kept until there is something to go with it.
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


def answer_in_one_write() -> None:
    """Let every HTTP server of this process do so, for requests that come from now on."""
    httptools_impl.RequestResponseCycle = OneWrite
