"""What the storm over the operator plays on: a real API server, a real broker, proxies before both and before Ray, and the operator
itself as a process that is started again whenever it ends."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient
from kubernetes.client import Configuration
from kubernetes.config import load_kube_config

from chaos.operator_calls import Director, kafka_site, kubernetes_site, ray_site
from chaos.operator_proxy import LOOKS, KafkaProxy, Loop, Proxy
from chaos.operator_ray import StandIn
from recsys_dev import kafka, kubernetes
from recsys_dev.kafka import Brokers
from recsys_dev.kubernetes import Cluster
from recsys_dev.line import CHART, NAMESPACE, RELEASE, SYSTEM, api_path
from recsys_dev.ports import LOOPBACK, free_ports
from recsys_operator.world.errors import UnavailableError
from recsys_operator.world.kube import Kube, _tls, open_kube  # pyright: ignore[reportPrivateUsage]
from recsys_schemas.v1alpha1 import API_VERSION

OPERATOR = ("-m", "recsys_operator")
MODEL = "movies"
WAIT_S = 240.0


def wait_for(look: Callable[[], bool], what: str, limit_s: float = WAIT_S) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it did not come.
    """
    end = time.monotonic() + limit_s
    while not look():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {limit_s:.0f} s")
        time.sleep(0.1)


@dataclass(slots=True, kw_only=True)
class Parts:
    """What all runs share."""

    run_dir: Path
    cluster: Cluster
    brokers: Brokers
    loop: Loop
    kube: Kube
    configuration: Configuration
    kafka_proxy: KafkaProxy
    token: str

    def get(self, path: str) -> dict[str, Any] | None:
        """One object, past the proxy; asked again while the server says that it is not ready."""
        for _ in range(20):
            try:
                return self.loop.run(self.kube.get(path))
            except UnavailableError:
                time.sleep(0.5)
        return self.loop.run(self.kube.get(path))

    def items(self, path: str) -> list[dict[str, Any]]:
        """All objects of a folder, past the proxy."""
        found: list[dict[str, Any]] = (self.get(path) or {}).get("items", [])
        return found

    def topics(self) -> tuple[str, list[str]]:
        """The Kafka cluster's id and its topics. A broker sends us to the proxy too, which knows us by our client's id."""
        settings: dict[str, str | int | float | bool] = {"bootstrap.servers": f"{LOOPBACK}:{self.kafka_proxy.port}", "client.id": LOOKS}
        seen = AdminClient(settings).list_topics(timeout=WAIT_S)
        return str(seen.cluster_id), sorted(seen.topics)

    def beside(self, number: int) -> "Parts":
        """A lane for another run at the same time: the same control plane, and a broker of its own, for not every frame names its run."""
        brokers, door = _open_broker(self.run_dir / f"kafka-{number}", self.loop)
        return replace(self, brokers=brokers, kafka_proxy=door)

    def stop_broker(self) -> None:
        self.loop.run(self.kafka_proxy.stop())
        self.brokers.stop()

    def stop(self) -> None:
        self.stop_broker()
        self.loop.run(self.kube.close())
        self.loop.close()
        self.cluster.stop()


def _open_broker(folder: Path, loop: Loop) -> tuple[Brokers, KafkaProxy]:
    """A broker, and the proxy that it sends everyone to."""
    told = free_ports(1)[0]
    brokers = kafka.start(folder, 1, told_ports=[told])
    door = KafkaProxy(host=LOOPBACK, broker_port=brokers.nodes[0].client_port, site_of=kafka_site, port=told)
    loop.run(door.start())
    return brokers, door


def open_parts(run_dir: Path) -> Parts:
    """Start control plane, chart, broker and proxies."""
    loop = Loop()
    with ThreadPoolExecutor(1) as pool:
        broker = pool.submit(_open_broker, run_dir / "kafka", loop)
        cluster, configuration = _open_cluster(run_dir)
    brokers, door = broker.result()
    return Parts(
        run_dir=run_dir,
        cluster=cluster,
        brokers=brokers,
        loop=loop,
        kube=loop.run(_speak(configuration)),
        configuration=configuration,
        kafka_proxy=door,
        token=cluster.kubectl("create", "token", RELEASE, "--namespace", SYSTEM, "--duration=12h").strip(),
    )


async def _speak(configuration: Configuration) -> Kube:
    return open_kube(configuration)


