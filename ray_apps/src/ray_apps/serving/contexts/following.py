"""Follows the event topics for what is liked in which context, from some half-lives ago on; one thread for all arms of a replica."""

import logging
import time
from collections.abc import Mapping
from typing import cast

from confluent_kafka import Consumer, Message, TopicPartition

from ray_apps.serving.contexts.counting import Contexts
from ray_apps.serving.following import CALL_S, Following, Place, Source
from ray_apps.serving.online.deeds import context_of, deed_of
from recsys_schemas.filters import ContextValue
from recsys_schemas.serving_record import Skip

HALF_LIVES = 4.0
"""What is older counts for a sixteenth and less, and is not read."""
MOST_REPLAYED = 500_000
"""Records from before the start that are read at most, the newest."""
REFRESH_EVERY_S = 1.0
_DAY_MS = 86_400_000

logger = logging.getLogger(__name__)


class ContextFollower(Following):
    """Keeps the counts up to date."""

    purpose = "contexts"
    trouble_words = "contexts cannot be counted"

    def __init__(self, source: Source, contexts: Contexts) -> None:
        """Follow at once."""
        self._fresh = contexts
        self.contexts = contexts
        """What is known now."""
        self._skips: tuple[Skip, ...] = ()
        self._again = False
        self._refresh_at = 0.0
        super().__init__(source, logger)

    def skip(self, ranges: tuple[Skip, ...]) -> None:
        """Leave these records out; what is known is counted again without them, and goes on answering meanwhile."""
        if ranges != self._skips:
            self._skips, self._again = ranges, True

    def _begins_again(self) -> bool:
        return self._again

    def _behind(self) -> bool:
        return self._fresh is not self.contexts

    def _begin(self) -> None:
        if self._again:
            self._again = False
            self._fresh, self._positions, self._until = Contexts(self.contexts.counting), {}, {}

    def _turn(self, now: float) -> None:
        if now >= self._refresh_at:
            self._fresh.refresh()
            self._refresh_at = now + REFRESH_EVERY_S

    def _starts(self, consumer: Consumer, ends: Mapping[Place, tuple[int, int]], cluster: str) -> Mapping[Place, int]:  # noqa: ARG002
        if not ends:
            return {}
        since = int(time.time() * 1000 - HALF_LIVES * self.contexts.counting.half_life_days * _DAY_MS)
        asked = [TopicPartition(*place, max(since, 0)) for place in ends]
        begun = {(each.topic, each.partition): each.offset for each in consumer.offsets_for_times(asked, timeout=CALL_S)}
        most = MOST_REPLAYED // max(len(ends), 1)
        return {place: max(low, high - most, begun[place]) if begun.get(place, -1) >= 0 else high for place, (low, high) in ends.items()}

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

    def _arrived(self) -> None:
        self._fresh.refresh()
        self.contexts = self._fresh
        logger.info("contexts are counted", extra={"event": "ContextsCaughtUp"})
