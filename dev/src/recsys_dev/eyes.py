"""Sees what `kubectl` would: one model with its versions and rollouts, cheaply and often.

`kubectl proxy` on a socket that only this user may open carries the admin's rights, whatever kind of kubeconfig there is.
"""

import base64
import contextlib
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from recsys_dev import processes
from recsys_dev.kubernetes import Cluster
from recsys_dev.line import NAMESPACE, Line, api_path
from recsys_dev.processes import Child, Command
from recsys_schemas.v1alpha1.conditions import Condition
from recsys_schemas.v1alpha1.model import ModelSpec
from recsys_schemas.v1alpha1.model_status import ModelStatus
from recsys_schemas.v1alpha1.rollout import RolloutSpec, RolloutStatus
from recsys_schemas.v1alpha1.version import VersionSpec, VersionStatus

READY_DEADLINE_S = 60.0
Json = dict[str, Any]
_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSeen:
    """One version object."""

    name: str
    created_at: datetime
    spec: VersionSpec
    status: VersionStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSeen:
    """One rollout object."""

    name: str
    spec: RolloutSpec
    status: RolloutStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One look at a model."""

    spec: ModelSpec
    status: ModelStatus
    versions: tuple[VersionSeen, ...] = ()
    rollouts: tuple[RolloutSeen, ...] = ()

    def condition(self, kind: str) -> Condition | None:
        """One condition of the model."""
        return next((condition for condition in self.status.conditions if condition.type == kind), None)

    def holds(self, kind: str) -> bool:
        """Whether a condition is True."""
        condition = self.condition(kind)
        return condition is not None and condition.status == "True"

    def version(self, number: int) -> VersionSeen | None:
        """The version numbered so, from 1."""
        return next((version for version in self.versions if version.name.endswith(f"-{number:06d}")), None)

    def rollout(self, name: str) -> RolloutSeen | None:
        """The rollout of a version."""
        return next((rollout for rollout in self.rollouts if rollout.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """Reads the API server through a socket."""

    http: httpx.Client
    child: Child
    folder: Path
    namespace: str = field(default=NAMESPACE)

    def look(self, model: str) -> Seen | None:
        """One look at a model; None when it is not there."""
        body = self.get(api_path(self.namespace, "recommendermodels", model))
        if body is None:
            return None
        uid = body["metadata"]["uid"]
        versions = [item for item in self._items("recommendermodelversions") if item["spec"]["modelRef"]["uid"] == uid]
        rollouts = [item for item in self._items("recommenderrollouts") if item["spec"]["modelRef"]["uid"] == uid]
        return Seen(
            spec=ModelSpec.model_validate(body["spec"], extra="ignore"),
            status=_read(ModelStatus, body),
            versions=tuple(
                VersionSeen(
                    name=item["metadata"]["name"],
                    created_at=datetime.fromisoformat(item["metadata"]["creationTimestamp"]),
                    spec=VersionSpec.model_validate(item["spec"], extra="ignore"),
                    status=_read(VersionStatus, item),
                )
                for item in versions
            ),
            rollouts=tuple(
                RolloutSeen(
                    name=item["metadata"]["name"],
                    spec=RolloutSpec.model_validate(item["spec"], extra="ignore"),
                    status=_read(RolloutStatus, item),
                )
                for item in rollouts
            ),
        )

    def _items(self, plural: str) -> list[Json]:
        body = self.get(api_path(self.namespace, plural))
        return sorted(body["items"], key=lambda item: item["metadata"]["name"]) if body else []

    def secret(self, name: str, key: str) -> str | None:
        """One key of a Secret as text; None when it is not there."""
        body = self.get(f"/api/v1/namespaces/{self.namespace}/secrets/{name}")
        value = (body or {}).get("data", {}).get(key)
        return None if value is None else base64.b64decode(value).decode()

    def get(self, path: str) -> Json | None:
        """One object or list; None when it is not there.

        Raises:
            httpx.HTTPError: the API server does not answer, or refuses.
        """
        answer = self.http.get(path)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return answer.json()

    def close(self) -> None:
        """Close the socket."""
        self.http.close()
        processes.stop(self.child)
        shutil.rmtree(self.folder, ignore_errors=True)


def _read(model: type[_M], body: Json) -> _M:
    return model.model_validate(body.get("status") or {}, extra="ignore")


def open_eyes(line: Line) -> Eyes:
    """Begin to look; `close` ends it."""
    return look_at(line.cluster, line.run_dir)


def look_at(cluster: Cluster, run_dir: Path, namespace: str = NAMESPACE) -> Eyes:
    """Begin to look at the models of a namespace; `close` ends it."""
    # Names of sockets are short: the system's folder for temporary files, readable by this user only.
    folder = Path(tempfile.mkdtemp(prefix="recsys-eyes-"))
    socket = folder / "api"
    argv = [cluster.programs / "kubectl", "proxy", f"--unix-socket={socket}"]
    child = processes.start(run_dir, "kubectl-proxy", Command(argv=argv, env={"KUBECONFIG": str(cluster.kubeconfig)}))
    http = httpx.Client(transport=httpx.HTTPTransport(uds=str(socket), retries=2), base_url="http://localhost", timeout=30.0)

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return http.get("/readyz").is_success
        return False

    processes.wait_until(answers, what="kubectl proxy", deadline_s=READY_DEADLINE_S, children=[child])
    return Eyes(http=http, child=child, folder=folder, namespace=namespace)
