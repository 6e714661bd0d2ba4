"""Follows the event topics on a thread of its own, from where a version's training ended; no consumer group has a say in it.

The state is a fold over the records from the card's offsets on, without those that are skipped: killed or started anew it comes out
the same, and it is rolled back by skipping. While it is folded again from the beginning, what was known before goes on answering.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from numpy.typing import NDArray

from ray_apps.serving.mixed_clicks import MixedClicks
from ray_apps.serving.online.deeds import credit_of, deed_of
from ray_apps.serving.online.delays import Delays
from ray_apps.serving.online.live import Followed, Knowledge
from ray_apps.serving.online.popularity import LivePopularity
from ray_apps.stores.secrets import Rotation, SecretsError
from recsys_schemas.kafka_access import KafkaSecurity, client_settings
from recsys_schemas.serving_api import OnlineState, Skip

MOST_REPLAYED = 2_000_000
"""Records from before the start that are read again at most; of a longer backlog the newest."""
LOOK_EVERY_S = 30.0
"""How often new partitions are looked for."""
REFRESH_EVERY_S = 0.5
"""How often popularity is put in order again."""
_CALL_S, _POLL_S, _AT_ONCE, _PAUSE_S = 10.0, 0.2, 1000, 1.0

logger = logging.getLogger(__name__)
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


class _Renewed(Exception):  # noqa: N818 - not an error: the connection is made anew
    """The Secrets have changed, or the fold begins again."""


class Follower:
    """The live knowledge of one version."""

    def __init__(
        self,
        source: Source,
        followed: Followed,
        trained: NDArray[np.int64],
        places: Mapping[str, int],
        mixed: MixedClicks | None = None,
    ) -> None:
        self._mixed = mixed
        self._source, self._followed, self._trained, self._places = source, followed, trained, places
        self.knowledge = self._nothing()
        self._folding = self.knowledge
        self._positions: dict[Place, int] = {}
        self._until: dict[Place, int] = {}
        self._skips: tuple[Skip, ...] = ()
        self._again = False
        self._delays = Delays()
        self._caught_up = threading.Event()
        self._applied = self._unreadable = 0
        self._trouble = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until everything that was there at the beginning is known, for so long at most."""
        return self._caught_up.wait(seconds)

    def skip(self, ranges: tuple[Skip, ...]) -> None:
        """Leave these records out; where some are known already, everything is folded again without them."""
        if ranges == self._skips:
            return
        self._skips, self._again = ranges, True

    def state(self) -> OnlineState:
        """For the replica's report."""
        count, median, p99 = self._delays.quantiles(time.monotonic())
        return OnlineState(
            caught_up=self._caught_up.is_set(),
            applied=self._applied,
            unreadable=self._unreadable,
            users=len(self.knowledge.recent),
            events=count,
            p50_ms=median if np.isfinite(median) else None,
            p99_ms=p99 if np.isfinite(p99) else None,
            skipped=list(self._skips),
            trouble=self._trouble,
        )

    def close(self) -> None:
        """Follow no further; does not wait."""
        self._stop.set()

    def _nothing(self) -> Knowledge:
        return Knowledge(popularity=LivePopularity(self._trained, self._places))

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except _Renewed:
                continue
            except (KafkaException, SecretsError) as error:
                self._tell(str(error))
                self._stop.wait(_PAUSE_S)
            except Exception:
                logger.exception("following failed", extra={"event": "FollowingFailed"})
                self._stop.wait(_PAUSE_S)

    def _tell(self, words: str) -> None:
        """Say it once: what fails is tried again every second."""
        if words != self._trouble:
            self._trouble = words
            logger.warning("events cannot be followed", extra={"event": "FollowingTroubled", "reason": words})

    def _follow(self) -> None:
        rotation = Rotation(self._source.security)
        consumer = consumer_of(self._source, rotation, "online", logger)
        try:
            if self._again:
                self._again = False
                self._folding, self._positions, self._until = self._nothing(), {}, {}
            look_at = refresh_at = 0.0
            while not self._stop.is_set():
                now = time.monotonic()
                if now >= look_at:
                    self._assign(consumer)
                    look_at = now + LOOK_EVERY_S
                if self._again or rotation.changed():
                    raise _Renewed
                self._read(consumer)
                if now >= refresh_at:
                    self._folding.popularity.refresh()
                    refresh_at = now + REFRESH_EVERY_S
        finally:
            consumer.close()

    def _assign(self, consumer: Consumer) -> None:
        """Follow all partitions there are: those of the card from its offsets on, others from their beginning."""
        found: list[Place] = []
        cluster = ""
        for topic in self._source.topics:
            listed = consumer.list_topics(topic, timeout=_CALL_S)
            cluster = listed.cluster_id or cluster
            found += [(topic, partition) for partition in listed.topics[topic].partitions]
        ends = {
            place: consumer.get_watermark_offsets(TopicPartition(*place), timeout=_CALL_S)
            for place in found
            if place not in self._positions
        }
        if not ends and self._positions.keys() <= set(found) and consumer.assignment():
            return
        for place, (low, high) in ends.items():
            start = self._followed.offsets.get(place, low) if cluster == self._followed.cluster_id else high
            self._positions[place] = start if low <= start <= high else low
            self._until[place] = high
        self._bound_replay(list(ends))
        consumer.assign([TopicPartition(*place, self._positions[place]) for place in found])
        self._settle()

    def _bound_replay(self, places: list[Place]) -> None:
        backlog = {place: self._until[place] - self._positions[place] for place in places}
        over = sum(backlog.values()) - MOST_REPLAYED
        if over <= 0:
            return
        most = MOST_REPLAYED // max(len(places), 1)
        for place in places:
            self._positions[place] = max(self._positions[place], self._until[place] - most)
        logger.warning("backlog cut short", extra={"event": "ReplayCut", "backlog": sum(backlog.values()), "kept": MOST_REPLAYED})

    def _read(self, consumer: Consumer) -> None:
        first = consumer.poll(_POLL_S)
        if first is None:
            self._settle()
            return
        at = time.time() * 1000
        for message in (first, *consumer.consume(_AT_ONCE, 0)):
            error = message.error()
            if error is None:
                self._take(message, at)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 (the client's own name)
                self._reached(message)
            else:
                raise KafkaException(error)
        self._settle()

    def _reached(self, message: Message) -> None:
        """The end of a partition: control records before it take offsets that no message shows."""
        place = (cast("str", message.topic()), cast("int", message.partition()))
        self._positions[place] = max(self._positions[place], cast("int", message.offset()))

    def _take(self, message: Message, at: float) -> None:
        topic, partition, offset = cast("tuple[str, int, int]", (message.topic(), message.partition(), message.offset()))
        if any(skip.has(topic, partition, offset) for skip in self._skips):
            self._positions[topic, partition] = offset + 1
            return
        if self._mixed is not None and self._mixed.waiting:
            credit = credit_of(message.value())
            if credit is not None:
                self._mixed.clicked(*credit)
        read = deed_of(self._source.topics[topic], message.value())
        if read is None:
            self._unreadable += 1
        else:
            self._folding.take(*read)
            self._applied += 1
        self._positions[topic, partition] = offset + 1
        kind, written = message.timestamp()
        if self._caught_up.is_set() and kind and self._folding is self.knowledge:
            self._delays.take(max(at - written, 0.0), time.monotonic())

    def _settle(self) -> None:
        """Once the end is reached that was there at the beginning, what was folded is what answers."""
        if self._folding is self.knowledge and self._caught_up.is_set():
            self._trouble = ""
            return
        if all(self._positions[place] >= end for place, end in self._until.items()):
            self._folding.popularity.refresh()
            self.knowledge = self._folding
            self._caught_up.set()
            logger.info("events are followed", extra={"event": "CaughtUp", "applied": self._applied})