def _open_cluster(run_dir: Path) -> tuple[Cluster, Configuration]:
    """The control plane with the chart in it."""
    cluster = kubernetes.start(run_dir / "kubernetes")
    cluster.helm("upgrade", "--install", RELEASE, str(CHART), "--namespace", SYSTEM, "--create-namespace", "--set", "replicas=0")
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=240s", "crd", "--all")
    # A kind's storage answers a moment after its definition is established; kubectl waits for it.
    cluster.kubectl("get", "rm,rmv,rro", "--all-namespaces")
    configuration = Configuration()
    load_kube_config(config_file=str(cluster.kubeconfig), client_configuration=configuration)
    return cluster, configuration


@dataclass(slots=True, kw_only=True)
class Keeper:
    """Keeps one operator running, as Kubernetes would."""

    parts: Parts
    name: str
    program: tuple[str, ...]
    storage: Path
    server: str
    starts: int = 0
    killed: set[int] = field(default_factory=set[int])
    """Pids of operators that a blow has ended."""
    child: subprocess.Popen[bytes] | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._thread.start()

    def crash(self) -> None:
        """As a power cut would."""
        child = self.child
        if child is not None and child.poll() is None:
            self.killed.add(child.pid)
            os.kill(child.pid, signal.SIGKILL)

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=WAIT_S)

    def _keep(self) -> None:
        while not self._stopping.is_set():
            self._launch()
            assert self.child is not None
            while self.child.poll() is None and not self._stopping.is_set():
                time.sleep(0.02)
            # Its lease would stand for 15 s more: here the clock is turned on.
            self.parts.loop.run(self.parts.kube.delete(f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/{self.name}"))
        assert self.child is not None
        self.child.kill()
        self.child.wait()

    def _launch(self) -> None:
        home = self.parts.run_dir / self.name
        home.mkdir(parents=True, exist_ok=True)
        config = home / "kubeconfig.json"
        config.write_text(json.dumps(_kubeconfig(self.server, self.parts.token)))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_") or name == "RECSYS_CACHE"}
        environment |= {
            "KUBECONFIG": str(config),
            "RECSYS_STORAGE_ROOT": self.storage.as_uri(),
            "RECSYS_WATCH_NAMESPACES": self.name,
            "RECSYS_LEASE_NAMESPACE": SYSTEM,
            "RECSYS_LEASE_NAME": self.name,
            "RECSYS_HTTP_PORT": str(free_ports(1)[0]),
        }
        with (home / f"operator-{self.starts:03d}.log").open("wb") as log:
            self.child = subprocess.Popen([sys.executable, *self.program], env=environment, stdout=log, stderr=log)
        self.starts += 1


def _kubeconfig(server: str, token: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
    }


@dataclass(slots=True, kw_only=True)
class Stage:
    """One run: a namespace with one model, its Ray, and its operator."""

    parts: Parts
    name: str
    director: Director
    ray: StandIn
    ray_proxy: Proxy
    kube_proxy: Proxy
    keeper: Keeper

    def look(self) -> dict[str, Any]:
        """The model's status."""
        return (self.parts.get(api_path(self.name, "recommendermodels", MODEL)) or {}).get("status", {})

    def rollouts(self) -> dict[str, dict[str, Any]]:
        """Rollouts by name."""
        return {body["metadata"]["name"]: body for body in self.parts.items(api_path(self.name, "recommenderrollouts"))}

    def phase_of(self, rollout: str) -> str:
        """Where a rollout stands."""
        body = self.parts.get(api_path(self.name, "recommenderrollouts", rollout)) or {}
        return str(body.get("status", {}).get("phase", ""))

    def patch(self, spec: dict[str, Any]) -> None:
        """Change the model as a person does."""
        self.parts.loop.run(self.parts.kube.merge(api_path(self.name, "recommendermodels", MODEL), {"spec": spec}))

    def close(self) -> None:
        self.keeper.stop()
        self.parts.kafka_proxy.directors.pop(self.name)
        self.parts.loop.run(self.kube_proxy.stop())
        self.parts.loop.run(self.ray_proxy.stop())
        self.parts.loop.run(self.ray.stop())


def open_stage(
    parts: Parts,
    name: str,
    director: Director,
    *,
    program: tuple[str, ...] = OPERATOR,
    bad: frozenset[str] = frozenset(),
    ray: StandIn | None = None,
) -> Stage:
    """A fresh namespace, an empty Ray (a stand-in of its own, unless one is given), and an operator with nothing to do yet."""
    storage = parts.run_dir / name / "storage"
    ray = ray or StandIn(storage=storage / "model", bad=bad)
    before = Proxy(upstream=ray.url, site_of=lambda method, path, _query, body: ray_site(method, path, body), director=director)
    api = Proxy(
        upstream=parts.configuration.host,
        site_of=lambda method, path, query, _body: kubernetes_site(method, path, query),
        director=director,
        context=_tls(parts.configuration),
    )
    keeper = Keeper(parts=parts, name=name, program=program, storage=storage, server=api.url)
    director.crash = keeper.crash
    parts.loop.run(api.start())
    parts.loop.run(ray.start())
    parts.loop.run(before.start())
    ray.cluster_id, _ = parts.topics()
    parts.kafka_proxy.directors[name] = director
    parts.cluster.kubectl("create", "namespace", name)
    parts.cluster.kubectl("create", "secret", "generic", "ray-auth", "--namespace", name, "--from-literal=token=none")
    return Stage(parts=parts, name=name, director=director, ray=ray, ray_proxy=before, kube_proxy=api, keeper=keeper)


def apply_model(stage: Stage, steps: list[dict[str, Any]]) -> None:
    """Make the model, with short times."""
    topics = [
        {"name": f"{stage.name}.{role.lower()}", "role": role, "partitions": 1, "replicas": 1, "minInsyncReplicas": 1}
        for role in ("Watch", "Requests", "Responses")
    ]
    spec: dict[str, Any] = {
        "ray": {"dashboardURL": stage.ray_proxy.url, "servingURL": stage.ray_proxy.url},
        "kafka": {"bootstrapServers": [f"{LOOPBACK}:{stage.parts.kafka_proxy.port}"], "topics": topics},
        "data": {"snapshot": {"storageURI": stage.ray.storage.as_uri()}},
        "model": {"algorithm": "ALS", "baselines": []},
        "training": {"initialRecords": 200, "newRecords": 200, "cooldownSeconds": 0},
        "serving": {"replicas": 1},
        "rollout": {
            "steps": steps,
            "analysis": {"minimumSeconds": 0, "minimumRequests": 100, "attributionSeconds": 1},
            "onFailure": {"cooldownSeconds": 0},
        },
    }
    body = {"apiVersion": API_VERSION, "kind": "RecommenderModel", "metadata": {"name": MODEL, "namespace": stage.name}, "spec": spec}
    stage.parts.cluster.kubectl("apply", "-f", "-", input=json.dumps(body))


def effects(stage: Stage) -> dict[str, Any]:
    """The end state, and every side effect with how often it was had; names that differ from run to run are left out."""
    versions = {body["metadata"]["name"]: body for body in stage.parts.items(api_path(stage.name, "recommendermodelversions"))}
    status = stage.look()
    secret = stage.parts.get(f"/api/v1/namespaces/{stage.name}/secrets/{MODEL}-api") or {}
    _, named = stage.parts.topics()
    return {
        "phase": status.get("phase"),
        "champion": (status.get("champion") or {}).get("version"),
        "history": [(entry["version"], entry["outcome"]) for entry in status.get("history", [])],
        "conditions": sorted((each["type"], each["status"], each["reason"]) for each in status.get("conditions", [])),
        "versions": {name: _version(body) for name, body in sorted(versions.items())},
        "rollouts": {name: _rollout(body) for name, body in sorted(stage.rollouts().items())},
        "jobs begun": dict(sorted(Counter(_job(each) for each in stage.ray.began).items())),
        # With or without an application before the first version: a matter of moments.
        "arms, each time that they changed": [arms for arms in stage.ray.walks if arms],
        "topics": [name.removeprefix(stage.name) for name in named if name.startswith(f"{stage.name}.")],
        "keys of the API": sorted(secret.get("data", {})),
    }


def _version(body: dict[str, Any]) -> tuple[Any, ...]:
    seen = body.get("status", {})
    return seen.get("phase"), (seen.get("artifact") or {}).get("digest"), seen.get("attempt"), body["spec"]["cause"]["trigger"]


def _rollout(body: dict[str, Any]) -> tuple[Any, ...]:
    spec, seen = body["spec"], body.get("status", {})
    verdicts = [decision["verdict"] for decision in seen.get("decisions", [])]
    return seen.get("phase"), spec["candidate"]["name"], (spec.get("stable") or {}).get("name"), verdicts


def _job(job_id: str) -> str:
    """Kind and version of a job: without its model's uid, and without its attempt, for a second one is a second run."""
    kind, *rest = job_id.split("-")
    return f"{kind} {'-'.join(rest[:2]) if kind in ('train', 'preflight') else rest[0]}"


def left_behind(stage: Stage) -> list[str]:
    """What a deleted model has left: nothing should be."""
    running = [job.id for job in stage.ray.jobs.values() if job.word == "RUNNING"]
    app = [stage.ray.app["name"]] if stage.ray.app else []
    objects = [
        f"{plural}/{body['metadata']['name']}"
        for plural in ("recommendermodels", "recommendermodelversions", "recommenderrollouts")
        for body in stage.parts.items(api_path(stage.name, plural))
    ]
    return [*running, *app, *objects]
