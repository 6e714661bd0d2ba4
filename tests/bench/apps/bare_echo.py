"""The least that Ray Serve can do behind the same ingress: what the serving API is measured against."""

from starlette.requests import Request
from starlette.responses import Response

from ray import serve


@serve.deployment(name="Echo", ray_actor_options={"num_cpus": 0.5}, max_ongoing_requests=128)
class Echo:
    """Sends the body back, as Ray Serve's own guide would write it."""

    async def __call__(self, request: Request) -> Response:
        """Answer a request with its own body."""
        return Response(await request.body(), media_type="application/json")


def echo(args: dict[str, str]) -> serve.Application:
    """The usual echo."""
    del args
    return Echo.bind()  # pyright: ignore[reportFunctionMemberAccess] - the decorator made it a deployment
