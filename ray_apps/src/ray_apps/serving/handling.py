"""What the API's routes are: who answers, who may ask, and whether it is told who did."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ray_apps.serving.asgi import Receive, Scope, Send
from recsys_schemas.serving_record import Role

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Who answers one method of one path, and who may ask."""

    handler: Handler
    roles: frozenset[Role] | None
    audited: bool = False
    """Whether each call is told, with who made it, also one that the role does not allow."""
