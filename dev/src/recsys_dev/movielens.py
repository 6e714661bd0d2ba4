"""Real events from a folder in MovieLens' layout, in time order; what a user did last is held back for the live part.

Layouts: `ratings.csv` with userId,movieId,rating,timestamp (ml-latest-small, ml-25m, ...) or `ratings.dat` with `::` between the same
four (ml-1m, ml-10m). Times are seconds since the epoch.
"""

import csv
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log2
from pathlib import Path

import numpy as np

from recsys_dev.errors import Unmet
from recsys_dev.events import Event
from recsys_dev.neighbours import Neighbours

COLUMNS = ("userId", "movieId", "rating", "timestamp")
HELD_BACK = 0.3
"""Part of each user's ratings, the last ones, that is kept for the live part."""
MOST_ROWS = 2_000_000
"""The first ratings of a larger file; the demo is for one machine."""
CLICKED = 0.6
"""Probability that a user watches a shown item that they are known to have watched later."""
WILLING = 0.2
"""Probability that a user watches an item that all of their neighbours have watched, when it is shown first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """One row."""

    user: str
    item: str
    stars: float
    seconds: int


def read_ratings(folder: Path) -> list[Rating]:
    """All ratings of a folder in time order (ties: by user, then item).

    Raises:
        Unmet: names the file, the columns or the line that is wrong, what was found, and the mend.
    """
    if not folder.is_dir():
        raise Unmet("DATA", f"{folder} is not a folder", "Name a folder in MovieLens' layout: one that holds ratings.csv.")
    table, dots = folder / "ratings.csv", folder / "ratings.dat"
    if table.is_file():
        rows = _rows_of_csv(table)
    elif dots.is_file():
        rows = _rows_of_dat(dots)
    else:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise Unmet(f"file {table}", f"missing; the folder holds {found}", f"It needs the columns {','.join(COLUMNS)}.")
    ratings = sorted(rows, key=lambda r: (r.seconds, r.user, r.item))
    if not ratings:
        raise Unmet(f"file {table if table.is_file() else dots}", "no ratings", "It needs a row for each rating.")
    return ratings


def _rows_of_csv(file: Path) -> Iterator[Rating]:
    with file.open(newline="", encoding="utf-8-sig") as text:
        reader = csv.reader(text)
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise Unmet(
                f"file {file}, columns {', '.join(missing)}",
                f"missing; its first line has {', '.join(header) or 'nothing'}",
                f"The first line must name {','.join(COLUMNS)}.",
            )
        places = [header.index(name) for name in COLUMNS]
        for row in reader:
            if row:
                yield _rating(file, reader.line_num, [row[place] if place < len(row) else "" for place in places])
            if reader.line_num > MOST_ROWS:
                return


def _rows_of_dat(file: Path) -> Iterator[Rating]:
    with file.open(encoding="latin-1") as text:
        for number, line in enumerate(text, start=1):
            yield _rating(file, number, [*line.strip().split("::"), "", "", "", ""][:4])
            if number >= MOST_ROWS:
                return


def _rating(file: Path, line: int, words: Sequence[str]) -> Rating:
    user, item, stars, seconds = words
    try:
        rating = Rating(user=user.strip(), item=item.strip(), stars=float(stars), seconds=int(float(seconds)))
    except ValueError:
        rating = None
    if rating is None or not rating.user or not rating.item or not 0 <= rating.stars <= 5 or rating.seconds < 0:
        raise Unmet(
            f"file {file}, line {line}",
            f"{','.join(words)!r} is no rating",
            "A row is userId,movieId,rating (0 to 5),timestamp (seconds since 1970).",
        )
    return rating


class RecordedAudience:
    """Real users: their past is the history; the whole recording, held-back future included, tells what they would watch."""

    def __init__(self, folder: Path, *, seed: int = 7) -> None:
        """Read a folder; see `read_ratings` for what may be wrong with it."""
        ratings = read_ratings(folder)
        self.name = f"{len(ratings):,} ratings of {folder.name}"
        past, future = _split(ratings)
        self._past, self._future = past, deque(future)
        self._wanted: dict[str, set[str]] = {}
        for rating in future:
            self._wanted.setdefault(rating.user, set()).add(rating.item)
        self._users = sorted(self._wanted) or sorted({rating.user for rating in past})
        self._tastes = Neighbours([(rating.user, rating.item) for rating in ratings])
        self._seen: dict[str, set[str]] = {}
        times: dict[str, list[int]] = {}
        for rating in past:
            self._seen.setdefault(rating.user, set()).add(rating.item)
            times.setdefault(rating.user, []).append(rating.seconds * 1000)
        self._middle = {user: known[len(known) // 2] for user, known in times.items()}
        self._chance = np.random.default_rng(seed)

    def history(self) -> Iterator[Event]:
        """Each user's first ratings, of all users in time order."""
        for rating in self._past:
            yield from _told(rating)

    def live(self, count: int, now_ms: int) -> list[Event]:
        """The next held-back ratings in time order, with their own times; fewer when all have been told."""
        del now_ms
        told: list[Event] = []
        while self._future and len(told) < count:
            told += _told(self._future.popleft())
        return told

    def visitor(self) -> str:
        """A user whose future is known: all alike."""
        return self._users[int(self._chance.integers(len(self._users)))]

    def reaction(self, user_id: str, items: Sequence[str]) -> str | None:
        """The first item shown that the user watches, once each.

        What they are known to have watched later they watch with CLICKED; anything else the more surely, the more of their nearest
        neighbours in the recording have watched it, and the further up it stands. The recording alone would be used up by some
        minutes of visits: few users have more than some dozens of ratings held back.
        """
        wanted, seen, taste = self._wanted.get(user_id, frozenset[str]()), self._seen.setdefault(user_id, set()), self._tastes.of(user_id)
        for place, item in enumerate(items):
            keen = CLICKED if item in wanted else WILLING * taste.get(item, 0.0) ** 2 / log2(place + 2)
            if item not in seen and self._chance.random() < keen:
                seen.add(item)
                return item
        return None

    def watched_at(self, user_id: str, item_id: str, now_ms: int) -> int:
        """The middle of the user's past: a reaction that a demo makes up must not pass for the newest that is known of them."""
        del item_id
        return self._middle.get(user_id, now_ms)


def _split(ratings: Iterable[Rating]) -> tuple[list[Rating], list[Rating]]:
    """Each user's last part is future, the rest past; both in time order."""
    ratings = list(ratings)
    left: dict[str, int] = {}
    for rating in ratings:
        left[rating.user] = left.get(rating.user, 0) + 1
    held = {user: int(count * HELD_BACK) for user, count in left.items()}
    past: list[Rating] = []
    future: list[Rating] = []
    for rating in ratings:
        (past if left[rating.user] > held[rating.user] else future).append(rating)
        left[rating.user] -= 1
    return past, future


def _told(rating: Rating) -> Iterator[Event]:
    """Who rates a film has watched it: two events."""
    name = f"{rating.user}-{rating.item}-{rating.seconds}"
    when = rating.seconds * 1000
    yield Event(event_type="watch", event_id=f"w{name}", user_id=rating.user, item_id=rating.item, timestamp=when, value=1.0)
    yield Event(event_type="rate", event_id=f"r{name}", user_id=rating.user, item_id=rating.item, timestamp=when, value=rating.stars)
