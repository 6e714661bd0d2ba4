"""The whole line on a real node: KubeRay, the chart with the operator in pods, three brokers, and a folder that all pods share."""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from rich.console import Console

from recsys_dev import guide, image_archive, images, kafka, node, processes
from recsys_dev.cache import cache_dir
from recsys_dev.errors import Unmet
from recsys_dev.faults import FaultSwitch
from recsys_dev.go_build import Progress
from recsys_dev.kafka import Brokers
from recsys_dev.kubernetes import Cluster, CommandFailedError
from recsys_dev.line import CHART, RELEASE, REPOSITORY, SYSTEM
from recsys_dev.node import Node
from recsys_dev.node_addons import KUBERAY_IMAGE, install_kuberay
from recsys_dev.node_programs import KUBERAY
from recsys_dev.ports import LOOPBACK, free_ports, is_free
from recsys_dev.processes import Command

SHOP = "shop"
"""Namespace of the models: one that admits only what is `restricted`."""
MOUNTED = "/var/lib/recsys"
CLAIM = "recsys-storage"
_NOBODY = 65532
_PLUGIN, _OLDER = "demo", "older"
"""Folders within the shared one: the demo's own trainer, whose fault is no part of the product's image; an earlier operator's words."""
_TRIES = '"RAY_SERVE_HAPROXY_RETRIES": "5"'


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLine:
    """Everything that runs."""

    run_dir: Path
    node: Node
    brokers: Brokers

    @property
    def cluster(self) -> Cluster:
        """The control plane."""
        return self.node.cluster

    @property
    def storage(self) -> Path:
        """The shared folder, as this machine sees it."""
        return self.run_dir / "storage"

    @property
    def fault(self) -> FaultSwitch:
        """The demo's fault switch."""
        return FaultSwitch(file=self.storage / _PLUGIN / "fault")

    @property
    def ports(self) -> dict[str, list[int]]:
        """Where the operator must be let through: ports are drawn anew for each run."""
        assert self.cluster.papers is not None
        server = httpx.URL(self.cluster.papers.server).port or 443
        brokers = [int(each.rpartition(":")[2]) for each in self.brokers.bootstrap_servers.split(",")]
        return {"apiServerPorts": [443, server], "kafkaPorts": brokers}

    def address(self, service: str) -> str:
        """ClusterIP of a Service of the models' namespace."""
        return self.cluster.kubectl("--namespace", SHOP, "get", "service", service, "-o", "jsonpath={.spec.clusterIP}")

    def stop(self) -> None:
        """End everything."""
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda part: part.stop(), (self.node, self.brokers)))
        processes.stop_all(self.run_dir)


def start(run_dir: Path, progress: Progress) -> NodeLine:
    """Build the images, start the node with KubeRay and the brokers, give the node its images and the shared folder."""
    started = start_node(run_dir, progress)
    try:
        brokers = kafka.start(run_dir / "kafka", 3, host=started.host, progress=progress)
        line = NodeLine(run_dir=run_dir, node=started, brokers=brokers)
        _share_folder(line)
    except BaseException:
        started.stop()
        raise
    return line


def start_node(run_dir: Path, progress: Progress, *, beside: Sequence[Path] = ()) -> Node:
    """Build the images, start the node, give it its images and those of `beside`, and install KubeRay."""
    archives = images.archives([images.OPERATOR, images.RAY_APPS], progress)
    started = node.start(run_dir / "node", audit=True, progress=progress)
    try:
        kuberay = run_dir / "images" / "kuberay.tar"
        image_archive.of_program(kuberay, KUBERAY_IMAGE, cache_dir() / "bin" / KUBERAY.name)
        for archive in (kuberay, *archives.values(), *beside):
            progress(f"Importing {archive.name} ({archive.stat().st_size / 2**20:,.0f} MiB).")
            started.import_image(archive)
        progress("Installing KubeRay.")
        install_kuberay(started.cluster)
    except BaseException:
        started.stop()
        raise
    return started


def words(cluster: Cluster, namespace: str = SYSTEM, operator: str = RELEASE) -> str:
    """What a person would look at first when something did not come about."""
    asked = ["get pods,rayservices,rayclusters -A", "get events -A --sort-by=.lastTimestamp"]
    asked.append(f"--namespace {namespace} logs deployment/{operator} --tail=15")
    told: list[str] = []
    for question in asked:
        try:
            told += cluster.kubectl(*question.split()).splitlines()[-25:]
        except CommandFailedError as failed:
            told.append(str(failed))
    return "\n".join(line[:400] for line in told)


