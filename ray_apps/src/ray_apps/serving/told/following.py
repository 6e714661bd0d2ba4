"""Follows the topics of preferences and items on a thread of its own, from their beginning: they are compacted, so the whole is there.

Every replica follows them once, for all its arms. Killed or started anew it comes to know the same; there is no consumer group.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ray_apps.serving.online.following import Source, consumer_of
from ray_apps.serving.told.told import Told
from ray_apps.stores.secrets import Rotation, SecretsError
from recsys_schemas.serving_api import ToldState

LOOK_EVERY_S = 30.0
"""How often new partitions are looked for."""
_CALL_S, _POLL_S, _AT_ONCE, _PAUSE_S = 10.0, 0.1, 1000, 1.0
PREFERENCES, ITEMS = "preference", "item"

logger = logging.getLogger(__name__)


class ToldFollower:
    """Keeps what was told up to date."""

    def __init__(self, source: Source, told: Told, renewed: Callable[[], None]) -> None:
        """Follow at once; `renewed` is called on the thread that follows whenever live items have changed."""
        self._source, self._told, self._renewed = source, told, renewed
        self._positions: dict[tuple[str, int], int] = {}
        self._until: dict[tuple[str, int], int] = {}
        self._unreadable, self._trouble = 0, ""
        self._caught_up, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="told-follower", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until everything that was there at the beginning is known, for so long at most."""
        return self._caught_up.wait(seconds)

    def state(self) -> ToldState:
        """For the replica's report."""
        users, items = self._told.counts
        return ToldState(caught_up=self._caught_up.is_set(), users=users, items=items, unreadable=self._unreadable, trouble=self._trouble)

    def close(self) -> None:
        """Follow no further; does not wait."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
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
            logger.warning("preferences and items cannot be followed", extra={"event": "FollowingTroubled", "reason": words})

    def _follow(self) -> None:
        rotation = Rotation(self._source.security)
        consumer = consumer_of(self._source, rotation, "told", logger)
        try:
            look_at, turns = 0.0, self._told.turns
            while not self._stop.is_set() and not rotation.changed():
                if time.monotonic() >= look_at:
                    self._assign(consumer)
                    look_at = time.monotonic() + LOOK_EVERY_S
                self._read(consumer)
                if self._told.turns != turns and self._caught_up.is_set():
                    turns = self._told.turns
                    self._renewed()
        finally:
            consumer.close()

    def _assign(self, consumer: Consumer) -> None:
        found: list[tuple[str, int]] = []
        for topic in self._source.topics:
            seen = consumer.list_topics(topic, timeout=_CALL_S).topics[topic]
            if seen.error is not None:
                raise KafkaException(seen.error)
            found += [(topic, partition) for partition in seen.partitions]
        new = [place for place in found if place not in self._positions]
        for place in new:
            low, high = consumer.get_watermark_offsets(TopicPartition(*place), timeout=_CALL_S)
            self._positions[place], self._until[place] = low, high
        if new or not consumer.assignment():
            consumer.assign([TopicPartition(*place, self._positions[place]) for place in found])
        self._settle()

    def _read(self, consumer: Consumer) -> None:
        first = consumer.poll(_POLL_S)
        for message in (first, *consumer.consume(_AT_ONCE, 0)) if first is not None else ():
            error = message.error()
            if error is None:
                self._take(message)
            elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 (the client's own name)
                raise KafkaException(error)
            else:
                self._reached(message, cast("int", message.offset()))
        self._settle()

    def _take(self, message: Message) -> None:
        take = self._told.take_item if self._source.topics[cast("str", message.topic())] == ITEMS else self._told.take_preferences
        key = (message.key() or b"").decode(errors="replace")  # pyright: ignore[reportAttributeAccessIssue] - without a deserialiser it is bytes
        self._unreadable += not take(key, message.value())
        self._reached(message, cast("int", message.offset()) + 1)

    def _reached(self, message: Message, offset: int) -> None:
        place = (cast("str", message.topic()), cast("int", message.partition()))
        self._positions[place] = max(self._positions[place], offset)

    def _settle(self) -> None:
        if self._caught_up.is_set():
            self._trouble = ""
        elif self._until and all(self._positions[place] >= end for place, end in self._until.items()):
            self._caught_up.set()
            self._renewed()
            logger.info("preferences and items are followed", extra={"event": "ToldCaughtUp"})
