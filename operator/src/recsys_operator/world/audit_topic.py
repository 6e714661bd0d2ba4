"""The audit topic: records are appended one by one, acknowledged by all in-sync replicas; and read, for who checks them."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from recsys_operator.state.actions import AppendRecord
from recsys_operator.state.observed import ModelState
from recsys_operator.world.connection import Connection, read_connection
from recsys_operator.world.courier import Send
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.kafka_client import DENIED, refusal, settings_that_work, silence
from recsys_schemas.kafka_access import GRANT

if TYPE_CHECKING:
    from recsys_operator.world.world import World

APPEND_S, READ_S = 15.0, 60.0
_GROUP = "recsys-audit"
"""A name that the client's settings ask for; no group is ever joined."""
_NEVER = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, *DENIED})
_SILENT = frozenset({KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN})  # noqa: SLF001 - librdkafka's local errors begin so

T = TypeVar("T")


def sender(world: "World", model: ModelState, action: AppendRecord) -> Send:
    """What appends it, with the Secrets as they are at that moment."""

    async def send() -> None:
        at = await read_connection(world.kube, model)
        world.must_lead()
        await heard(at, partial(append, at, action.topic, model.uid, action.record.written))

    return send


async def heard(at: Connection, ask: Callable[[], T]) -> T:
    """Ask the brokers by `append` or `read`, on a thread; where none answers, each address says what is seen there.

    Raises:
        UnavailableError: they do not answer, or not in time.
        RefusedError: they say no.
    """
    try:
        return await asyncio.to_thread(ask)
    except _SilentError as error:
        raise await silence(at, str(error)) from error


def append(at: Connection, topic: str, key: str, value: bytes) -> None:
    """Append one record, in a client of its own: decisions are rare, and a client costs threads. A repeat is harmless: no idempotence.

    Raises:
        UnavailableError: not acknowledged in time. It may be there all the same: who reads knows a repeat by its hash.
        RefusedError: the brokers say no.
    """
    told = _Told(at=at)
    ended: list[KafkaError | None] = []
    settings = {"client.id": "recsys-operator-audit", "acks": "all", "message.timeout.ms": int(APPEND_S * 1000)}
    with settings_that_work():
        producer = Producer({**at.settings(), **settings, "log_level": 0, "error_cb": told.add})
    producer.produce(topic, value, key=key.encode(), on_delivery=lambda error, _: ended.append(error))
    producer.flush(APPEND_S + 1)
    if ended and ended[0] is None:
        return
    raise _failure(topic, ended[0] if ended else None, told)


def read(at: Connection, topic: str, key: str) -> list[tuple[str, bytes]]:
    """All records of a key as `partition-offset` and value, in their order: partitions by their first record's time, then offsets.

    Raises:
        UnavailableError: the brokers do not answer, or not all could be read in time.
        RefusedError: the brokers say no.
    """
    told = _Told(at=at)
    settings = {"client.id": "kubectl-recsys", "group.id": _GROUP, "enable.auto.commit": False, "enable.partition.eof": True}
    with settings_that_work():
        consumer = Consumer({**at.settings(), **settings, "isolation.level": "read_committed", "log_level": 0, "error_cb": told.add})
    try:
        found = list(_messages(consumer, topic, told))
    finally:
        consumer.close()
    mine = [each for each in found if each.key() == key.encode()]
    first: dict[int, int] = {}
    for each in mine:
        first.setdefault(each.partition() or 0, each.timestamp()[1])
    mine.sort(key=lambda each: (first[each.partition() or 0], each.partition() or 0, each.offset() or 0))
    return [(f"{topic}-{each.partition()} offset {each.offset()}", each.value() or b"") for each in mine]


def _messages(consumer: Consumer, topic: str, told: "_Told") -> Iterator[Message]:
    deadline = time.monotonic() + READ_S
    try:
        described = consumer.list_topics(topic, timeout=READ_S / 4).topics[topic]
    except KafkaException as error:
        raise _failure(topic, error.args[0], told) from error
    if described.error is not None:
        raise _failure(topic, described.error, told)
    left = set(described.partitions)
    consumer.assign([TopicPartition(topic, number, 0) for number in left])
    while left:
        if time.monotonic() > deadline:
            raise UnavailableError(f"topic {topic}: partitions {sorted(left)} not read within {READ_S:g} s; look at the brokers")
        message = consumer.poll(1.0)
        if message is None:
            continue
        error = message.error()
        if error is None:
            yield message
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's local errors begin so
            left.discard(message.partition() or 0)
        elif error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:  # no group is joined, so no right to one is needed
            raise _failure(topic, error, told)


@dataclass(slots=True)
class _Told:
    """What a client's connections met."""

    at: Connection
    words: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, error: KafkaError) -> None:
        """The client's own call."""
        self.words[error.name()] = error.str()


class _SilentError(UnavailableError):
    """No broker answers."""


def _failure(topic: str, error: KafkaError | None, told: _Told) -> UnavailableError | RefusedError:
    if (refused := refusal(told.at, told.words)) is not None:
        return refused
    words = error.str() if error is not None else f"no acknowledgement within {APPEND_S:g} s"
    if error is not None and error.code() in _NEVER:
        mend = f"; {GRANT}" if error.code() in DENIED else "; raise its max.message.bytes"
        return RefusedError(f"topic {topic}: {words}{mend}")
    silent = "_ALL_BROKERS_DOWN" in told.words or (error is not None and error.code() in _SILENT)
    return (_SilentError if silent else UnavailableError)(f"topic {topic}: {words}")
