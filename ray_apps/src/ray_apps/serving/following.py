"""Following: topics read to their end and on, on a thread of its own, by nobody's consumer group.

What is known is a fold over the records from some offsets on: killed or started anew it comes out the same. What fails is told once, and
tried again every second.
"""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ray_apps.stores.secrets import Rotation, SecretsError
from recsys_schemas.kafka_access import KafkaSecurity, client_settings

LOOK_EVERY_S = 30.0
"""How often new partitions are looked for."""
CALL_S = 10.0
_POLL_S, _AT_ONCE, _PAUSE_S = 0.1, 1000, 1.0

Place = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Which topics are followed, and how they are reached."""

    name: str
    """Of the model, for the client's name."""
    bootstrap_servers: Sequence[str]
    topics: Mapping[str, str]
    """Topic → event type."""
    security: KafkaSecurity | None = None


def consumer_of(source: Source, rotation: Rotation, purpose: str, log: logging.Logger) -> Consumer:
    """A consumer that is told what to read, commits nothing, and hears of the ends of partitions."""
    name = f"recsys-{purpose}-{source.name}"
    return Consumer(
        {
            **client_settings(source.bootstrap_servers, source.security, rotation.now),
            "client.id": name,
            "group.id": name,  # asked for by the client; nothing is ever committed
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "allow.auto.create.topics": False,
            "queued.max.messages.kbytes": 8 << 10,
            "queued.min.messages": 2_000,
            "fetch.queue.backoff.ms": 10,
        },
        logger=log,
    )


class Following(ABC):
    """A thread that follows the topics of a source. A kind of it says where it begins, what it takes, and what it does at the end."""

    purpose: str
    """For the client's name."""
    trouble_words: str
    """What cannot be done while something fails."""
    bears_absence: bool = True
    """Whether a topic that is not there leaves the others followed, as one that was deleted does; else it is a trouble."""

    def __init__(self, source: Source, log: logging.Logger) -> None:
        """Follow at once: what a kind needs must be there before."""
        self._source, self._log = source, log
        self._positions: dict[Place, int] = {}
        self._until: dict[Place, int] = {}
        self._trouble = ""
        self._caught_up, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{self.purpose}-follower", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until everything that was there at the beginning is known, for so long at most."""
        return self._caught_up.wait(seconds)

    def close(self) -> None:
        """Follow no further; does not wait."""
        self._stop.set()

    @abstractmethod
    def _starts(self, consumer: Consumer, ends: Mapping[Place, tuple[int, int]], cluster: str) -> Mapping[Place, int]:
        """Where to begin on partitions that are new, of which the first and the next offset are given."""

    @abstractmethod
    def _take(self, message: Message) -> None:
        """Take a record; its position is noted afterwards."""

    @abstractmethod
    def _arrived(self) -> None:
        """The end is reached that was there at the beginning: what was folded answers from now on."""

    def _begin(self) -> None:  # noqa: B027 - a kind may need nothing
        """A connection is made: the first one, or after what ended the last."""

    def _begins_again(self) -> bool:
        """Whether all is to be folded again from the beginning."""
        return False

    def _behind(self) -> bool:
        """Whether what is folded is not yet what answers, for it began again."""
        return False

    def _turn(self, now: float) -> None:  # noqa: B027 - as above
        """After each look for records, in seconds of the monotonic clock."""

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (KafkaException, SecretsError) as error:
                self._tell(str(error))
                self._stop.wait(_PAUSE_S)
            except Exception:  # noqa: BLE001 - it is logged, and following must not end
                self._log.exception("following failed", extra={"event": "FollowingFailed"})
                self._stop.wait(_PAUSE_S)

    def _tell(self, words: str) -> None:
        """Say it once: what fails is tried again every second."""
        if words != self._trouble:
            self._trouble = words
            self._log.warning(self.trouble_words, extra={"event": "FollowingTroubled", "reason": words})

    def _follow(self) -> None:
        rotation = Rotation(self._source.security)
        consumer = consumer_of(self._source, rotation, self.purpose, self._log)
        try:
            self._begin()
            look_at = 0.0
            while not (self._stop.is_set() or self._begins_again() or rotation.changed()):
                now = time.monotonic()
                if now >= look_at:
                    self._assign(consumer)
                    look_at = now + LOOK_EVERY_S
                self._read(consumer)
                self._turn(now)
        finally:
            consumer.close()

    def _assign(self, consumer: Consumer) -> None:
        found, cluster = self._partitions(consumer)
        ends = {
            place: consumer.get_watermark_offsets(TopicPartition(*place), timeout=CALL_S) for place in found if place not in self._positions
        }
        if not ends and self._positions.keys() <= set(found) and consumer.assignment():
            return
        starts = self._starts(consumer, ends, cluster)
        for place, (_, high) in ends.items():
            self._positions[place], self._until[place] = starts[place], high
        consumer.assign([TopicPartition(*place, self._positions[place]) for place in found])
        self._settle()

    def _partitions(self, consumer: Consumer) -> tuple[list[Place], str]:
        """All partitions there are, and the cluster that has them."""
        found: list[Place] = []
        cluster = ""
        for topic in self._source.topics:
            listed = consumer.list_topics(topic, timeout=CALL_S)
            cluster = listed.cluster_id or cluster
            error = listed.topics[topic].error
            if error is not None and not (self.bears_absence and error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART):
                raise KafkaException(error)
            found += [(topic, partition) for partition in listed.topics[topic].partitions]
        return found, cluster

    def _read(self, consumer: Consumer) -> None:
        first = consumer.poll(_POLL_S)
        for message in (first, *consumer.consume(_AT_ONCE, 0)) if first is not None else ():
            error = message.error()
            if error is None:
                self._take(message)
                self._reached(message, 1)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 (the client's own name)
                # Control records before the end take offsets that no message shows.
                self._reached(message, 0)
            else:
                raise KafkaException(error)
        self._settle()

    def _reached(self, message: Message, beyond: int) -> None:
        place = (cast("str", message.topic()), cast("int", message.partition()))
        self._positions[place] = max(self._positions[place], cast("int", message.offset()) + beyond)

    def _settle(self) -> None:
        if self._caught_up.is_set() and not self._behind():
            self._trouble = ""
        elif all(self._positions[place] >= end for place, end in self._until.items()):
            self._arrived()
            self._caught_up.set()
