"""The whole line on one machine: control plane, brokers, Ray head, chart, operator; started together, ended together."""

import base64
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from recsys_dev import kafka, kubernetes, processes, ray
from recsys_dev.errors import Unmet
from recsys_dev.faults import FaultSwitch
from recsys_dev.go_build import Progress
from recsys_dev.kafka import Brokers
from recsys_dev.kubernetes import Cluster
from recsys_dev.ports import LOOPBACK, free_ports
from recsys_dev.processes import Child, Command
from recsys_dev.ray_head import RayHead
from recsys_schemas.v1alpha1 import GROUP, VERSION

REPOSITORY = Path(__file__).resolve().parents[3]
CHART = REPOSITORY / "charts" / "recsys-operator"
SYSTEM = "recsys"
"""Namespace of the operator."""
NAMESPACE = "default"
"""Namespace of the models, so that `kubectl get rm -w` needs no flag."""
RELEASE = "recsys-operator"
READY_DEADLINE_S = 300.0
RAY_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Everything that runs, and where it answers."""

    run_dir: Path
    cluster: Cluster
    brokers: Brokers
    head: RayHead
    operator_port: int

    @property
    def storage(self) -> Path:
        """Where snapshots and versions are kept."""
        return self.run_dir / "storage"

    @property
    def fault(self) -> FaultSwitch:
        """The demo's fault switch."""
        return FaultSwitch(file=self.run_dir / "fault")

    @property
    def operator(self) -> Child | None:
        """The operator's process, as last started."""
        return processes.read(self.run_dir / "pid" / "operator")

    def start_operator(self, program: Sequence[str] = ("-m", "recsys_operator")) -> Child:
        """Start the operator with nothing but its ServiceAccount's rights; returns when it says that it is ready.

        Args:
            program: what Python runs; a test may run a broken twin.
        """
        kubeconfig = self.cluster.service_account_kubeconfig(SYSTEM, RELEASE)
        fault = f"--fault {self.fault.file}"
        settings = {
            "KUBECONFIG": str(kubeconfig),
            "RECSYS_STORAGE_ROOT": self.storage.as_uri(),
            "RECSYS_LEASE_NAMESPACE": SYSTEM,
            "RECSYS_LEASE_NAME": RELEASE,
            "RECSYS_HTTP_PORT": str(self.operator_port),
            "RECSYS_TRAINING_COMMAND": f"python -m recsys_dev.trainer {fault}",
        }
        child = processes.start(self.run_dir, "operator", Command(argv=[sys.executable, *program], env=settings))
        url = f"http://{LOOPBACK}:{self.operator_port}/readyz"
        processes.wait_until(lambda: _answers(url), what=f"the operator at {url}", deadline_s=READY_DEADLINE_S, children=[child])
        return child

    def write_kubectl(self) -> Path:
        """Write a `kubectl` that speaks to this cluster, for a person's other terminal; return its path."""
        path = self.run_dir / "kubectl"
        kubectl, config = shlex.quote(str(self.cluster.programs / "kubectl")), shlex.quote(str(self.cluster.kubeconfig))
        plugins = shlex.quote(str(Path(sys.executable).parent))
        path.write_text(f'#!/bin/sh\nexport KUBECONFIG={config} PATH={plugins}:"$PATH"\nexec {kubectl} "$@"\n')
        path.chmod(0o700)
        return path

    def stop(self) -> None:
        """End everything, the operator first, so that nothing is decided while the rest goes."""
        if (child := self.operator) is not None:
            processes.stop(child)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda part: part.stop(), (self.head, self.brokers, self.cluster)))
        processes.stop_all(self.run_dir)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0, trust_env=False).is_success
    except httpx.TransportError:
        return False


def start_parts(run_dir: Path, progress: Progress, *, audit: bool = False) -> Line:
    """Start control plane, three brokers and a Ray head at the same time; what the user has is used instead.

    `KUBECONFIG`, `KAFKA_BOOTSTRAP_SERVERS` and `RAY_ADDRESS` name what the user has. With `audit` the API server logs who asked what.

    Raises:
        Unmet: when one of them cannot start; those that did are ended.
    """
    # Jobs are started by a shell on the head: `python` must be the one that has the product.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    # Ray runs its workers at nice 15: beside brokers and load on two cores, whoever serves would starve.
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ["RECSYS_VERSION_CACHE"] = str(run_dir / "version-cache")
    with ThreadPoolExecutor(3) as pool:
        cluster = pool.submit(lambda: kubernetes.start(run_dir / "kubernetes", audit=audit, use_existing=True, progress=progress))
        brokers = pool.submit(lambda: kafka.existing() or kafka.start(run_dir / "kafka", 3, progress=progress))
        head = pool.submit(lambda: ray.existing() or _start_ray(run_dir / "ray", progress))
    return Line(run_dir=run_dir, cluster=cluster.result(), brokers=brokers.result(), head=head.result(), operator_port=free_ports(1)[0])


def _start_ray(run_dir: Path, progress: Progress) -> RayHead:
    """Start a head; one that gives itself up on a busy machine (Ray allows itself 30 s) is started again."""
    for attempt in range(1, RAY_ATTEMPTS + 1):
        try:
            return ray.start(run_dir, progress=progress)
        except (Unmet, httpx.HTTPError) as error:
            if attempt == RAY_ATTEMPTS:
                raise
            progress(f"Ray did not start ({type(error).__name__}); once more.")
    raise AssertionError


def install_chart(line: Line) -> None:
    """Install the chart: definitions, roles and the ServiceAccount; no pods, for here the operator is a process."""
    arguments = ["--namespace", SYSTEM, "--create-namespace", "--set", "replicas=0", "--set", f"storage.root={line.storage.as_uri()}"]
    line.cluster.helm("upgrade", "--install", RELEASE, str(CHART), *arguments)
    kinds = [f"crd/{name}.{GROUP}" for name in ("recommendermodels", "recommendermodelversions", "recommenderrollouts")]
    line.cluster.kubectl("wait", "--for=condition=Established", "--timeout=240s", *kinds)


def make_ray_secret(line: Line, namespace: str = NAMESPACE) -> None:
    """Put the token of Ray's APIs where models look for it."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "ray-auth", "namespace": namespace},
        "data": {"token": base64.b64encode((line.head.token or "none").encode()).decode()},
    }
    line.cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(secret))


def manifest_of(example: Path, line: Line, changes: Mapping[str, Any]) -> dict[str, Any]:
    """An example with the addresses of this line, and `changes` by dotted path, such as `spec.training.newRecords`."""
    manifest: dict[str, Any] = yaml.safe_load(example.read_text())
    addresses: dict[str, Any] = {
        "spec.ray.dashboardURL": line.head.dashboard_url,
        "spec.kafka.bootstrapServers": line.brokers.bootstrap_servers.split(","),
    }
    for path, value in {**addresses, **changes}.items():
        *parents, last = path.split(".")
        place: dict[str, Any] = manifest
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value
    return manifest


def apply_model(line: Line, manifest: Mapping[str, Any], namespace: str = NAMESPACE) -> str:
    """Apply a model; returns its name. An invalid one raises with the API server's words."""
    line.cluster.kubectl("apply", "--namespace", namespace, "-f", "-", input=yaml.safe_dump(dict(manifest)))
    return str(manifest["metadata"]["name"])


def api_path(namespace: str, plural: str, name: str = "") -> str:
    """Path of one kind's objects, or of one object, on the API server."""
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")
