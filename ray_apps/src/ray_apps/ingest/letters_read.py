"""Reads the dead-letter topic from given positions to its end."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # pyright: ignore[reportPrivateImportUsage] (documented there)

from recsys_schemas.events import DeadLetter

Positions = dict[int, int]
"""An offset for each partition of the dead-letter topic."""
FETCH_WAIT_MS = 20
"""Who reads to an end and stops need not wait there for more, as the client does by itself for half a second."""
_CALL_S = 15.0
_DEADLINE_S = 120.0
"""Longer than a transaction of another model may stay open, behind which nothing can be read."""


def ends_of(admin: AdminClient, topic: str) -> Positions:
    """Ask for the ends of a topic's partitions, records of open transactions included.

    Raises:
        KafkaException: the brokers do not answer, or do not have the topic.
    """
    described = admin.list_topics(topic, timeout=_CALL_S).topics[topic]
    if described.error is not None:
        raise KafkaException(described.error)
    asked: dict[TopicPartition, Any] = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in described.partitions}
    answers = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=_CALL_S)
    return {place.partition: answer.result(_CALL_S + 1.0).offset for place, answer in answers.items()}


def read_letters(
    servers: Mapping[str, Any], topic: str, since: Mapping[int, int], ends: Mapping[int, int], header: tuple[str, bytes]
) -> list[DeadLetter]:
    """Read the committed dead letters that carry a header, between two positions.

    Args:
        servers: how the brokers are reached, and a `group.id` that we may read: the client asks for one, is no member, commits nothing.
        topic: the dead-letter topic.
        since: where to begin; a partition that is not named is read from its beginning.
        ends: where to end (see `ends_of`).
        header: name and value; other letters are passed over.

    Raises:
        KafkaException: the brokers do not answer.
        TimeoutError: the end was not reached within two minutes.
    """
    left = {partition for partition, end in ends.items() if end > since.get(partition, 0)}
    if not left:
        return []
    consumer = Consumer(
        {
            **servers,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": FETCH_WAIT_MS,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, partition, since.get(partition, OFFSET_BEGINNING)) for partition in left])
        return list(_read(consumer, topic, ends, left, header))
    finally:
        consumer.close()


def _read(consumer: Consumer, topic: str, ends: Mapping[int, int], left: set[int], header: tuple[str, bytes]) -> Iterator[DeadLetter]:
    deadline = time.monotonic() + _DEADLINE_S
    while left:
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"deadLetterTopic: partitions {sorted(left)} of {topic!r} not read within {_DEADLINE_S:g} s; look at the brokers"
            )
        for message in consumer.consume(1000, 0.05):
            error, partition, offset = message.error(), message.partition() or 0, message.offset() or 0
            if error is None:
                headers: Any = message.headers() or []
                if header in [(name, value) for name, value in headers]:
                    yield DeadLetter.model_validate_json(message.value() or b"")
            elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 (the client's own name)
                raise KafkaException(error)
            elif offset >= ends[partition]:
                left.discard(partition)  # an end before that is the beginning of a transaction that is still open
