"""The little of ASGI that the API needs: reading a bounded body, sending one whole answer."""

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, MutableMapping
from typing import Any

import msgspec

from ray_apps.serving.problems import ProblemError
from recsys_schemas.serving_api import Problem

MAX_BODY_BYTES = 1 << 20
"""A larger body is refused with 413."""

BODY_SECONDS = 10.0
"""A body that is not here after so long is refused with 408."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BY_NAME = "recsys.headers"
"""Where a scope keeps its headers by name, the first one of each, if somebody has put them there."""
WHOLE = "recsys.body"
"""Where a scope keeps a body that has been read and looked at already."""

_LAST = {"Connection": "close"}
"""What is left of a body that is not read would be taken for the next request, or read for nothing."""

encode = msgspec.json.Encoder().encode


class Disconnected(Exception):  # noqa: N818 - not an error of ours
    """The client went away before its request was read."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """A request header's value; the first one if it repeats."""
    by_name: Mapping[bytes, bytes] | None = scope.get(BY_NAME)
    if by_name is not None:
        return by_name.get(name)
    for key, value in scope["headers"]:
        if key == name:
            return value
    return None


JSON_TYPES = (b"application/json", b"application/x-www-form-urlencoded", b"text/plain")
"""Types of a body that are taken for JSON: what curl and `navigator.sendBeacon` say where nobody tells them is among them."""


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The whole body.

    Raises:
        ProblemError: 413 when it is larger than MAX_BODY_BYTES, 408 when it takes longer than BODY_SECONDS: then it is not read to its
            end. 415 when it is said to be something else.
        Disconnected: the client went away.
    """
    whole: bytes | None = scope.get(WHOLE)
    if whole is not None:
        return whole
    length = header(scope, b"content-length")
    if length is not None and length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise _too_large(int(length))
    kind = header(scope, b"content-type")
    if kind and not _is_json(kind):
        raise ProblemError(415, "Unsupported Media Type", "content-type: send application/json", field="content-type")
    parts = _parts(receive)
    try:
        waits_for = parts.send(None)
    except StopIteration as ended:  # all of it was here already, as it mostly is: no timer is needed
        return ended.value
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _resumed(parts, waits_for)
    except TimeoutError:
        detail = f"body: not here after {BODY_SECONDS:.0f} s; send it at once"
        raise ProblemError(408, "Request Timeout", detail, field="body", headers=_LAST) from None


@types.coroutine
def _resumed(begun: Coroutine[Any, Any, bytes], waits_for: Any) -> Generator[Any, Any, bytes]:
    """Go on with a coroutine that has been begun, from what it waits for."""
    try:
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:  # noqa: BLE001 - cancelled, or too late: it is the other's to deal with
                waits_for = begun.throw(error)
            else:
                waits_for = begun.send(sent)
    except StopIteration as ended:
        return ended.value


async def _parts(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise _too_large(size)
        parts.append(part)
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _is_json(kind: bytes) -> bool:
    plain = kind.partition(b";")[0].strip().lower()
    return plain in JSON_TYPES or plain.endswith(b"+json")


def _too_large(size: int) -> ProblemError:
    detail = f"body: {size} bytes or more; send at most {MAX_BODY_BYTES}, in several requests if need be"
    return ProblemError(413, "Content Too Large", detail, field="body", headers=_LAST)


async def send_bytes(
    send: Send, status: int, body: bytes, content_type: bytes = b"application/json", headers: Mapping[str, str] | None = None
) -> None:
    """Send one whole answer."""
    head = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    head += [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def send_problem(send: Send, error: ProblemError) -> None:
    """Send problem details."""
    problem: Problem = error.problem
    body = problem.model_dump_json(exclude_none=True).encode()
    await send_bytes(send, problem.status, body, b"application/problem+json", error.headers)
