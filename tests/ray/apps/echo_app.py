"""A Serve application that tells what it was told: the smallest thing that can be deployed and changed."""

import os
from typing import Any

from starlette.requests import Request

from ray import serve


@serve.deployment(num_replicas=2)
class Echo:
    def __init__(self, args: dict[str, str]) -> None:
        self.args = args
        self.word = "unset"

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        self.word = str(user_config["word"])

    async def __call__(self, request: Request) -> dict[str, Any]:
        replica = serve.get_replica_context().replica_id.unique_id
        return {"word": self.word, "args": self.args, "path": request.url.path, "replica": replica, "pid": os.getpid()}


def build(args: dict[str, str]) -> serve.Application:
    return Echo.bind(args)  # pyright: ignore[reportFunctionMemberAccess] - the decorator made it a deployment
