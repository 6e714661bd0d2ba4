"""Follows the event topics for what is liked in which context, from some half-lives ago on; one thread for all arms of a replica."""

import logging
import threading
import time
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ray_apps.serving.contexts.counting import Contexts
from ray_apps.serving.online.deeds import context_of, deed_of
from ray_apps.serving.online.following import Source, consumer_of
from ray_apps.stores.secrets import Rotation, SecretsError
from recsys_schemas.filters import ContextValue
from recsys_schemas.serving_api import Skip

HALF_LIVES = 4.0
"""What is older counts for a sixteenth and less, and is not read."""
MOST_REPLAYED = 500_000
"""Records from before the start that are read at most, the newest."""
LOOK_EVERY_S, REFRESH_EVERY_S = 30.0, 1.0
_CALL_S, _POLL_S, _AT_ONCE, _PAUSE_S = 10.0, 0.2, 1000, 1.0
_DAY_MS = 86_400_000

logger = logging.getLogger(__name__)
Place = tuple[str, int]


class ContextFollower:
    """Keeps the counts up to date. What it knows is a fold over the records: a replica that starts anew comes to know the same."""

    def __init__(self, source: Source, contexts: Contexts) -> None:
        """Follow at once."""
        self._source = source
        self._fresh = contexts
        self.contexts = contexts
        """What is known now."""
        self._positions: dict[Place, int] = {}
        self._until: dict[Place, int] = {}
        self._skips: tuple[Skip, ...] = ()
        self._again = False
        self._trouble = ""
        self._caught_up, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="context-follower", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until everything that was there at the beginning is known, for so long at most."""
        return self._caught_up.wait(seconds)

    def skip(self, ranges: tuple[Skip, ...]) -> None:
        """Leave these records out; what is known is counted again without them, and goes on answering meanwhile."""
        if ranges != self._skips:
            self._skips, self._again = ranges, True

    def close(self) -> None:
        """Follow no further; does not wait."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (KafkaException, SecretsError) as error:
                if str(error) != self._trouble:
                    self._trouble = str(error)
                    logger.warning("contexts cannot be counted", extra={"event": "FollowingTroubled", "reason": self._trouble})
                self._stop.wait(_PAUSE_S)
            except Exception:
                logger.exception("following failed", extra={"event": "FollowingFailed"})
                self._stop.wait(_PAUSE_S)

    def _follow(self) -> None:
        rotation = Rotation(self._source.security)
        consumer = consumer_of(self._source, rotation, "contexts", logger)
        try:
            if self._again:
                self._again = False
                self._fresh, self._positions, self._until = Contexts(self.contexts.counting), {}, {}
            look_at = refresh_at = 0.0
            while not (self._stop.is_set() or self._again or rotation.changed()):
                now = time.monotonic()
                if now >= look_at:
                    self._assign(consumer)
                    look_at = now + LOOK_EVERY_S
                self._read(consumer)
                if now >= refresh_at:
                    self._fresh.refresh()
                    refresh_at = now + REFRESH_EVERY_S
                self._settle()
        finally:
            consumer.close()

    def _assign(self, consumer: Consumer) -> None:
        found = [
            (topic, partition)
            for topic in self._source.topics
            for partition in consumer.list_topics(topic, timeout=_CALL_S).topics[topic].partitions
        ]
        new = [place for place in found if place not in self._positions]
        since = int(time.time() * 1000 - HALF_LIVES * self.contexts.counting.half_life_days * _DAY_MS)
        asked = [TopicPartition(topic, partition, max(since, 0)) for topic, partition in new]
        begun = {(each.topic, each.partition): each.offset for each in consumer.offsets_for_times(asked, timeout=_CALL_S)} if asked else {}
        for place in new:
            low, high = consumer.get_watermark_offsets(TopicPartition(*place), timeout=_CALL_S)
            start = begun.get(place, -1)
            most = MOST_REPLAYED // max(len(found), 1)
            self._positions[place] = max(low, high - most, start) if start >= 0 else high
            self._until[place] = high
        if new or not consumer.assignment():
            consumer.assign([TopicPartition(*place, self._positions[place]) for place in found])

    def _read(self, consumer: Consumer) -> None:
        first = consumer.poll(_POLL_S)
        for message in (first, *consumer.consume(_AT_ONCE, 0)) if first is not None else ():
            error = message.error()
            place = (cast("str", message.topic()), cast("int", message.partition()))
            if error is None:
                self._take(message)
                self._positions[place] = cast("int", message.offset()) + 1
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 (the client's own name)
                self._positions[place] = max(self._positions[place], cast("int", message.offset()))
            else:
                raise KafkaException(error)

    def _take(self, message: Message) -> None:
        topic, partition, offset = cast("tuple[str, int, int]", (message.topic(), message.partition(), message.offset()))
        read = deed_of(self._source.topics[topic], message.value())
        if read is None or not read[1].weight or any(skip.has(topic, partition, offset) for skip in self._skips):
            return
        user, deed = read
        self._fresh.take(user, deed.item, deed.at, self._said(message.value()))

    def _said(self, value: bytes | None) -> dict[str, ContextValue]:
        named = [key.name for key in self.contexts.counting.keys if not key.hours]
        return context_of(value, named) if named and value else {}

    def _settle(self) -> None:
        """Once the end is reached that was there at the beginning, what was counted is what answers."""
        if self._caught_up.is_set() and self._fresh is self.contexts:
            self._trouble = ""
        elif all(self._positions[place] >= end for place, end in self._until.items()):
            self._fresh.refresh()
            self.contexts = self._fresh
            self._caught_up.set()
            logger.info("contexts are counted", extra={"event": "ContextsCaughtUp"})
