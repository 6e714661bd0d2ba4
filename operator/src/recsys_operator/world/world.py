"""Everything outside the process that the operator speaks to."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from kubernetes.client import Configuration

from recsys_operator.state import kept
from recsys_operator.state.observed import ModelState
from recsys_operator.world.courier import Courier
from recsys_operator.world.definitions import Definitions
from recsys_operator.world.errors import UnavailableError
from recsys_operator.world.kafka import Kafka
from recsys_operator.world.kube import Kube, open_kube
from recsys_operator.world.kuberay import Keeper, used_cluster
from recsys_operator.world.ray import RayCluster, Rays
from recsys_operator.world.registry import Registry
from recsys_operator.world.tokens import read_key
from recsys_schemas.v1alpha1.ray_cluster import SecretKey

_THREADS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The clients; one set for the whole process."""

    kube: Kube
    kafka: Kafka
    rays: Rays
    registry: Registry
    http: httpx.AsyncClient
    """For the replicas."""
    courier: Courier
    leading: Callable[[], bool]
    """Whether we have the lease still, by our own clock."""
    storage_root: str
    """Where models that name no storage keep theirs."""
    ray_image: str = ""
    """What pods of kept Ray clusters run when the model names no image."""
    definitions: Definitions = field(default_factory=Definitions)

    def must_lead(self) -> None:
        """Asked before whatever changes the world: a process that stood still wakes in the middle of a pass, and another leads by then.

        Raises:
            UnavailableError: the lease has run out.
        """
        if not self.leading():
            raise UnavailableError("the lease has run out: another operator may be at work, and this one changes nothing")

    async def ray(self, model: ModelState) -> RayCluster:
        """The model's Ray cluster, with the token that its Secret holds now.

        Raises:
            UnavailableError: KubeRay has not made the cluster yet.
            RefusedError: there is no such Secret, or no such key in it.
        """
        asked, namespace = model.spec.ray, model.key.namespace
        if asked.cluster is not None:
            return await self.kept(namespace, asked.cluster.name)
        assert asked.dashboard_url is not None
        ref = asked.token_secret_ref
        token = await read_key(self.kube, namespace, ref, "spec.ray.tokenSecretRef")
        return self.rays.at(asked.dashboard_url, token, secret=f"{namespace}/{ref.name}, key {ref.key!r}")

    async def kept(self, namespace: str, name: str) -> RayCluster:
        """The RayCluster that a RayService has in use, with the Serve config where KubeRay reads it."""
        used = await used_cluster(self.kube, namespace, name)
        ref = SecretKey(name=kept.token_secret(name), key=kept.TOKEN_KEY)
        token = await read_key(self.kube, namespace, ref, "spec.ray.cluster")
        keeper = Keeper(kube=self.kube, namespace=namespace, name=name)
        return self.rays.at(kept.dashboard_url(namespace, used), token, secret=f"{namespace}/{ref.name}, key {ref.key!r}", keeper=keeper)


@asynccontextmanager
async def open_world(
    configuration: Configuration, *, leading: Callable[[], bool], storage_root: str, training_command: str, ray_image: str = ""
) -> AsyncGenerator[World]:
    """Open the clients, and close them at the end."""
    # Kafka's client blocks: its calls have threads of their own number, so that a silent broker holds up no other model for long.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="world"))
    kube = open_kube(configuration)
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=16)
    http = httpx.AsyncClient(limits=limits, trust_env=False, follow_redirects=False)
    courier = Courier()
    try:
        rays = Rays(http=http, training_command=training_command)
        yield World(
            kube=kube,
            kafka=Kafka(),
            rays=rays,
            registry=Registry(),
            http=http,
            courier=courier,
            leading=leading,
            storage_root=storage_root,
            ray_image=ray_image,
        )
    finally:
        await courier.stop()
        await http.aclose()
        await kube.close()
