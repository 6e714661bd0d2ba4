"""Kafka: what the brokers say of a model's topics, and the few changes that the plan asks for.

Reading is cheap enough to repeat each second: one metadata request, one for end offsets; settings are read every few seconds.
"""

# The admin module offers these names, but does not list them as its own.
# pyright: reportPrivateImportUsage=false

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    OffsetSpec,
    ResourceType,
)
from confluent_kafka.cimpl import NewPartitions, NewTopic

from recsys_operator.state.observed import PartitionState, TopicsState, TopicState
from recsys_operator.world.connection import Connection
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.probe import probe_all
from recsys_schemas.kafka_access import FIELD as SECURITY
from recsys_schemas.kafka_access import FIELDS, GRANT, SETTINGS, diagnose

CALL_S = 5.0
CHANGE_S = 20.0
CONFIG_AGE_S = 5.0
KEYS = ("min.insync.replicas", "retention.ms", "cleanup.policy")
_CLIENTS = 32
_FORGOTTEN_S = 300.0
_IDLE_S = 60.0
"""A client that nobody has asked for so long is closed: that of a password since changed, or of a model that is gone."""
_HIDDEN_S = 5.0
_FIELD = "spec.kafka.bootstrapServers"

T = TypeVar("T")

_TRY_AGAIN = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001 - librdkafka's local errors begin so
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_CONTROLLER,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.INVALID_REPLICATION_FACTOR,  # while brokers are starting, fewer than asked for are live
    }
)

_DENIED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED})


@dataclass(slots=True)
class _Brokers:
    """One cluster: its client, and what need not be asked each second."""

    admin: AdminClient
    known: bool = False
    """Whether it has answered before, so that the client knows more addresses than it was given."""
    configs: dict[str, tuple[float, Mapping[str, str]]] = field(default_factory=dict[str, tuple[float, Mapping[str, str]]])
    ends: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    told: dict[str, str] = field(default_factory=dict[str, str])
    """Errors of the connections since the last answer: name → words. Calls that fail say only that no broker could be used."""
    used_at: float = 0.0
    hidden: dict[str, float] = field(default_factory=dict[str, float])
    """Topics that the brokers say exist when one is to be made, and do not show: since when."""


_Clients = OrderedDict[tuple[tuple[str, ...], str], _Brokers]


