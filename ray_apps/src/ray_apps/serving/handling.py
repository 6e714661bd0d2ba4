"""What the API's routes are: who answers, who may ask, and whether it is told who did."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ray_apps.serving.asgi import Receive, Scope, Send
from recsys_schemas.serving_api import Role

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]

logger = logging.getLogger("ray_apps.serving.audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Who answers one method of one path, and who may ask."""

    handler: Handler
    roles: frozenset[Role] | None
    audited: bool = False
    """Whether each call is told in the log, with who made it."""


def audit(client: str, method: str, path: str, outcome: str) -> None:
    """Tell who did what, in one line of the log: `{"event": "Audit", "client": ..., "action": ..., "outcome": ...}`."""
    logger.info("audit", extra={"event": "Audit", "client": client, "action": f"{method} {path}"[:300], "outcome": outcome})
