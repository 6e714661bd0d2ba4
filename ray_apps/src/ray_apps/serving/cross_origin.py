"""Pages of other origins (CORS): those that the spec names may ask from a browser, all others may not read an answer."""

from ray_apps.serving import asgi
from ray_apps.serving.asgi import Message, Receive, Scope, Send
from ray_apps.serving.handling import Handler

MAX_AGE_SECONDS = 600
"""How long a browser may remember what it was allowed."""


class CrossOrigin:
    """Stands before the API. Tokens travel in a header and cookies are none of ours, so credentials are not allowed."""

    def __init__(self, api: Handler, origins: frozenset[str]) -> None:
        """Let pages of these origins ask, such as `https://shop.example.com`."""
        self._api, self._origins = api, frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a browser's question whether it may ask; else say on the answer who may read it."""
        origin = asgi.header(scope, b"origin") if scope["type"] == "http" else None
        if origin is None or origin not in self._origins:
            await self._api(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and asgi.header(scope, b"access-control-request-method") is not None:
            await send({"type": "http.response.start", "status": 204, "headers": [*_of(origin), *_ALLOWED]})
            await send({"type": "http.response.body", "body": b""})
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_of(origin), _SEEN]}
            await send(message)

        await self._api(scope, receive, told)


def _of(origin: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"access-control-allow-origin", origin), (b"vary", b"Origin")]


_SEEN = (b"access-control-expose-headers", b"Retry-After")
_ALLOWED = [
    (b"access-control-allow-methods", b"GET, POST, DELETE"),
    (b"access-control-allow-headers", b"Authorization, Content-Type"),
    (b"access-control-max-age", str(MAX_AGE_SECONDS).encode()),
]
