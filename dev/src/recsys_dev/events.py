"""What an audience does, as the records that producers write."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

EventType = Literal["watch", "rate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that a user did: `value` is the fraction watched (0 to 1) or the stars given (0 to 5)."""

    event_type: EventType
    event_id: str
    user_id: str
    item_id: str
    timestamp: int
    value: float
    request_id: str | None = None

    def fields(self) -> dict[str, str | int | float | None]:
        """The event as `events/*.schema.json` has it."""
        told: dict[str, str | int | float | None] = {
            "event_id": self.event_id,
            "user_id": self.user_id,
            "item_id": self.item_id,
            "timestamp": self.timestamp,
            "fraction" if self.event_type == "watch" else "rating": self.value,
        }
        return told | ({"request_id": self.request_id} if self.request_id else {})

    def record(self) -> bytes:
        """The value of the Kafka record."""
        return json.dumps(self.fields(), separators=(",", ":")).encode()


class Audience(Protocol):
    """People who use what is recommended: simulated, or held-back real events."""

    name: str

    def history(self) -> Iterable[Event]:
        """What they did before the line started, in time order."""
        ...

    def live(self, count: int, now_ms: int) -> list[Event]:
        """The next `count` things that they do by themselves; fewer when a recording is at its end."""
        ...

    def visitor(self) -> str:
        """The next user who asks for recommendations."""
        ...

    def reaction(self, user_id: str, items: Sequence[str]) -> str | None:
        """The item that the user watches of those shown, best first; None when none is to their liking."""
        ...

    def watched_at(self, user_id: str, item_id: str, now_ms: int) -> int:
        """The time that the event of a reaction carries, milliseconds."""
        ...
