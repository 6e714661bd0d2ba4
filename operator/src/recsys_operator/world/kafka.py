"""Kafka: what the brokers say of a model's topics, and the few changes that the plan asks for.

Reading is cheap enough to repeat each second: one metadata request, two for end offsets; settings are read every few seconds.
"""

# The admin module offers these names, but does not list them as its own.
# pyright: reportPrivateImportUsage=false

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AlterConfigOpType,
    ClusterMetadata,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    PartitionMetadata,
    ResourceType,
)
from confluent_kafka.cimpl import NewPartitions, NewTopic

from recsys_operator.state.actions import ReassignReplicas, ThrottleReplication, UnthrottleReplication
from recsys_operator.state.observed import PartitionState, TopicsState, TopicState
from recsys_operator.world import moves
from recsys_operator.world.connection import Connection
from recsys_operator.world.ends import Ends, read_ends
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.kafka_client import CALL_S, CHANGE_S, DENIED, Brokers, open_client, raise_refusal, silence, words_of
from recsys_operator.world.probe import probe_all
from recsys_operator.world.shared import Shared
from recsys_schemas.kafka_access import GRANT

CONFIG_AGE_S = 5.0
KEYS = ("min.insync.replicas", "retention.ms", "cleanup.policy")
_CLIENTS = 32
_FORGOTTEN_S = 300.0
_IDLE_S = 60.0
"""A client that nobody has asked for so long is closed: that of a password since changed, or of a model that is gone."""
_HIDDEN_S = 5.0

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

_Identity = tuple[tuple[str, ...], str]
_Clients = OrderedDict[_Identity, Brokers]
_Metadata = Shared[_Identity, ClusterMetadata]
_Ends = Shared[tuple[_Identity, tuple[tuple[str, int], ...]], dict[tuple[str, int], Ends]]


