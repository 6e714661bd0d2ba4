"""What the tests of the operator against a real API server share: our kinds, a model, and clients of the operator's own making."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from kubernetes.client import Configuration
from kubernetes.config import load_kube_config

from recsys_dev import processes
from recsys_dev.kubernetes import Cluster, CommandFailedError
from recsys_operator.state.observed import Key, ModelState, Observed
from recsys_operator.world.objects import MODELS, Unreadable, place, read_model
from recsys_operator.world.observe import observe
from recsys_operator.world.world import World, open_world

DEFINITIONS = Path(__file__).resolve().parents[2] / "charts" / "recsys-operator" / "files" / "crds"
SPEC: dict[str, Any] = {"ray": {"dashboardURL": "http://127.0.0.1:1"}, "kafka": {"bootstrapServers": ["127.0.0.1:1"]}}
NOW = datetime(2026, 9, 1, 3, 40, tzinfo=UTC)

T = TypeVar("T")


def define(cluster: Cluster) -> None:
    """Our kinds, established."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(DEFINITIONS))
    cluster.kubectl("wait", "--for=condition=Established", "-f", str(DEFINITIONS), "--timeout=60s")
    # A kind's storage answers a moment after its definition is established; kubectl waits for it.
    cluster.kubectl("get", "rm,rmv,rro", "--all-namespaces")


def in_force(cluster: Cluster, account: str, verb: str, what: str, *, namespace: str) -> None:
    """Wait until a right of a ServiceAccount (`namespace:name`) holds: who authorises learns of a binding a moment after it was made."""

    def may() -> bool:
        try:
            cluster.kubectl("auth", "can-i", verb, what, "--namespace", namespace, f"--as=system:serviceaccount:{account}")
        except CommandFailedError:
            return False
        return True

    processes.wait_until(may, what=f"that {account} may {verb} {what} in {namespace}", deadline_s=60)


def configuration(kubeconfig: Path) -> Configuration:
    found = Configuration()
    load_kube_config(config_file=str(kubeconfig), client_configuration=found)
    return found


@dataclass(frozen=True, kw_only=True)
class Place:
    """A namespace of a real API server, and where models of it keep their files."""

    cluster: Cluster
    namespace: str
    storage: Path

    def world(self, use: Callable[[World], Awaitable[T]], kubeconfig: Path | None = None, *, leading: bool = True) -> T:
        """Open the operator's clients, use them, close them."""

        async def run() -> T:
            found = configuration(kubeconfig or self.cluster.kubeconfig)
            opened = open_world(
                found, leading=lambda: leading, storage_root=f"file://{self.storage}", training_command="python -m ray_apps.training"
            )
            async with opened as world:
                return await use(world)

        return asyncio.run(run())

    def kubectl(self, *args: str, given: str | None = None) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *args, input=given)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return json.loads(self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found") or "{}")

    def model(self, name: str = "movies", **spec: Any) -> ModelState:
        """Make a model and read it as the operator does."""
        body = {"apiVersion": "recsys.dev/v1alpha1", "kind": "RecommenderModel", "metadata": {"name": name}, "spec": SPEC | spec}
        self.kubectl("apply", "-f", "-", given=json.dumps(body))
        return self.read(name)

    def read(self, name: str = "movies") -> ModelState:
        body = self.world(lambda world: world.kube.get(place(MODELS, self.namespace, name)))
        assert body is not None
        return read_model(body, f"file://{self.storage}")

    def observe(self, name: str = "movies") -> Observed | Unreadable | None:
        return self.world(lambda world: observe(world, Key(namespace=self.namespace, name=name), NOW))

    def observed(self, name: str = "movies") -> Observed:
        seen = self.observe(name)
        assert isinstance(seen, Observed)
        return seen

    def secret(self, name: str, **data: str) -> None:
        self.kubectl("create", "secret", "generic", name, *(f"--from-literal={key}={value}" for key, value in data.items()))
