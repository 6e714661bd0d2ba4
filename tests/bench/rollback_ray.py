"""A Ray head of which jobs are stood in for, and Serve is real: versions come at once, and real replicas serve them."""

import asyncio
import json
import time
from dataclasses import dataclass, field

import numpy as np
from aiohttp import ClientSession, ClientTimeout, web

from bench.serving_line import Arrays, good_arrays, write_files
from chaos.operator_ray import StandIn, card_of
from ray_apps.stores.objects import open_store
from recsys_dev.ray import RayHead
from recsys_schemas.train_job import TrainJob
from recsys_schemas.version_card import CARD_FILE, digest_of, version_folder

ITEMS, USERS, FACTORS = 400, 400, 8
FIRST = "movies-000001"
_SERVE = "/api/serve/applications/"


def failing_for_every_second(seed: int) -> Arrays:
    """ALS arrays whose system is singular for users who liked an even item (1 - 1 * 1 = 0), and has a solution for the others."""
    vectors = np.random.default_rng(seed).uniform(0.3, 0.7, size=(ITEMS, 1)).astype(np.float32)
    vectors[::2] = 1.0
    return {"item_factors": vectors, "gram_inverse": -np.eye(1), "trust": np.array([1.0, 0.0, 1.0])}


@dataclass
class HalfReal(StandIn):
    """The first version is good, each later one fails for every second user."""

    head: RayHead | None = None
    delay_s: float = 0.0
    """How long each config of Serve is held back."""
    taken: list[tuple[float, frozenset[str]]] = field(default_factory=list[tuple[float, frozenset[str]]])
    """When Ray took each config, and the versions that users see by it."""

    def train(self, train: TrainJob) -> None:
        number = int(train.version.rsplit("-", 1)[1])
        model = good_arrays(ITEMS, FACTORS, seed=number) if train.version == FIRST else failing_for_every_second(number)
        files = write_files(open_store(self.storage.as_uri()), train.version, model, items=ITEMS, users=USERS)
        digest = digest_of({name: about.sha256 for name, about in files.items()})
        told = {"files": files, "digest": digest, "users": USERS, "items": ITEMS, "interactions": USERS}
        self.write(f"{version_folder(train.version)}/{CARD_FILE}", card_of(train, self.manifest()).model_copy(update=told))

    async def serve(self, _: web.Request) -> web.Response:
        return await self._ask("GET")

    async def put(self, request: web.Request) -> web.Response:
        config = await request.read()
        await asyncio.sleep(self.delay_s)
        answer = await self._ask("PUT", config)
        applications = json.loads(config)["applications"]
        arms = [arm for app in applications for arm in app["deployments"][0]["user_config"]["arms"] if arm["share"]]
        self.taken.append((time.time(), frozenset(arm["version"] for arm in arms)))
        return answer

    def handed_over(self, version: str, verdict: float) -> float:
        """When Ray took the first config after a verdict by which nobody sees the version."""
        return next(at for at, seen in self.taken if at >= verdict and version not in seen)

    async def _ask(self, method: str, body: bytes | None = None) -> web.Response:
        assert self.head is not None
        headers = {"Authorization": f"Bearer {self.head.token}", "Content-Type": "application/json"}
        async with (
            ClientSession(headers=headers, timeout=ClientTimeout(total=60)) as session,
            session.request(method, f"{self.head.dashboard_url}{_SERVE}", data=body) as answer,
        ):
            return web.Response(status=answer.status, body=await answer.read(), content_type="application/json")
