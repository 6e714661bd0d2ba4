"""Adding replicas: what is to be known for it, and the three changes that it takes.

librdkafka has no call for KIP-455, so asking for reassignments and listing them goes through another client (ADR 14), opened for one
call and closed again; all else goes through the one that there is.
"""

# The admin module offers these names, but does not list them as its own.
# pyright: reportPrivateImportUsage=false

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, assert_never

from confluent_kafka import KafkaException
from confluent_kafka.admin import AclOperation, AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource, ResourceType
from kafka.net.compat import KafkaNetClient
from kafka.net.selector import NetworkSelector
from kafka.structs import TopicPartition

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from recsys_operator.state.actions import ReassignReplicas, ThrottleReplication, UnthrottleReplication
from recsys_operator.state.observed import BrokerState, MovesState, TopicsState, Unavailable, UnderWay
from recsys_operator.world.connection import Connection
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.kafka_client import CALL_S, CHANGE_S, DENIED, words_of
from recsys_operator.world.tls import client_context
from recsys_schemas.kafka_access import GRANT

LISTS = ("leader.replication.throttled.replicas", "follower.replication.throttled.replicas")
RATES = ("leader.replication.throttled.rate", "follower.replication.throttled.rate")
_NEEDED = {"Alter": AclOperation.ALTER, "AlterConfigs": AclOperation.ALTER_CONFIGS}
"""On the cluster: to ask for reassignments (which implies to list them), and to set the rates of brokers."""

_NAME = "recsys-operator"

T = TypeVar("T")

