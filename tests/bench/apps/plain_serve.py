"""The plain way to serve a split on Ray Serve, as its guides have it: a router, and a handle to a deployment for each version."""

import zlib
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig

from ray import serve
from ray_apps.algorithms import load_model
from ray_apps.serving.ranking import top_k
from ray_apps.stores.objects import open_store
from ray_apps.stores.registry import open_version

MOST_ONGOING = 128
"""More than there are clients. Ray Serve's own is 5: whoever comes when five are in hand is turned away by the replica and tried again
after 25 ms, then after twice that, up to half a second, with the cores idle."""

QUIET = LoggingConfig(enable_access_log=False)
"""No line for each request, as Ray Serve's guide to performance advises."""

api = FastAPI()


class Asked(BaseModel):
    """A question."""

    user_id: str
    k: int = 20


@serve.deployment(name="Version", ray_actor_options={"num_cpus": 0.5}, max_ongoing_requests=MOST_ONGOING, logging_config=QUIET)
class Version:
    """Scores by one version."""

    def __init__(self, store: str, cache: str, version: str, digest: str) -> None:
        """Map it."""
        self._version = open_version(open_store(store), version, digest, Path(cache), load_model)
        self._names = list(self._version.item_ids)

    async def rank(self, user_id: str, k: int) -> list[dict[str, Any]]:
        """The best k."""
        history, weights = self._version.history(user_id)
        chosen, values = top_k(self._version.model.scores(history, weights), k, history)
        return [{"item_id": self._names[i], "score": v} for i, v in zip(chosen.tolist(), values.tolist(), strict=True)]


@serve.deployment(name="Router", ray_actor_options={"num_cpus": 0.5}, max_ongoing_requests=MOST_ONGOING, logging_config=QUIET)
@serve.ingress(api)  # pyright: ignore[reportUntypedClassDecorator]
class Router:
    """Splits users over the versions."""

    def __init__(self, stable: DeploymentHandle, candidate: DeploymentHandle) -> None:
        """Take a handle to each."""
        self._stable, self._candidate = stable, candidate

    @api.post("/")
    async def recommend(self, asked: Asked) -> dict[str, Any]:
        """Answer from the user's version."""
        handle = self._candidate if zlib.crc32(asked.user_id.encode()) % 100 < 5 else self._stable
        return {"user_id": asked.user_id, "items": await handle.rank.remote(asked.user_id, asked.k)}


def plain(args: dict[str, str]) -> serve.Application:
    """Both versions are the same one: only the way to it is measured."""
    version = Version.bind(args["store"], args["cache"], args["version"], args["digest"])  # pyright: ignore[reportFunctionMemberAccess]
    return Router.bind(version, version)  # pyright: ignore[reportFunctionMemberAccess]
