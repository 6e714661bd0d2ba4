"""Preferences of users and live records of items: written by one thread, read by any without a lock."""

from collections import OrderedDict
from typing import NamedTuple, TypeVar

from pydantic import ValidationError

from recsys_schemas.catalogue import CatalogueItem
from recsys_schemas.events import ItemEvent, PreferenceEvent

MOST_USERS = 200_000
"""Users whose preferences are remembered; those who spoke longest ago are forgotten first."""
MOST_ITEMS = 50_000
"""Items with a live record that is remembered; the oldest records are forgotten first. The catalogue's file is for all of them."""


class LiveItem(NamedTuple):
    """What the newest record says of an item."""

    item: CatalogueItem
    at: int
    """When it was said, milliseconds since the epoch."""
    withdrawn: bool


class Told:
    """What was said, newest last. `turns` grows with each change of the items, so that what is made of them can be made anew."""

    def __init__(self, *, most_users: int = MOST_USERS, most_items: int = MOST_ITEMS) -> None:
        """Begin with nothing; remember so many of each at most."""
        self._most_users, self._most_items = most_users, most_items
        self._preferences: OrderedDict[str, PreferenceEvent] = OrderedDict()
        self._items: OrderedDict[str, LiveItem] = OrderedDict()
        self.turns = 0

    @property
    def counts(self) -> tuple[int, int]:
        """Users and items of whom something is known."""
        return len(self._preferences), len(self._items)

    def preferences(self, user_id: str) -> PreferenceEvent | None:
        """What a user said of themselves; None for one who said nothing."""
        return self._preferences.get(user_id)

    def item(self, item_id: str) -> LiveItem | None:
        """What the live record says of an item; None where there is none."""
        return self._items.get(item_id)

    def items(self) -> dict[str, LiveItem]:
        """All live records, by item, oldest first. Called by the thread that writes."""
        return dict(self._items)

    def take_preferences(self, key: str, value: bytes | None) -> bool:
        """Note what a user said, or, without a value, that they took it back; False when it is nothing that can be read."""
        if not value:
            self._preferences.pop(key, None)
            return True
        try:
            said = PreferenceEvent.model_validate_json(value)
        except ValidationError:
            return False
        _put(self._preferences, said.user_id, said, self._most_users)
        return True

    def take_item(self, key: str, value: bytes | None) -> bool:
        """Note what is said of an item, or, without a value, that nothing is; False when it is nothing that can be read."""
        if not value:
            self._items.pop(key, None)
            self.turns += 1
            return True
        try:
            said = ItemEvent.model_validate_json(value)
        except ValidationError:
            return False
        item = CatalogueItem.model_validate(said.model_dump(include=set(CatalogueItem.model_fields)))
        _put(self._items, said.item_id, LiveItem(item, said.timestamp, said.withdrawn), self._most_items)
        self.turns += 1
        return True


Kept = TypeVar("Kept")


def _put(where: OrderedDict[str, Kept], key: str, value: Kept, most: int) -> None:
    where[key] = value
    where.move_to_end(key)
    if len(where) > most:
        where.popitem(last=False)
