"""Where operators are measured: a control plane, a broker and a stand-in for Ray on loopback; and how many objects are made fast."""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kubernetes.client import Configuration
from kubernetes.config import load_kube_config

from bench.ingest.measured import Measured, cpu_s
from recsys_dev import kafka, kubernetes, runs
from recsys_dev.kubernetes import Cluster
from recsys_dev.ports import free_ports
from recsys_operator.world.errors import UnavailableError
from recsys_operator.world.kube import ConflictError, Kube, open_kube
from recsys_schemas.kinds import KINDS

ROOT = Path(__file__).resolve().parents[3]
DEFINITIONS = ROOT / "charts" / "recsys-operator" / "files" / "crds"
AT_ONCE = 16
TRIES = 5
BROKER_HEAP = "-Xmx3g"
"""A topic for each model's dead letters: with the 256 MiB of a test's broker, ten thousand of them leave it collecting garbage."""
_REQUESTS = re.compile(r'^apiserver_request_total\{.*\bgroup="([^"]*)",resource="([^"]*)".*\bverb="(\w+)".*\} (\S+)$', re.MULTILINE)
_WRITES = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"})

Json = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What the operators speak to."""

    cluster: Cluster
    ray: str
    kafka: str
    run_dir: Path

    def create(self, objects: Sequence[tuple[str, Json]]) -> None:
        """Make objects, each at the path of its folder; one that is there already is as good."""
        asyncio.run(_create(self.cluster, objects))

    def change(self, objects: Sequence[tuple[str, Json]]) -> None:
        """Change fields of objects, each at its own path, as many at once as can be."""
        asyncio.run(_change(self.cluster, objects))

    def each(self, paths: Sequence[str], work: Callable[[Kube, str], Awaitable[None]]) -> None:
        """Do something with each path, as many at once as objects are made."""
        asyncio.run(_each(self.cluster, paths, work))

    def writes(self) -> int:
        """Writes that the API server has taken so far, but for leases, which tell only that their holder lives."""
        return round(sum(count for verb, count in self._requests() if verb in _WRITES))

    def calls(self) -> int:
        """Calls that the API server has answered so far; a watch is one when it ends."""
        return round(sum(count for _, count in self._requests()))

    def _requests(self) -> Iterator[tuple[str, float]]:
        text = self.cluster.kubectl("get", "--raw", "/metrics")
        for _, resource, verb, value in _REQUESTS.findall(text):
            if resource != "leases":
                yield verb, float(value)

    def cpu_s(self) -> dict[str, float]:
        """CPU-seconds so far of the API server and of etcd."""
        pids = {child.name: child.pid for child in self.cluster.children}
        return {name: cpu_s(pids[name]) for name in ("kube-apiserver", "etcd")}


@contextlib.asynccontextmanager
async def client(cluster: Cluster) -> AsyncGenerator[Kube]:
    """The API server as its admin speaks to it."""
    configuration = Configuration()
    load_kube_config(config_file=str(cluster.kubeconfig), client_configuration=configuration)
    kube = open_kube(configuration)
    try:
        yield kube
    finally:
        await kube.close()


async def _create(cluster: Cluster, objects: Sequence[tuple[str, Json]]) -> None:
    await _each(cluster, objects, lambda kube, placed: _made(kube, *placed))


async def _each(cluster: Cluster, these: Sequence[T], work: Callable[[Kube, T], Awaitable[None]]) -> None:
    left = list(reversed(these))

    async def on(kube: Kube) -> None:
        while left:
            await work(kube, left.pop())

    async with client(cluster) as kube, asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(on(kube))


async def _made(kube: Kube, path: str, body: Json) -> None:
    """Make one object; an API server that is busy is asked again, so often and no more."""
    for turn in range(TRIES):
        try:
            with contextlib.suppress(ConflictError):
                await kube.create(path, body)
        except UnavailableError:
            if turn == TRIES - 1:
                raise
            await asyncio.sleep(turn + 1)
        else:
            return


async def _change(cluster: Cluster, objects: Sequence[tuple[str, Json]]) -> None:
    async with client(cluster) as kube, asyncio.TaskGroup() as tasks:
        for path, body in objects:
            tasks.create_task(kube.merge(path, body))


@contextlib.contextmanager
def scene() -> Generator[Scene]:
    """A control plane, a broker and the stand-in for Ray, all on loopback."""
    run_dir = runs.claim(ROOT / "build" / "run" / "bench-operator")
    try:
        cluster = kubernetes.start(run_dir / "kube", progress=print)
        brokers = kafka.start(run_dir / "kafka", brokers=1, options=[BROKER_HEAP], progress=print)
        (port,) = free_ports(1)
        with Measured([sys.executable, "-m", "bench.operators.fake_ray", str(port)], run_dir / "ray.log"):
            cluster.kubectl("apply", "--server-side", "-f", str(DEFINITIONS))
            cluster.kubectl("wait", "--for=condition=Established", "crd", *(f"{kind.plural}.recsys.dev" for kind in KINDS))
            yield Scene(cluster=cluster, ray=f"http://127.0.0.1:{port}", kafka=brokers.bootstrap_servers, run_dir=run_dir)
    finally:
        for folder in ("kube", "kafka"):
            runs.discard(run_dir / folder)
        runs.discard(run_dir)
