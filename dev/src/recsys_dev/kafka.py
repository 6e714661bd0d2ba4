"""Real Kafka brokers (KRaft, no ZooKeeper) on loopback, for the demo and for the tests alike.

Three brokers are also the three controllers. Two of three alive keep the quorum and, with replication 3 and
`min.insync.replicas` 2, every acknowledged record; with one of three alive requests time out. A broker takes 2-3 s to be
ready and 160-250 MB.
"""

import base64
import json
import logging
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from recsys_dev import kafka_jars, processes
from recsys_dev.cache import Progress
from recsys_dev.errors import Unmet
from recsys_dev.kafka_security import Guard, guarded
from recsys_dev.kafka_settings import Node, server_properties
from recsys_dev.ports import LOOPBACK, free_ports
from recsys_dev.processes import Child, Command

READY_DEADLINE_S = 300.0
FORMAT_DEADLINE_S = 120.0
LOOK_S = 3.0
_quiet = logging.getLogger("recsys_dev.kafka.client")


@dataclass(frozen=True, slots=True, kw_only=True)
class Brokers:
    """A Kafka cluster. One that we started has `nodes` and a `run_dir`; an `existing` one has only its address."""

    bootstrap_servers: str
    run_dir: Path | None = None
    nodes: tuple[Node, ...] = ()

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids of the brokers that we run, in order; empty for an existing cluster."""
        return tuple(node.id for node in self.nodes)

    @property
    def sasl_servers(self) -> str:
        """Where a guarded cluster takes SASL over TLS."""
        return ",".join(f"{LOOPBACK}:{node.sasl_port}" for node in self.nodes if node.sasl_port)

    @property
    def tls_servers(self) -> str:
        """Where a guarded cluster takes mutual TLS."""
        return ",".join(f"{LOOPBACK}:{node.tls_port}" for node in self.nodes if node.tls_port)

    def alive(self) -> tuple[int, ...]:
        """Return the ids of our brokers whose process runs now."""
        return tuple(node.id for node in self.nodes if (child := self._child(node.id)) is not None and child.is_alive())

    def kill(self, broker: int) -> None:
        """End a broker as a power cut would (SIGKILL), and return when it is gone. Data stay on disk."""
        child = self._child(broker)
        if child is None:
            raise Unmet(f"broker {broker}", f"not one of ours: {self.ids}", "Name one of `Brokers.ids`.")
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
        processes.wait_until(lambda: not child.is_alive(), what=f"end of broker {broker}", deadline_s=60.0)

    def restart(self, broker: int, *, deadline_s: float = READY_DEADLINE_S) -> None:
        """Start a broker that has ended, on its old data and ports; returns when every living broker is known again."""
        _launch(self, broker, kafka_jars.ensure_jars(_silent))
        self.wait_ready(deadline_s=deadline_s)

    def wait_ready(self, *, deadline_s: float = READY_DEADLINE_S) -> None:
        """Return when each of our living brokers answers, and shows all of them in its metadata.

        Raises:
            Unmet: at the deadline, or as soon as a broker ends, with its last log lines.
        """
        living = [child for broker in self.alive() if (child := self._child(broker)) is not None]
        wanted = set(self.alive())
        # Each is asked itself: the others' metadata show a dead broker until its session ends, 6 s later.
        clients = [_admin(f"{node.host}:{node.client_port}") for node in self.nodes if node.id in wanted]
        processes.wait_until(
            lambda: all(wanted <= _seen(client) for client in clients),
            what=f"Kafka brokers {sorted(wanted)} at {self.bootstrap_servers}",
            deadline_s=deadline_s,
            children=living,
        )

    def wait_in_sync(self, *, deadline_s: float = READY_DEADLINE_S) -> None:
        """Return when every replica of every topic, the brokers' own too, is in sync: only then can the next broker be missed.

        Raises:
            Unmet: at the deadline.
        """
        client = _admin(self.bootstrap_servers)
        processes.wait_until(lambda: _in_sync(client), what=f"replicas at {self.bootstrap_servers} in sync", deadline_s=deadline_s)

    def stop(self) -> None:
        """End every broker that we started and wait until they are gone; data stay in `run_dir`. Existing: no-op."""
        living = [child for broker in self.ids if (child := self._child(broker)) is not None]
        if living:
            # At once: a controller that waits for a quorum that has ended would wait for its whole deadline.
            with ThreadPoolExecutor(len(living)) as pool:
                list(pool.map(processes.stop, living))

    def _child(self, broker: int) -> Child | None:
        if self.run_dir is None or broker not in self.ids:
            return None
        return processes.read(self.run_dir / "pid" / f"broker-{broker}")


def existing(bootstrap: str | None = None) -> Brokers | None:
    """Return the cluster at `bootstrap`, else at `KAFKA_BOOTSTRAP_SERVERS`; None when neither is given.

    Raises:
        Unmet: when no broker answers there within 15 s.
    """
    servers = bootstrap or os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if not servers:
        return None
    client = _admin(servers)
    processes.wait_until(lambda: bool(_seen(client)), what=f"Kafka at KAFKA_BOOTSTRAP_SERVERS={servers}", deadline_s=15.0)
    return Brokers(bootstrap_servers=servers)


def start(  # noqa: PLR0913 - each is named where it is called
    run_dir: Path,
    brokers: int = 3,
    *,
    guard: Guard | None = None,
    racks: Sequence[str] = (),
    told_ports: Sequence[int] = (),
    host: str = LOOPBACK,
    options: Sequence[str] = (),
    progress: Progress | None = None,
) -> Brokers:
    """Start brokers under `run_dir` and return when all are ready; those that run there already are left alone.

    The data of an earlier run in the same folder are kept, and so are the ports and racks. With a `guard` they have doors with SASL
    and mutual TLS too, and an authorizer (see `recsys_dev.kafka_security`). With `racks` each names its own, in the brokers' order;
    with `told_ports` each sends its clients there, to a proxy before it.
    `host` is where they listen: pods of a real node could not reach loopback. `options` are Java's, for this start: 256 MiB of heap
    are enough for some hundred topics.

    Raises:
        Unmet: when Java, Maven or the jars are missing, or a broker does not become ready.
    """
    progress = progress or _silent
    jars, java = kafka_jars.ensure_jars(progress), kafka_jars.find_java()
    kafka_jars.ensure_archive(jars, java, progress, lambda options: _train(jars, options))
    run_dir.mkdir(parents=True, exist_ok=True)
    cluster = attach(run_dir) or _format(run_dir, _new_nodes(brokers, racks, told_ports, host, is_guarded=guard is not None), jars, guard)
    idle = [broker for broker in cluster.ids if broker not in cluster.alive()]
    if idle:
        progress(f"Starting Kafka brokers {', '.join(map(str, idle))} at {cluster.bootstrap_servers}.")
    for broker in idle:
        _launch(cluster, broker, jars, options)
    cluster.wait_ready()
    return cluster


def attach(run_dir: Path) -> Brokers | None:
    """Return the cluster whose data are in `run_dir`, running or not; None when there is none."""
    try:
        known = json.loads((run_dir / "brokers.json").read_text())
    except OSError:
        return None
    return _cluster(run_dir, tuple(Node(**node) for node in known["nodes"]))


def _launch(cluster: Brokers, broker: int, jars: Path, options: Sequence[str] = ()) -> Child:
    if cluster.run_dir is None or broker not in cluster.ids:
        raise Unmet(f"broker {broker}", f"not one of ours: {cluster.ids}", "Name one of `Brokers.ids`.")
    main = ("kafka.Kafka", _properties_file(cluster.run_dir, broker))
    argv = kafka_jars.java_command(jars, kafka_jars.find_java(), main, options=options)
    return processes.start(cluster.run_dir, f"broker-{broker}", Command(argv=argv))


def _properties_file(run_dir: Path, broker: int) -> Path:
    return run_dir / f"broker-{broker}" / "server.properties"


def _cluster(run_dir: Path, nodes: tuple[Node, ...]) -> Brokers:
    servers = ",".join(f"{node.host}:{node.client_port}" for node in nodes)
    return Brokers(bootstrap_servers=servers, run_dir=run_dir, nodes=nodes)


def _new_nodes(
    count: int, racks: Sequence[str] = (), told: Sequence[int] = (), host: str = LOOPBACK, *, is_guarded: bool = False
) -> tuple[Node, ...]:
    for what, given in (("racks", racks), ("told_ports", told)):
        if given and len(given) != count:
            raise ValueError(f"{what}: {len(given)} for {count} brokers; name one for each, or none")
    names = ("client_port", "controller_port", "sasl_port", "tls_port")[: 4 if is_guarded else 2]
    ports = iter(free_ports(len(names) * count, host))
    each = zip(racks or [""] * count, told or [0] * count, strict=True)
    return tuple(
        Node(id=number, host=host, rack=rack, told_port=port, **{name: next(ports) for name in names})
        for number, (rack, port) in enumerate(each, start=1)
    )


def _format(run_dir: Path, nodes: tuple[Node, ...], jars: Path, guard: Guard | None = None) -> Brokers:
    """Give each new broker its settings and an empty storage, then write down that the cluster is there."""
    cluster_id = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
    for node in nodes:
        settings = server_properties(node, nodes, run_dir / f"broker-{node.id}" / "data")
        if guard is not None:
            settings = guarded(settings, guard, sasl_port=node.sasl_port, tls_port=node.tls_port)
        file = _properties_file(run_dir, node.id)
        shutil.rmtree(file.parent, ignore_errors=True)  # an earlier start was cut short before brokers.json
        file.parent.mkdir(parents=True)
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    with ThreadPoolExecutor(len(nodes)) as pool:
        list(pool.map(lambda node: _format_one(run_dir, node.id, cluster_id, jars), nodes))
    fresh = run_dir / f".brokers.json.{os.getpid()}"
    fresh.write_text(json.dumps({"cluster_id": cluster_id, "nodes": [asdict(node) for node in nodes]}) + "\n")
    fresh.replace(run_dir / "brokers.json")
    return _cluster(run_dir, nodes)


def _format_one(run_dir: Path, broker: int, cluster_id: str, jars: Path) -> None:
    file = _properties_file(run_dir, broker)
    main = ("kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "--config", file)  # an id may begin with a dash
    argv = kafka_jars.java_command(jars, kafka_jars.find_java(), main)
    child = processes.start(run_dir, f"format-{broker}", Command(argv=argv))
    processes.wait_until(lambda: not child.is_alive(), what=f"storage of broker {broker}", deadline_s=FORMAT_DEADLINE_S)
    processes.stop(child)  # also takes its pid file away
    if not (file.parent / "data" / "meta.properties").exists():
        raise Unmet(f"storage of broker {broker}", f"not formatted:\n{child.last_lines()}\n", f"Log: {child.log}")


def _train(jars: Path, options: Sequence[str]) -> None:
    """Run one broker in a folder of its own from start to ready to end, with the JVM options given."""
    with tempfile.TemporaryDirectory(prefix="recsys-kafka-") as scratch:
        alone = _format(Path(scratch), _new_nodes(1), jars)
        child = _launch(alone, 1, jars, options)
        try:
            alone.wait_ready()
        finally:
            processes.stop(child, deadline_s=60.0)


def _admin(servers: str) -> AdminClient:
    _quiet.setLevel(logging.CRITICAL)  # refused connections are what waiting for a broker looks like
    return AdminClient({"bootstrap.servers": servers, "socket.timeout.ms": 2000}, logger=_quiet)


def _seen(client: AdminClient) -> set[int]:
    """Return the ids of the brokers that the cluster's metadata shows now; none when no broker answers."""
    try:
        return set(client.list_topics(timeout=LOOK_S).brokers)
    except KafkaException:
        return set()


def _in_sync(client: AdminClient) -> bool:
    try:
        topics = client.list_topics(timeout=LOOK_S).topics.values()
    except KafkaException:
        return False
    return all(len(partition.isrs) == len(partition.replicas) for topic in topics for partition in topic.partitions.values())


def _silent(_line: str) -> None:
    """Tell nobody."""
