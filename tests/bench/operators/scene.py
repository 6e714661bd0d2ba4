"""Where operators are measured: a control plane, a broker and a stand-in for Ray on loopback; and how many objects are made fast."""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes.client import Configuration
from kubernetes.config import load_kube_config

from bench.ingest.measured import Measured
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
_REQUESTS = re.compile(r'^apiserver_request_total\{.*\bgroup="([^"]*)",resource="([^"]*)".*\bverb="(\w+)".*\} (\S+)$', re.MULTILINE)
_WRITES = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"})

Json = dict[str, Any]


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

    def writes(self) -> int:
        """Writes that the API server has taken so far, but for leases, which tell only that their holder lives."""
        text = self.cluster.kubectl("get", "--raw", "/metrics")
        found = ((resource, verb, value) for _, resource, verb, value in _REQUESTS.findall(text))
        return round(sum(float(value) for resource, verb, value in found if verb in _WRITES and resource != "leases"))


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
    left = list(reversed(objects))

    async def work(kube: Kube) -> None:
        while left:
            await _made(kube, *left.pop())

    async with client(cluster) as kube, asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(work(kube))


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
        brokers = kafka.start(run_dir / "kafka", brokers=1, progress=print)
        (port,) = free_ports(1)
        with Measured([sys.executable, "-m", "bench.operators.fake_ray", str(port)], run_dir / "ray.log"):
            cluster.kubectl("apply", "--server-side", "-f", str(DEFINITIONS))
            cluster.kubectl("wait", "--for=condition=Established", "crd", *(f"{kind.plural}.recsys.dev" for kind in KINDS))
            yield Scene(cluster=cluster, ray=f"http://127.0.0.1:{port}", kafka=brokers.bootstrap_servers, run_dir=run_dir)
    finally:
        for folder in ("kube", "kafka"):
            runs.discard(run_dir / folder)
        runs.discard(run_dir)
