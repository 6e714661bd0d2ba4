"""The least that Ray Serve can do behind the same ingress: what the serving API is measured against."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ray import serve


@serve.deployment(name="Echo", ray_actor_options={"num_cpus": 0.5}, max_ongoing_requests=128)
class Echo:
    """Sends the body back, as Ray Serve's own guide would write it."""

    async def __call__(self, request: Request) -> Response:
        """Answer a request with its own body."""
        return Response(await request.body(), media_type="application/json")


async def raw(_: Any, receive: Any, send: Any) -> None:
    """Send the body back with nothing between: the floor of the ingress itself."""
    message = await receive()
    if message["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


@serve.deployment(name="RawEcho", ray_actor_options={"num_cpus": 0.5}, max_ongoing_requests=128)
@serve.ingress(raw)  # pyright: ignore[reportUntypedClassDecorator]
class RawEcho:
    """The same as a raw ASGI application."""


def echo(args: dict[str, str]) -> serve.Application:
    """The usual echo."""
    del args
    return Echo.bind()  # pyright: ignore[reportFunctionMemberAccess] - the decorator made it a deployment


def raw_echo(args: dict[str, str]) -> serve.Application:
    """The raw echo."""
    del args
    return RawEcho.bind()  # pyright: ignore[reportFunctionMemberAccess] - the decorator made it a deployment