@dataclass(slots=True)
class Kafka:
    """Clients by connection: a changed Secret makes another one. The least recently used goes when there are too many."""

    clients: _Clients = field(default_factory=_Clients)

    async def read(self, at: Connection, names: Iterable[str], *, ends_of: Iterable[str]) -> TopicsState:
        """The brokers and those of `names` that exist; end offsets (records, high watermark) for `ends_of`, 0 for others.

        Raises:
            UnavailableError: no broker answers in time; the message says what each address said.
            RefusedError: the brokers refuse our credentials, or we theirs.
        """
        wanted, with_ends, bootstrap = set(names), set(ends_of), at.bootstrap_servers
        brokers = self._brokers(at)
        idle = self._idle()
        if idle:
            await asyncio.to_thread(idle.clear)  # closing a client waits for its threads
        # A new client knows only these addresses, and would try them in vain for the whole time-out, each in a thread.
        if not brokers.known and not any(said.open for said in await probe_all(bootstrap)):
            raise await _silent(at, "none is reachable")
        try:
            found = await asyncio.to_thread(_read, brokers, wanted, with_ends)
        except (KafkaException, TimeoutError) as error:
            _judge(at, brokers, error)
            raise await _silent(at, f"within {CALL_S:g} s: {_words(error)}") from error
        brokers.known = True
        return found

    async def create(self, at: Connection, name: str, partitions: int, replicas: int, config: Mapping[str, str]) -> None:
        """Make a topic; one that exists is left alone.

        Raises:
            RefusedError: the brokers say no, or it has existed for a while and is not shown to us.
        """
        new = NewTopic(name, num_partitions=partitions, replication_factor=replicas, config=dict(config))
        brokers = self._brokers(at)
        done = KafkaError.TOPIC_ALREADY_EXISTS
        made = await _change(f"topic {name}", lambda: brokers.admin.create_topics([new], request_timeout=CHANGE_S)[name], done=done)
        # A new topic misses from metadata for a moment; one that we may not describe misses from them for ever.
        now = time.monotonic()
        if not made and now - brokers.hidden.setdefault(name, now) > _HIDDEN_S:
            raise RefusedError(f"Kafka: topic {name}: it exists, and the brokers do not show it to us (no right to describe it); {GRANT}")

    async def grow(self, at: Connection, name: str, partitions: int) -> None:
        """Raise the number of partitions; one that has as many or more is left alone."""
        new = NewPartitions(name, partitions)
        admin = self._brokers(at).admin
        # The brokers refuse both the number that there is and a lower one with these words.
        done = KafkaError.INVALID_PARTITIONS
        await _change(f"topic {name}", lambda: admin.create_partitions([new], request_timeout=CHANGE_S)[name], done=done)

    async def configure(self, at: Connection, name: str, config: Mapping[str, str]) -> None:
        """Set these keys and no others (KIP-339)."""
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET, source=ConfigSource.DYNAMIC_TOPIC_CONFIG)
            for key, value in sorted(config.items())
        ]
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        brokers = self._brokers(at)

        def send() -> Future[Any]:
            return brokers.admin.incremental_alter_configs([resource], request_timeout=CHANGE_S)[resource]

        await _change(f"topic {name}", send)
        brokers.configs.pop(name, None)

    def _brokers(self, at: Connection) -> _Brokers:
        key = at.identity
        if key not in self.clients:
            self.clients[key] = _open(at)
            if len(self.clients) > _CLIENTS:
                self.clients.popitem(last=False)
        self.clients.move_to_end(key)
        self.clients[key].used_at = time.monotonic()
        return self.clients[key]

    def _idle(self) -> list[_Brokers]:
        """Take out those that nobody has asked for a while."""
        now = time.monotonic()
        idle = [key for key, brokers in self.clients.items() if now - brokers.used_at > _IDLE_S]
        return [self.clients.pop(key) for key in idle]


def _open(at: Connection) -> _Brokers:
    told: dict[str, str] = {}

    def tell(error: KafkaError) -> None:
        told[error.name()] = error.str()

    settings: dict[str, Any] = {
        **at.settings(),
        "client.id": "recsys-operator",
        "socket.timeout.ms": int(CHANGE_S * 1000),
        "socket.connection.setup.timeout.ms": int(CALL_S * 1000),
        "reconnect.backoff.max.ms": 2000,
        # Its own log lines are not JSON; what matters comes as errors, and is told in a condition.
        "log_level": 0,
        "error_cb": tell,
    }
    try:
        return _Brokers(admin=AdminClient(settings), told=told)
    except KafkaException as error:
        words = _words(error)
        field_ = next((FIELDS[name] for name, setting in SETTINGS.items() if setting in words), SECURITY)
        raise RefusedError(f"{field_}: the client cannot use it ({words}); correct what the Secret holds") from error


def _judge(at: Connection, brokers: _Brokers, error: KafkaException | TimeoutError) -> None:
    """Tell a refusal from silence: calls that fail say neither why nor by whom.

    Raises:
        RefusedError: the brokers do not let us in, or we do not trust them, or they deny this call.
    """
    brokers.admin.poll(0)  # hands over what the connections met
    seen = dict(brokers.told)
    brokers.told.clear()
    for name, words in sorted(seen.items()):
        diagnosed = diagnose(name, words, at.security)
        if diagnosed is not None:
            raise RefusedError(diagnosed) from error
    if isinstance(error, KafkaException) and error.args[0].code() in _DENIED:
        raise RefusedError(f"Kafka: {_words(error)}; {GRANT}") from error


def _read(brokers: _Brokers, names: set[str], with_ends: set[str]) -> TopicsState:
    # All topics in one answer: asking for one by name could make it, and describe_topics waits for a dead broker.
    metadata = brokers.admin.list_topics(timeout=CALL_S)
    brokers.admin.poll(0)
    brokers.told.clear()
    here = sorted(names & metadata.topics.keys())
    for name in here:
        brokers.hidden.pop(name, None)
    configs = _configs(brokers, here)
    ends = _ends(brokers, metadata, [name for name in here if name in with_ends])
    topics: dict[str, TopicState] = {}
    for name in here:
        partitions = tuple(
            PartitionState(
                id=number,
                replicas=len(seen.replicas),
                in_sync=len(seen.isrs),
                end_offset=ends.get((name, number), 0),
                has_leader=seen.leader in metadata.brokers,
            )
            for number, seen in sorted(metadata.topics[name].partitions.items())
        )
        topics[name] = TopicState(name=name, partitions=partitions, config=configs[name])
    return TopicsState(cluster_id=metadata.cluster_id or "", live_brokers=len(metadata.brokers), topics=topics)


