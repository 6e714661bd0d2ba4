"""What a Kafka broker on one machine is told: a pure function from its place in the cluster to its settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys_dev.ports import LOOPBACK

REPLICATION, IN_SYNC = 3, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One broker: its id (from 1 on), and the loopback ports of its clients and of its controller."""

    id: int
    client_port: int
    controller_port: int
    sasl_port: int = 0
    """Of SASL over TLS; 0 in a cluster that is not guarded."""
    tls_port: int = 0
    """Of mutual TLS; 0 likewise."""
    told_port: int = 0
    """Where clients are told to come, a proxy's for instance; 0: to `client_port`."""
    host: str = LOOPBACK
    """Where it listens."""
    rack: str = ""
    """Where it stands (`broker.rack`): Kafka, and whoever adds replicas, spreads a partition over racks. Empty: it does not say."""


def server_properties(
    node: Node, nodes: Sequence[Node], data: Path, *, protocol: str = "PLAINTEXT", extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the settings of one broker that is also a controller.

    Args:
        node: the broker.
        nodes: all of them, itself too.
        data: the folder of its log segments.
        protocol: the security protocol of the clients' listener; `extra` then holds what it needs.
        extra: settings that are added to, or stand in place of, these.
    """
    copies, in_sync = str(min(REPLICATION, len(nodes))), str(min(IN_SYNC, len(nodes)))
    settings = {
        "process.roles": "broker,controller",
        "node.id": str(node.id),
        "controller.quorum.voters": ",".join(f"{other.id}@{other.host}:{other.controller_port}" for other in nodes),
        "controller.listener.names": "CONTROLLER",
        "listeners": f"CLIENT://{node.host}:{node.client_port},CONTROLLER://{node.host}:{node.controller_port}",
        "advertised.listeners": f"CLIENT://{node.host}:{node.told_port or node.client_port}",
        "inter.broker.listener.name": "CLIENT",
        "listener.security.protocol.map": f"CLIENT:{protocol},CONTROLLER:PLAINTEXT",
        "log.dirs": str(data),
        # A topic is made by whoever owns it, with the replication that it needs, or not at all.
        "auto.create.topics.enable": "false",
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "unclean.leader.election.enable": "false",
        "offsets.topic.num.partitions": "10",
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.num.partitions": "10",
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        # A dead broker is noticed, and a group is formed, in seconds: this is one machine.
        "broker.session.timeout.ms": "6000",
        "broker.heartbeat.interval.ms": "1000",
        "group.initial.rebalance.delay.ms": "0",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "log.cleaner.dedupe.buffer.size": str(8 * 2**20),
        "log.segment.bytes": str(256 * 2**20),
    }
    rack = {"broker.rack": node.rack} if node.rack else {}
    return settings | rack | dict(extra or {})