# At its lowest level this library writes its configuration, password and all; what matters comes as exceptions.
logging.getLogger("kafka").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How many replicas are asked of topics that are ours to change."""

    replicas: Mapping[str, int]
    under_way: bool = False
    """Replicas were being added when we looked last."""

    def needed(self, seen: TopicsState) -> bool:
        """Whether more is to be known: for adding replicas where there are brokers for them."""
        low = (
            asked <= seen.live_brokers and any(partition.replicas < asked for partition in seen.topics[name].partitions)
            for name, asked in self.replicas.items()
            if name in seen.topics
        )
        return self.under_way or any(low)


def read_moves(at: Connection, admin: AdminClient, names: Iterable[str]) -> MovesState | Unavailable:
    """Whether replicas may be added, to where, and which are being added to these topics now. Blocks."""
    try:
        cluster = admin.describe_cluster(include_authorized_operations=True, request_timeout=CALL_S).result(timeout=CALL_S + 1)
        # To those who may not even describe the cluster nothing is said; Alter implies that they may.
        granted = cluster.authorized_operations or ()
        lacking = tuple(name for name, operation in _NEEDED.items() if operation not in granted)
        if lacking:
            return MovesState(lacking=lacking)
        racks = {int(node.id): str(node.rack or "") for node in cluster.nodes or ()}
        rates = _rates(admin, racks)
        brokers = tuple(BrokerState(id=number, rack=rack, rates=rates[number]) for number, rack in sorted(racks.items()))
        return MovesState(lacking=(), brokers=brokers, under_way=_under_way(at, set(names)))
    except (KafkaException, TimeoutError) as error:
        return Unavailable(message=f"Kafka: the cluster does not describe itself: {words_of(error)}")
    except (UnavailableError, RefusedError) as error:
        return Unavailable(message=str(error), refused=isinstance(error, RefusedError))


def _rates(admin: AdminClient, numbers: Iterable[int]) -> dict[int, Mapping[str, str]]:
    """Broker → its throttle as somebody has set it; what no one has set is not there."""
    resources = {number: ConfigResource(ResourceType.BROKER, str(number)) for number in numbers}
    # Each broker answers for itself, so there is one call for each; all are on their way before the first is waited for.
    answers = {number: admin.describe_configs([each], request_timeout=CALL_S)[each] for number, each in resources.items()}
    found: dict[int, Mapping[str, str]] = {}
    for number, answer in answers.items():
        entries: Mapping[str, ConfigEntry] = answer.result(timeout=CALL_S + 1)
        there = {key: entries[key] for key in RATES if key in entries}
        found[number] = {key: str(entry.value) for key, entry in there.items() if entry.source != ConfigSource.DEFAULT_CONFIG.value}
    return found


def _under_way(at: Connection, names: set[str]) -> dict[tuple[str, int], UnderWay]:
    # All of the cluster's: asking for one topic takes the numbers of its partitions, and one that is gone is an error.
    listed = _call(at, "reassignments", lambda client: client.list_partition_reassignments(timeout_ms=int(CALL_S * 1000)))
    return {
        (where.topic, where.partition): UnderWay(adding=tuple(move["adding_replicas"]), removing=tuple(move["removing_replicas"]))
        for where, move in listed.items()
        if where.topic in names
    }


def perform(at: Connection, admin: AdminClient, action: ThrottleReplication | ReassignReplicas | UnthrottleReplication) -> None:
    """One step of adding replicas. Blocks.

    Raises:
        UnavailableError: no answer, or one that may differ next time.
        RefusedError: the brokers do not let us.
    """
    match action:
        case ReassignReplicas():
            _reassign(at, action)
        case ThrottleReplication():
            _throttle(admin, action)
        case UnthrottleReplication():
            _unthrottle(admin, action)
        case _:
            assert_never(action)


def _reassign(at: Connection, action: ReassignReplicas) -> None:
    """Ask for reassignments; one that is done or under way is as it was."""
    asked = {TopicPartition(action.topic, number): list(brokers) for number, brokers in action.partitions.items()}
    answers: Mapping[Any, type[Exception] | None] = _call(
        at,
        f"topic {action.topic}",
        lambda client: client.alter_partition_reassignments(asked, timeout_ms=int(CHANGE_S * 1000)),
    )
    for where, error in answers.items():
        if error is not None:
            raise _said(f"topic {action.topic}, partition {where.partition}", error())


def _throttle(admin: AdminClient, action: ThrottleReplication) -> None:
    """Set the rates, then the lists that they hold for."""
    for number, rate in sorted(action.rates.items()):
        _alter(admin, ResourceType.BROKER, str(number), dict.fromkeys(RATES, str(rate)))
    for topic, keys in sorted(action.topics.items()):
        _alter(admin, ResourceType.TOPIC, topic, keys)


def _unthrottle(admin: AdminClient, action: UnthrottleReplication) -> None:
    """Take away lists, then rates."""
    for topic in action.topics:
        _alter(admin, ResourceType.TOPIC, topic, dict.fromkeys(LISTS))
    for number in action.brokers:
        _alter(admin, ResourceType.BROKER, str(number), dict.fromkeys(RATES))


def _alter(admin: AdminClient, kind: ResourceType, name: str, keys: Mapping[str, str | None]) -> None:
    """Set keys, or delete those without a value; others stay (KIP-339)."""
    entries = [
        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET)
        for key, value in sorted(keys.items())
    ]
    resource = ConfigResource(kind, name, incremental_configs=entries)
    try:
        admin.incremental_alter_configs([resource], request_timeout=CHANGE_S)[resource].result(timeout=CHANGE_S + 1)
    except TimeoutError as error:
        raise UnavailableError(f"Kafka: {kind.name.lower()} {name}: no answer within {CHANGE_S:g} s") from error
    except KafkaException as error:
        words = f"Kafka: {kind.name.lower()} {name}: {words_of(error)}"
        if error.args[0].code() in DENIED:
            raise RefusedError(f"{words}; {GRANT}") from error
        raise UnavailableError(words) from error


def _call(at: Connection, what: str, call: Callable[[Any], T]) -> T:
    # Its thread is ours to end: a client that finds no broker is never handed out, and could not be closed.
    loop = NetworkSelector(client_id=_NAME)
    try:
        with closing(KafkaAdminClient(kafka_client=partial(KafkaNetClient, net=loop), **_settings(at))) as client:
            return call(client)
    except (kafka_errors.KafkaError, OSError, RuntimeError) as error:  # the last: a cluster without a controller
        raise _said(what, error) from error
    finally:
        loop.stop()


def _settings(at: Connection) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "bootstrap_servers": sorted(at.bootstrap_servers),
        "client_id": _NAME,
        "bootstrap_timeout_ms": int(CALL_S * 1000),
        "request_timeout_ms": int(CHANGE_S * 1000),
    }
    security, values = at.security, at.secrets.values
    if security is None:
        return settings
    settings["security_protocol"] = security.protocol
    if security.protocol.endswith("SSL"):
        settings["ssl_context"] = client_context(values)
    if security.mechanism is not None:
        settings["sasl_mechanism"] = security.mechanism
        settings |= {"sasl_plain_username": values["username"], "sasl_plain_password": values["password"]}
    return settings


def _said(what: str, error: BaseException) -> UnavailableError | RefusedError:
    words = f"Kafka: {what}: {str(error) or type(error).__name__}"
    if isinstance(error, kafka_errors.ClusterAuthorizationFailedError | kafka_errors.TopicAuthorizationFailedError):
        return RefusedError(f"{words}; {GRANT}")
    return UnavailableError(words)
