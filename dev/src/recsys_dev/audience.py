"""Simulated users with known tastes: what they watched, what they go on watching, and how they react to what is shown.

Since the truth is known, a reward is honest: a user watches a recommended item with a probability that follows from their own
liking, whoever recommended it. Everything follows from the seed.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from math import exp, log2
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recsys_dev.events import Event
from recsys_dev.tastes import Catalogue, Reals, Taste, World, catalogue, liking, taste

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY_MS = 24 * 3600 * 1000
HISTORY_DAYS = 60
HELD_BACK_ITEMS = 0.08
"""Part of the catalogue that is released only while the line runs: the catalogue drifts."""
MOST_SEEN = 0.6
"""A user who has watched so large a part of the catalogue begins to watch again."""
RATED = 0.15
"""Part of the watched items that is also rated."""
NEW_USERS = 0.02
"""Part of the live events that come from somebody new."""
MOST_NEW_USERS = 5000
"""Bound on somebodies new; then only known users watch."""
WILLING = 0.2
"""Probability that a user watches an item that they like as much as their best hundredth, when it is shown first."""
KEENEST = 0.5
"""No item is watched more surely than this at the first place."""


class SimulatedAudience:
    """An endless audience. One object is one course of the world: `live` and `reaction` move it on."""

    name = "an audience simulated with known tastes"

    def __init__(self, world: World | None = None, *, now_ms: int) -> None:
        """Make the world; its history ends at `now_ms` (milliseconds since the epoch)."""
        self.world = world or World()
        self.catalogue: Catalogue = catalogue(self.world)
        self._now_ms = now_ms
        self._chance = np.random.default_rng([self.world.seed, 3])
        held_back = max(1, int(self.world.items * HELD_BACK_ITEMS))
        self._releases = deque(self._chance.permutation(self.world.items)[:held_back].tolist())
        self._released = np.ones(self.world.items, dtype=bool)
        self._released[list(self._releases)] = False
        self._tastes: dict[int, Taste] = {}
        self._likings: dict[int, Reals] = {}
        self._seen: dict[int, NDArray[np.bool_]] = {}
        self._users = self.world.users
        self._events = 0
        self._weights = self._activity()

    def history(self) -> "Iterator[Event]":
        """What the users did in the last 60 days, in time order: each item once, the likelier the earlier (Plackett-Luce)."""
        rows = [self._watched_by(user) for user in range(self.world.users)]
        users = np.concatenate([np.full(items.size, user) for user, (items, _) in enumerate(rows)])
        items = np.concatenate([items for items, _ in rows])
        times = np.concatenate([times for _, times in rows])
        for place in np.argsort(times, kind="stable").tolist():
            yield from self._told(int(users[place]), int(items[place]), int(times[place]))

    def _watched_by(self, user: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Items and times of one user's past; joins late, comes on days of their own."""
        chance = np.random.default_rng([self.world.seed, 4, user])
        count = int(np.clip(self._taste(user).activity * self.world.mean_history, 3, self.world.items * MOST_SEEN / 2))
        drawn = self._odds(user) + chance.gumbel(size=self.world.items)
        drawn[~self._released] = -np.inf
        items = np.argsort(-drawn)[:count]
        joined = chance.uniform(0, 0.7)
        when = self._now_ms - ((1 - chance.uniform(joined, 1, size=count)) * HISTORY_DAYS * DAY_MS).astype(np.int64)
        self._seen[user] = np.zeros(self.world.items, dtype=bool)
        self._seen[user][items] = True
        return items, np.sort(when)

    def live(self, count: int, now_ms: int) -> list[Event]:
        """The next `count` events or a few more, at `now_ms`: known users by their activity, some new users, new releases."""
        told: list[Event] = []
        while len(told) < count:
            told += self._told(user := self._somebody(), self._choice(user), now_ms)
            if self._releases and self._events % 200 == 0:
                self._released[self._releases.popleft()] = True
        return told

    def visitor(self) -> str:
        """The next user who asks for recommendations: known users by their activity."""
        return name_of(int(np.searchsorted(self._weights, self._chance.random())))

    def reaction(self, user_id: str, items: Sequence[str]) -> str | None:
        """The first item of the list that the user watches, if any; each place is looked at less surely than the one before.

        As in their own choices, an item is the likelier by e with every unit of liking above the best hundredth; what they have
        watched before and what does not exist is passed over.
        """
        for item_id, keen in zip(items, self.keenness(user_id, items), strict=True):
            user, item = number_of(user_id), number_of(item_id)
            if keen and user is not None and item is not None and self._chance.random() < keen:
                self._seen_by(user)[item] = True
                return item_id
        return None

    def keenness(self, user_id: str, items: Sequence[str]) -> list[float]:
        """How likely the user is to watch each item of a list, once they have passed over those before it."""
        user = number_of(user_id)
        if user is None:
            return [0.0] * len(items)
        likes = self._liking(user)
        best = max(1, self.world.items // 100)
        reference = float(np.partition(likes, -best)[-best])
        found: list[float] = []
        for place, item_id in enumerate(items):
            item = number_of(item_id)
            known = item is not None and item < self.world.items and not self._seen_by(user)[item]
            keen = min(KEENEST, WILLING * exp(float(likes[item]) - reference)) / log2(place + 2) if known and item is not None else 0.0
            found.append(keen)
        return found

    def watched_at(self, user_id: str, item_id: str, now_ms: int) -> int:
        """Now."""
        del user_id, item_id
        return now_ms

    def _somebody(self) -> int:
        newcomers = self._users - self.world.users
        if self._chance.random() < NEW_USERS and newcomers < MOST_NEW_USERS:
            self._users += 1
            return self._users - 1
        if newcomers and self._chance.random() < 2 * NEW_USERS:
            return self.world.users + int(self._chance.integers(newcomers))
        return int(np.searchsorted(self._weights, self._chance.random()))

    def _choice(self, user: int) -> int:
        """What the user watches next by themselves."""
        drawn = self._odds(user) + self._chance.gumbel(size=self.world.items)
        seen = self._seen_by(user)
        drawn[~self._released | (seen if seen.mean() < MOST_SEEN else False)] = -np.inf
        item = int(np.argmax(drawn))
        seen[item] = True
        return item

    def _told(self, user: int, item: int, when: int) -> "Iterator[Event]":
        """A watch event, and sometimes a rating a little later."""
        chance = self._chance
        self._events += 1
        number = self._events
        watched = round(float(chance.beta(5, 1.5)), 3)
        who, what = name_of(user), item_name(item)
        yield Event(event_type="watch", event_id=f"w{number}", user_id=who, item_id=what, timestamp=when, value=watched)
        if chance.random() < RATED:
            keen = self._liking(user)
            rank = float((keen < keen[item]).mean())
            stars = min(5.0, max(0.5, round(2 * (1 + 4 * rank + chance.normal(0, 0.6))) / 2))
            yield Event(event_type="rate", event_id=f"r{number}", user_id=who, item_id=what, timestamp=when, value=stars)

    def _taste(self, user: int) -> Taste:
        if user not in self._tastes:
            self._tastes[user] = taste(self.world, user)
        return self._tastes[user]

    def _liking(self, user: int) -> Reals:
        if user not in self._likings:
            self._likings[user] = liking(self.world, self.catalogue, self._taste(user))
        return self._likings[user]

    def _odds(self, user: int) -> Reals:
        return self._liking(user) + self.catalogue.pull

    def _seen_by(self, user: int) -> NDArray[np.bool_]:
        return self._seen.setdefault(user, np.zeros(self.world.items, dtype=bool))

    def _activity(self) -> Reals:
        activity = np.array([self._taste(user).activity for user in range(self.world.users)])
        return np.cumsum(activity) / activity.sum()


def name_of(user: int) -> str:
    """The id of user number `user`."""
    return f"u{user:05d}"


def item_name(item: int) -> str:
    """The id of item number `item`."""
    return f"m{item:05d}"


def number_of(identifier: str) -> int | None:
    """The number in a user's or an item's id; None when it is none of ours.

    >>> number_of("u00042"), number_of("tt1")
    (42, None)
    """
    return int(identifier[1:]) if identifier[1:].isdigit() and identifier[0] in "um" else None


def in_order(events: Iterable[Event]) -> bool:
    """Whether events are in time order."""
    last = -1
    for event in events:
        if event.timestamp < last:
            return False
        last = event.timestamp
    return True
