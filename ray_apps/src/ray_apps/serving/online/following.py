"""Follows the event topics on a thread of its own, from where a version's training ended; no consumer group has a say in it.

The state is a fold over the records from the card's offsets on, without those that are skipped: killed or started anew it comes out
the same, and it is rolled back by skipping. While it is folded again from the beginning, what was known before goes on answering.
"""

import logging
import time
from collections.abc import Mapping
from typing import cast

import numpy as np
from confluent_kafka import Consumer, Message

from ray_apps.serving.following import Following, Place, Source
from ray_apps.serving.mixed_clicks import MixedClicks
from ray_apps.serving.online.deeds import credit_of, deed_of
from ray_apps.serving.online.delays import Delays
from ray_apps.serving.online.live import Followed, Knowledge
from ray_apps.serving.online.popularity import Likes, LivePopularity
from recsys_schemas.serving_evidence import OnlineState
from recsys_schemas.serving_record import Skip

MOST_REPLAYED = 2_000_000
"""Records from before the start that are read again at most; of a longer backlog the newest."""
REFRESH_EVERY_S = 0.5
"""How often popularity is put in order again."""

logger = logging.getLogger(__name__)


class Follower(Following):
    """The live knowledge of one version."""

    purpose = "online"
    trouble_words = "events cannot be followed"

    def __init__(
        self,
        source: Source,
        followed: Followed,
        trained: Likes,
        places: Mapping[str, int],
        mixed: MixedClicks | None = None,
    ) -> None:
        self._mixed = mixed
        self._followed, self._trained, self._places = followed, trained, places
        self.knowledge = self._nothing()
        self._folding = self.knowledge
        self._skips: tuple[Skip, ...] = ()
        self._again = False
        self._delays = Delays()
        self._applied = self._unreadable = 0
        self._refresh_at = 0.0
        super().__init__(source, logger)

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

    def _nothing(self) -> Knowledge:
        return Knowledge(popularity=LivePopularity(self._trained, self._places))

    def _begins_again(self) -> bool:
        return self._again

    def _behind(self) -> bool:
        return self._folding is not self.knowledge

    def _begin(self) -> None:
        if self._again:
            self._again = False
            self._folding, self._positions, self._until = self._nothing(), {}, {}

    def _turn(self, now: float) -> None:
        if now >= self._refresh_at:
            self._folding.popularity.refresh()
            self._refresh_at = now + REFRESH_EVERY_S

    def _starts(self, consumer: Consumer, ends: Mapping[Place, tuple[int, int]], cluster: str) -> Mapping[Place, int]:  # noqa: ARG002
        """Those of the card from its offsets on, others from their beginning; of a backlog that is too long its newest part."""
        starts: dict[Place, int] = {}
        for place, (low, high) in ends.items():
            start = self._followed.offsets.get(place, low) if cluster == self._followed.cluster_id else high
            starts[place] = start if low <= start <= high else low
        backlog = {place: ends[place][1] - start for place, start in starts.items()}
        if sum(backlog.values()) <= MOST_REPLAYED:
            return starts
        most = MOST_REPLAYED // max(len(ends), 1)
        logger.warning("backlog cut short", extra={"event": "ReplayCut", "backlog": sum(backlog.values()), "kept": MOST_REPLAYED})
        return {place: max(start, ends[place][1] - most) for place, start in starts.items()}

    def _take(self, message: Message) -> None:
        topic, partition, offset = cast("tuple[str, int, int]", (message.topic(), message.partition(), message.offset()))
        if any(skip.has(topic, partition, offset) for skip in self._skips):
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
        kind, written = message.timestamp()
        if self._caught_up.is_set() and kind and self._folding is self.knowledge:
            self._delays.take(max(time.time() * 1000 - written, 0.0), time.monotonic())

    def _arrived(self) -> None:
        self._folding.popularity.refresh()
        self.knowledge = self._folding
        logger.info("events are followed", extra={"event": "CaughtUp", "applied": self._applied})