@dataclass(slots=True)
class Kafka:
    """Clients by connection: a changed Secret makes another one. The least recently used goes when there are too many."""

    clients: _Clients = field(default_factory=_Clients)
    metadata: _Metadata = field(default_factory=_Metadata)
    """All topics of a cluster: models of one share what one of them has read a moment ago."""
    ends: _Ends = field(default_factory=_Ends)
    """How far topics can be read: models that learn from the same ones share that too."""

    async def read(
        self, at: Connection, names: Iterable[str], *, ends_of: Iterable[str], now: datetime, asked: moves.Asked | None = None
    ) -> TopicsState:
        """The brokers and those of `names` that exist at `now`; how far they can be read for `ends_of`, 0 for others.

        With `asked`, what adding replicas takes is read too when some are to be added.

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
            raise await silence(at, "none is reachable")
        try:
            found = await self._look(at, brokers, wanted, with_ends, now)
            if asked is not None and asked.needed(found):
                # Topics again, after what is under way: a move that has ended since shows its replicas, never the other way round.
                seen = await asyncio.to_thread(moves.read_moves, at, brokers.admin, wanted)
                self.metadata.forget(at.identity)
                found = replace(await self._look(at, brokers, wanted, with_ends, now), moves=seen)
        except (KafkaException, TimeoutError) as error:
            raise_refusal(at, brokers, error)
            raise await silence(at, f"within {CALL_S:g} s: {words_of(error)}") from error
        brokers.known = True
        return found

    async def _look(self, at: Connection, brokers: Brokers, names: set[str], with_ends: set[str], now: datetime) -> TopicsState:
        metadata = await self.metadata.get(at.identity, lambda: asyncio.to_thread(_describe, brokers), of=names)
        here = sorted(names & metadata.topics.keys())
        for name in here:
            brokers.hidden.pop(name, None)
        configs = await asyncio.to_thread(_configs, brokers, here)
        asked = tuple(name for name in here if name in with_ends)
        place = (at.identity, tuple((name, len(metadata.topics[name].partitions)) for name in asked))
        ends = await self.ends.get(place, lambda: asyncio.to_thread(read_ends, brokers, metadata, asked, now))
        return _state(metadata, here, configs, ends)

    async def create(self, at: Connection, name: str, partitions: int, replicas: int, config: Mapping[str, str]) -> None:
        """Make a topic; one that exists is left alone.

        Raises:
            RefusedError: the brokers say no, or it has existed for a while and is not shown to us.
        """
        new = NewTopic(name, num_partitions=partitions, replication_factor=replicas, config=dict(config))
        brokers = self._brokers(at)
        done = KafkaError.TOPIC_ALREADY_EXISTS
        made = await _change(f"topic {name}", lambda: brokers.admin.create_topics([new], request_timeout=CHANGE_S)[name], done=done)
        # Others need not read thousands of topics again because one is new.
        self.metadata.forget(at.identity, name)
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
        self.metadata.forget(at.identity)

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

    async def move(self, at: Connection, action: ThrottleReplication | ReassignReplicas | UnthrottleReplication) -> None:
        """One step of adding replicas."""
        brokers = self._brokers(at)
        await asyncio.to_thread(moves.perform, at, brokers.admin, action)
        self.metadata.forget(at.identity)
        for name in () if isinstance(action, ReassignReplicas) else action.topics:
            brokers.configs.pop(name, None)

    def _brokers(self, at: Connection) -> Brokers:
        key = at.identity
        if key not in self.clients:
            self.clients[key] = open_client(at)
            if len(self.clients) > _CLIENTS:
                self.clients.popitem(last=False)
        self.clients.move_to_end(key)
        self.clients[key].used_at = time.monotonic()
        return self.clients[key]

    def _idle(self) -> list[Brokers]:
        """Take out those that nobody has asked for a while."""
        now = time.monotonic()
        idle = [key for key, brokers in self.clients.items() if now - brokers.used_at > _IDLE_S]
        return [self.clients.pop(key) for key in idle]


def _describe(brokers: Brokers) -> ClusterMetadata:
    # All topics in one answer: asking for one by name could make it, and describe_topics waits for a dead broker.
    metadata = brokers.admin.list_topics(timeout=CALL_S)
    brokers.admin.poll(0)
    brokers.told.clear()
    return metadata


def _state(
    metadata: ClusterMetadata, names: list[str], configs: Mapping[str, Mapping[str, str]], ends: Mapping[tuple[str, int], Ends]
) -> TopicsState:
    topics: dict[str, TopicState] = {}
    for name in names:
        partitions = tuple(
            _partition(number, seen, ends.get((name, number), Ends()), has_leader=seen.leader in metadata.brokers)
            for number, seen in sorted(metadata.topics[name].partitions.items())
        )
        topics[name] = TopicState(name=name, partitions=partitions, config=configs[name])
    return TopicsState(cluster_id=metadata.cluster_id or "", live_brokers=len(metadata.brokers), topics=topics)


def _partition(number: int, seen: PartitionMetadata, ends: Ends, *, has_leader: bool) -> PartitionState:
    return PartitionState(
        id=number,
        replicas=len(seen.replicas),
        in_sync=len(seen.isrs),
        end_offset=ends.readable[-1].offset if ends.readable else 0,
        has_leader=has_leader,
        readable=ends.readable,
        held_since=ends.held_since,
        assigned=tuple(seen.replicas),
        synced=tuple(seen.isrs),
    )


def _configs(brokers: Brokers, names: list[str]) -> dict[str, Mapping[str, str]]:
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
            brokers.configs[name] = (now, _settings(entries))
    found = {name: brokers.configs[name][1] for name in names}
    if now - brokers.swept_at > CONFIG_AGE_S:
        brokers.swept_at = now
        # Other threads read for other models: copies are iterated, never the cache itself.
        for name, (read_at, _) in list(brokers.configs.items()):
            if now - read_at > _FORGOTTEN_S:
                brokers.configs.pop(name, None)
    return found


def _settings(entries: Mapping[str, ConfigEntry]) -> dict[str, str]:
    """The keys that the product sets; those of a throttle only where there is one."""
    there = {key: str(entries[key].value) for key in (*KEYS, *moves.LISTS) if key in entries}
    return {key: value for key, value in there.items() if value or key in KEYS}


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
            raise UnavailableError(f"Kafka: {what}: {words_of(error)}") from error
        mend = f"; {GRANT}" if code in DENIED else ""
        raise RefusedError(f"Kafka: {what}: {words_of(error)}{mend}") from error
    except TimeoutError as error:
        raise UnavailableError(f"Kafka: {what}: no answer within {CHANGE_S:g} s") from error
    return True
