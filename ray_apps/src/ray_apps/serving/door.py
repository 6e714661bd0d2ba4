"""What stands before Ray Serve in a replica's HTTP server, where `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` names `door:middlewares`.

Ray Serve counts a request from its first byte on and lets in so many at once: clients that send their bodies slowly would keep the honest
ones out. It also watches each request for its client going away, with a task and a queue without bound, which costs more than our
answers do. So the door reads the body first, within a time and a space, and then hands on a request that is whole.

Without the door everything is answered the same, with more CPU time for each request, and slow clients are let in like others.
Applications of others in the same cluster are passed through.
"""

from starlette.middleware import Middleware
from starlette.types import ASGIApp

from ray_apps.serving import asgi
from ray_apps.serving.asgi import Message, Receive, Scope, Send
from ray_apps.serving.problems import ProblemError

NOT_WATCHED = (b"x-request-disconnect-disabled", b"?1")
"""Ray Serve's header for a request that is not watched."""
NOT_RAYS = frozenset(
    {
        b"host",
        b"user-agent",
        b"accept",
        b"accept-encoding",
        b"authorization",
        b"content-type",
        b"content-length",
        b"connection",
        b"x-forwarded-for",
    }
)
"""Headers that say nothing to Ray Serve, which decodes and compares each one several times. The API finds them by name."""
MOST_BYTES = 64 << 20
"""Bodies that are being read may take so much together; what comes then is told to come again."""
RETRY_SECONDS = "1"


class Door:
    """Reads whole requests, if this process is a replica of ours."""

    ours = False
    """Set by the replica that lives in this process."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before an application."""
        self._app = app
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry."""
        if not Door.ours or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = scope["headers"]
        by_name = scope[asgi.BY_NAME] = dict(reversed(headers))
        scope["headers"] = [*(header for header in headers if header[0] not in NOT_RAYS), NOT_WATCHED]
        if b"content-length" not in by_name and b"transfer-encoding" not in by_name:
            await self._app(scope, receive, send)
            return
        try:
            body = await self._body(scope, receive)
        except ProblemError as error:
            await asgi.send_problem(send, error)
            return
        except asgi.Disconnected:
            return
        scope[asgi.WHOLE] = body
        await self._app(scope, _whole(body, receive), send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        length = asgi.header(scope, b"content-length")
        taken = min(int(length), asgi.MAX_BODY_BYTES) if length and length.isdigit() else asgi.MAX_BODY_BYTES
        if self._bytes + taken > MOST_BYTES:
            detail = "too many large or slow bodies are being read; send it again"
            raise ProblemError(429, "Too Many Requests", detail, headers={"Retry-After": RETRY_SECONDS, "Connection": "close"})
        self._bytes += taken
        try:
            return await asgi.read_body(scope, receive)
        finally:
            self._bytes -= taken


def _whole(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body which has been read, once."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def whole() -> Message:
        return messages.pop() if messages else await receive()

    return whole


def middlewares() -> list[Middleware]:
    """What Ray Serve asks for."""
    return [Middleware(Door)]