def _configs(brokers: _Brokers, names: list[str]) -> dict[str, Mapping[str, str]]:
    now = time.monotonic()
    stale = [name for name in names if name not in brokers.configs or now - brokers.configs[name][0] > CONFIG_AGE_S]
    asked = {name: ConfigResource(ResourceType.TOPIC, name) for name in stale}
    answers = brokers.admin.describe_configs(list(asked.values()), request_timeout=CALL_S) if asked else {}
    for name, resource in asked.items():
        try:
            entries: Mapping[str, ConfigEntry] = answers[resource].result(timeout=CALL_S + 1)
        except (KafkaException, TimeoutError):
            # While the controller moves from a dead broker nobody answers this one; what was set before is still set.
            if name not in brokers.configs:
                raise
            brokers.configs[name] = (now, brokers.configs[name][1])
        else:
            brokers.configs[name] = (now, {key: str(entries[key].value) for key in KEYS if key in entries})
    found = {name: brokers.configs[name][1] for name in names}
    # Other threads read for other models: copies are iterated, never the cache itself.
    for name, (read_at, _) in list(brokers.configs.items()):
        if now - read_at > _FORGOTTEN_S:
            brokers.configs.pop(name, None)
    return found


def _ends(brokers: _Brokers, metadata: ClusterMetadata, names: list[str]) -> dict[tuple[str, int], int]:
    """End offsets; of a partition that cannot say now, the last one known."""
    latest = cast("OffsetSpec", OffsetSpec.latest())
    asked = {
        TopicPartition(name, number): latest
        for name in names
        for number, seen in metadata.topics[name].partitions.items()
        if seen.leader in metadata.brokers
    }
    if asked:
        for partition, answer in brokers.admin.list_offsets(asked, request_timeout=CALL_S).items():
            try:
                end = int(answer.result(timeout=CALL_S + 1).offset)
            except (KafkaException, TimeoutError):
                continue
            if end >= 0:
                brokers.ends[partition.topic, partition.partition] = end
    return {key: end for key, end in list(brokers.ends.items()) if key[0] in names}


async def _change(what: str, send: Callable[[], Future[Any]], *, done: int | None = None) -> bool:
    """Perform a change; False when the brokers say with the code `done` that there is nothing to do.

    Raises:
        UnavailableError: no answer in time, or an answer that may differ next time.
        RefusedError: the brokers said no.
    """
    try:
        await asyncio.to_thread(lambda: send().result(timeout=CHANGE_S + 1))
    except KafkaException as error:
        code = error.args[0].code()
        if code == done:
            return False
        if code in _TRY_AGAIN:
            raise UnavailableError(f"Kafka: {what}: {_words(error)}") from error
        mend = f"; {GRANT}" if code in _DENIED else ""
        raise RefusedError(f"Kafka: {what}: {_words(error)}{mend}") from error
    except TimeoutError as error:
        raise UnavailableError(f"Kafka: {what}: no answer within {CHANGE_S:g} s") from error
    return True


def _words(error: KafkaException | TimeoutError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    inner = error.args[0]
    return inner.str() if isinstance(inner, KafkaError) else str(inner)


async def _silent(at: Connection, why: str) -> UnavailableError:
    seen = await probe_all(at.bootstrap_servers)
    words = f"{_FIELD}: no broker answers at {', '.join(at.bootstrap_servers)} ({why}; {'; '.join(each.words for each in seen)})"
    protocol = at.security.protocol if at.security else "PLAINTEXT"
    asked = f", or set {SECURITY}.protocol (now {protocol}) to that of the listener" if any(each.open for each in seen) else ""
    return UnavailableError(f"{words}; start the brokers or correct the addresses{asked}")
