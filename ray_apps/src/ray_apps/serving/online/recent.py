"""What users did lately, by user: written by one thread, read by any without a lock."""

from collections import OrderedDict

import msgspec

MOST_USERS = 100_000
"""Users remembered; those of whom nothing was heard for longest are forgotten first."""
MOST_ITEMS = 200
"""Items remembered of one user; the oldest are forgotten first."""


class Deed(msgspec.Struct, frozen=True, gc=False):
    """One user's dealing with one item. There may be a million: Python's full collection does not look at them, nor at tuples of them."""

    item: str
    weight: float
    """How strongly it was liked, at most 1; 0: it was dealt with, and not liked."""
    at: int
    """The event's own time, milliseconds since the epoch."""


class Recent:
    """Deeds of users, newest last. Of several deeds with one item the strongest weight and the latest time stay."""

    def __init__(self, *, most_users: int = MOST_USERS, most_items: int = MOST_ITEMS) -> None:
        self._most_users, self._most_items = most_users, most_items
        self._of: OrderedDict[str, tuple[Deed, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._of)

    def take(self, user: str, deed: Deed) -> bool:
        """Note a deed; whether it is the user's first with this item that is remembered here.

        A reader sees the user's deeds as they were before or as they are after, never in between: the tuple is replaced.
        """
        before = self._of.get(user, ())
        same = next((one for one in before if one.item == deed.item), None)
        kept = [one for one in before if one.item != deed.item]
        kept.append(deed if same is None else Deed(deed.item, max(same.weight, deed.weight), max(same.at, deed.at)))
        kept.sort(key=lambda one: one.at)
        self._of[user] = tuple(kept[-self._most_items :])
        self._of.move_to_end(user)
        if len(self._of) > self._most_users:
            self._of.popitem(last=False)
        return same is None

    def of(self, user: str) -> tuple[Deed, ...]:
        """A user's deeds, oldest first; none for a user of whom nothing was heard."""
        return self._of.get(user, ())