def played(run: Callable[[Console, bool], int]) -> int:
    """Play a run, which is told whether to stay up at its end (KEEP=1); SIGTERM ends it as Ctrl-C does, so that nothing is left behind.

    Raises:
        Unmet: a command on the cluster was refused.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=140)
    try:
        return run(console, os.environ.get("KEEP") == "1")
    except CommandFailedError as failed:
        raise Unmet("a command on the cluster", str(failed), "Its words say what to mend.") from failed


def stay(console: Console, cluster: Cluster) -> None:
    """Wait for Ctrl-C, so that somebody may look around."""
    console.print(f"Everything stays up: export KUBECONFIG={cluster.kubeconfig}. Ctrl-C ends it.", highlight=False)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def _share_folder(line: NodeLine) -> None:
    """A folder of this machine, as a volume for both namespaces; and in it the demo's trainer, and an earlier operator's words."""
    for source, name in (("dev", _PLUGIN), ("schemas", _OLDER)):
        shutil.copytree(REPOSITORY / source / "src", line.storage / name, ignore=shutil.ignore_patterns("__pycache__"))
    settings = line.storage / _OLDER / "recsys_schemas" / "serve_settings.py"
    settings.write_text(guide.changed(settings.read_text(), {_TRIES: _TRIES.replace("5", "3")}))
    for path in (line.storage, *line.storage.rglob("*")):
        os.chown(path, _NOBODY, _NOBODY)
    objects: list[dict[str, Any]] = []
    for namespace in (SYSTEM, SHOP):
        labels = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"}
        size, modes = {"storage": "10Gi"}, ["ReadWriteMany"]
        volume = {
            "capacity": size,
            "accessModes": modes,
            "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": str(line.storage)},
            "claimRef": {"namespace": namespace, "name": CLAIM},
        }
        claim = {"accessModes": modes, "storageClassName": "", "resources": {"requests": size}}
        objects += [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}},
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"recsys-{namespace}"}, "spec": volume},
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": CLAIM, "namespace": namespace}, "spec": claim},
        ]
    found = {"PYTHONPATH": f"{MOUNTED}/{_PLUGIN}"}
    objects.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": _PLUGIN, "namespace": SHOP}, "stringData": found})
    line.cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(objects))


BEFORE = ("operator.extraEnv[0].name=PYTHONPATH", f"operator.extraEnv[0].value={MOUNTED}/{_OLDER}")
"""With these an operator as one before this was: it tells clusters that it keeps to try three times, not five."""


def install(line: NodeLine, *settings: str) -> None:
    """`helm install`, or `helm upgrade` with further settings; returns when the operator's pods are ready."""
    trainer = f"env PYTHONPATH={MOUNTED}/{_PLUGIN} python -m recsys_dev.trainer --fault {MOUNTED}/{_PLUGIN}/fault"
    values = [f"storage.existingClaim={CLAIM}", f"operator.trainingCommand={trainer}", "image.pullPolicy=Never", *settings]
    values += ["resources.requests.cpu=50m", "resources.requests.memory=128Mi"]
    values += [f"networkPolicy.egress.{name}={{{','.join(map(str, ports))}}}" for name, ports in line.ports.items()]
    arguments = [word for value in values for word in ("--set", value)]
    line.cluster.helm("upgrade", "--install", RELEASE, str(CHART), "--namespace", SYSTEM, "--wait", "--timeout", "110s", *arguments)


@contextlib.contextmanager
def forwarded(line: NodeLine, url: str) -> Generator[str]:
    """A Service of the models' namespace, named by its URL within the cluster, at a port of this machine."""
    place = httpx.URL(url)
    (port,) = free_ports(1)
    argv: list[str | Path] = [line.cluster.programs / "kubectl", "--namespace", SHOP, "port-forward"]
    argv += [f"service/{place.host.partition('.')[0]}", f"{port}:{place.port}"]
    child = processes.start(line.run_dir, "port-forward", Command(argv=argv, env={"KUBECONFIG": str(line.cluster.kubeconfig)}))
    try:
        processes.wait_until(lambda: not is_free(port), what=f"a port of {place.host}", deadline_s=30, children=[child])
        yield f"http://{LOOPBACK}:{port}"
    finally:
        processes.stop(child)


def manifest(line: NodeLine, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The example, on a Ray cluster that KubeRay keeps: a head and a worker, small enough for a laptop."""
    model: dict[str, Any] = yaml.safe_load((REPOSITORY / "examples" / "movies.yaml").read_text())
    spec: dict[str, Any] = model["spec"]
    spec["ray"] = {
        "cluster": {
            "name": "movies",
            "head": {"cpu": "200m", "rayCpus": 6, "memory": "4Gi"},
            "workerGroups": [{"name": "serve", "replicas": 1, "size": {"cpu": "200m", "rayCpus": 2, "memory": "2Gi"}}],
            "storage": {"claim": CLAIM, "mountPath": MOUNTED},
            # Ray's workers import what the demo's trainer hands them.
            "credentialsSecret": _PLUGIN,
        }
    }
    spec["kafka"]["bootstrapServers"] = line.brokers.bootstrap_servers.split(",")
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = spec
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value
    return model
