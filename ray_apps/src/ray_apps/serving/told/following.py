"""Follows the topics of preferences and items, from their beginning: they are compacted, so the whole is there.

Every replica follows them once, for all its arms.
"""

import logging
from collections.abc import Callable, Mapping
from typing import cast

from confluent_kafka import Consumer, Message

from ray_apps.serving.following import Following, Place, Source
from ray_apps.serving.told.told import Told
from recsys_schemas.serving_evidence import ToldState

PREFERENCES, ITEMS = "preference", "item"

logger = logging.getLogger(__name__)


class ToldFollower(Following):
    """Keeps what was told up to date."""

    purpose = "told"
    trouble_words = "preferences and items cannot be followed"
    bears_absence = False

    def __init__(self, source: Source, told: Told, renewed: Callable[[], None]) -> None:
        """Follow at once; `renewed` is called on the thread that follows whenever live items have changed."""
        self._told, self._renewed = told, renewed
        self._turns, self._unreadable = told.turns, 0
        super().__init__(source, logger)

    def state(self) -> ToldState:
        """For the replica's report."""
        users, items = self._told.counts
        return ToldState(caught_up=self._caught_up.is_set(), users=users, items=items, unreadable=self._unreadable, trouble=self._trouble)

    def _begin(self) -> None:
        self._turns = self._told.turns

    def _starts(self, consumer: Consumer, ends: Mapping[Place, tuple[int, int]], cluster: str) -> Mapping[Place, int]:  # noqa: ARG002
        return {place: low for place, (low, _) in ends.items()}

    def _turn(self, now: float) -> None:  # noqa: ARG002
        if self._told.turns != self._turns and self._caught_up.is_set():
            self._turns = self._told.turns
            self._renewed()

    def _take(self, message: Message) -> None:
        take = self._told.take_item if self._source.topics[cast("str", message.topic())] == ITEMS else self._told.take_preferences
        key = (message.key() or b"").decode(errors="replace")  # pyright: ignore[reportAttributeAccessIssue] - without a deserialiser it is bytes
        self._unreadable += not take(key, message.value())

    def _arrived(self) -> None:
        self._renewed()
        logger.info("preferences and items are followed", extra={"event": "ToldCaughtUp"})
