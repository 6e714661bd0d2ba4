"""Reads topics from the offsets that the tables give; consumer groups have no say in it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ray_apps.ingest.dead_letters import group_id
from ray_apps.ingest.runs import Record
from ray_apps.ingest.tables import RefusedError
from ray_apps.stores import snapshots
from ray_apps.stores.secrets import connection_settings
from recsys_schemas.train_job import IngestJob

_CALL_S = 10.0
_LOOK_EVERY_S = 30.0
_LEADERLESS_S = 15.0
_ASK_AGAIN_S = 0.2
_LEADERLESS = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
)
_LOOK_FOR_MISSING_EVERY_S = 3.0


def open_consumer(job: IngestJob, on_error: Callable[[KafkaError], None]) -> Consumer:
    """Make a consumer that reads committed records only and commits nothing by itself.

    Raises:
        SecretsError: a Secret of its connection is not mounted here.
    """
    return Consumer(
        {
            **connection_settings(job.bootstrap_servers, job.kafka_security),
            "group.id": group_id(job),
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "allow.auto.create.topics": False,
            "queued.max.messages.kbytes": 32 << 10,  # bounds what is fetched ahead, over all partitions
            "queued.min.messages": 50_000,
            # A flow comes in fetches of 64 KiB or a tenth of a second, not in hundreds of tiny ones that cost as much each.
            "fetch.wait.max.ms": 100,
            "fetch.min.bytes": 64 << 10,
            # The client's own second of rest, each time that its queue is full, held a consumer that is behind at 90,000 records/s.
            "fetch.queue.backoff.ms": 10,
            "error_cb": on_error,
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Which partitions one of several readers reads: every partition of a topic belongs to exactly one."""

    index: int = 0
    of: int = 1

    def has(self, topic: int, partition: int) -> bool:
        """Whether this reader reads a partition of the topic with this number in the job."""
        return (topic + partition) % self.of == self.index


class Reader:
    """Reads all partitions of some topics, or a share of them, those made later too. Not thread-safe."""

    def __init__(self, consumer: Consumer, topics: Sequence[str], log: Callable[..., None], share: Share | None = None) -> None:
        self._consumer = consumer
        self._share = share or Share()
        self._topics = topics
        self._log = log
        self._assigned: set[snapshots.TopicPartition] = set()
        self._look_at = 0.0

    def follow(self, positions: Mapping[snapshots.TopicPartition, int]) -> dict[snapshots.TopicPartition, int]:
        """Look for new topics and partitions when it is time to, and read them too; returns where each of these begins.

        Args:
            positions: the next offset to read of each partition known so far.

        Raises:
            RefusedError: a position lies beyond its partition's end: the topic was made anew.
            KafkaException: the brokers do not answer.
        """
        if time.monotonic() < self._look_at:
            return {}
        found, missing = self._partitions()
        self._look_at = time.monotonic() + (_LOOK_FOR_MISSING_EVERY_S if missing else _LOOK_EVERY_S)
        if missing:
            self._log("topics missing", topics=missing, mend="waiting: create them, or let the operator do it")
        new = {partition: self._start(partition, positions.get(partition)) for partition in found if partition not in self._assigned}
        if new:
            at = {**positions, **new}
            # Where the loop has read to, not where the client has fetched to: what it holds unread is fetched again.
            self._consumer.assign([TopicPartition(*partition, at[partition]) for partition in found])
            self._assigned = set(found)
            self._log("partitions assigned", partitions={f"{topic}-{partition}": offset for (topic, partition), offset in new.items()})
        return new

    def read(self, limit: int, wait_s: float) -> tuple[list[Record], dict[snapshots.TopicPartition, int]]:
        """Return records in the order of each partition, and the ends of partitions that are read to their end.

        Raises:
            KafkaException: the client cannot go on reading.
        """
        if not self._assigned:
            time.sleep(wait_s)  # nothing is there to wait on
            return [], {}
        messages = self._consumer.consume(limit, wait_s)
        if not any(map(Message.error, messages)):
            return cast("list[Record]", messages), {}
        ends: dict[snapshots.TopicPartition, int] = {}
        for message in messages:
            error = message.error()
            if error is None:
                continue
            if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 (the client's own name)
                raise KafkaException(error)
            end = cast("Record", message)
            ends[end.topic(), end.partition()] = end.offset()
        return [cast("Record", message) for message in messages if message.error() is None], ends

    def _partitions(self) -> tuple[list[snapshots.TopicPartition], list[str]]:
        counts = {topic: self._count(topic) for topic in self._topics}
        found = [
            (topic, partition)
            for number, (topic, count) in enumerate(counts.items())
            for partition in range(count)
            if self._share.has(number, partition)
        ]
        return found, [topic for topic, count in counts.items() if not count]

    def _count(self, topic: str) -> int:
        """How many partitions a topic has; 0 when there is no such topic."""
        described = self._consumer.list_topics(topic, timeout=_CALL_S).topics[topic]
        if described.error is not None and described.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise KafkaException(described.error)  # it is not missing: it is hidden from us
        return len(described.partitions)

    def _start(self, partition: snapshots.TopicPartition, position: int | None) -> int:
        low, high = self._watermarks(partition)
        name = f"{partition[0]}-{partition[1]}"
        if position is None:
            return low
        if position > high:
            raise RefusedError(
                f"topics: {name} ends at offset {high}, and the tables cover it up to {position}: the topic was made anew; "
                "give the model another storageURI, or restore the topic"
            )
        if position < low:
            self._log("records lost to retention", partition=name, first=position, last=low - 1, mend="raise the topic's retention.ms")
        return max(position, low)

    def _watermarks(self, partition: snapshots.TopicPartition) -> tuple[int, int]:
        """Ask for a partition's ends; a partition that was just made has no leader for a moment."""
        deadline = time.monotonic() + _LEADERLESS_S
        while True:
            try:
                return self._consumer.get_watermark_offsets(TopicPartition(*partition), timeout=_CALL_S)
            except KafkaException as error:
                if time.monotonic() > deadline or error.args[0].code() not in _LEADERLESS:
                    raise
                time.sleep(_ASK_AGAIN_S)  # the client refreshes its metadata meanwhile
