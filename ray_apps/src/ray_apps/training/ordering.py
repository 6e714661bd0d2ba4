"""Events in any order become one entry for each (user, item) in order, with memory for a part of the users at a time.

Events are dealt out by ranges of users as they come, on disk where there is room, and each range is then put in order by itself: the same
as sorting all of them, for the ranges follow each other.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms import columns
from ray_apps.algorithms.columns import Growing, Room
from ray_apps.algorithms.interactions import Indices, Weights

MOST_RANGES = 256
EVENT = np.dtype([("user", np.int32), ("item", np.int32), ("weight", np.float32), ("time", np.int64), ("organic", np.bool_)])
"""21 bytes."""

Events = NDArray[np.void]
"""Of type EVENT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """One for each (user, item), by user, then item; all of shape (entries,)."""

    users: Indices
    items: Indices
    weights: Weights
    times: NDArray[np.int64]
    organic: NDArray[np.bool_]


def in_order(batches: Iterable[Events], n_users: int, about: int, room: Room | None = None) -> Entries:
    """Entries of events: of several of one user with one item the strongest weight and the latest time stay, and whether all are organic.

    Args:
        batches: Events, some at a time.
        n_users: Users are numbered below it.
        about: How many events there are at most: a range holds about a PIECE of them.
        room: Where events wait and entries lie; None: in memory.
    """
    count = max(1, min(MOST_RANGES, about // columns.PIECE, n_users))
    width = -(-n_users // count)
    waiting = [room.file() if room else io.BytesIO() for _ in range(count)]
    for events in batches:
        _deal(events, events["user"] // width, waiting)
    users, items, weights = Growing(np.int32, room), Growing(np.int32, room), Growing(np.float32, room)
    times, organic = Growing(np.int64, room), Growing(np.bool_, room)
    for file in waiting:
        with file:
            file.seek(0)
            events = np.frombuffer(file.read(), dtype=EVENT)
        order = np.lexsort((events["item"], events["user"]))
        events = events[order]
        again = (events["user"][1:] == events["user"][:-1]) & (events["item"][1:] == events["item"][:-1])
        starts = np.flatnonzero(np.concatenate((np.ones(min(events.size, 1), dtype=np.bool_), ~again)))
        if starts.size:
            users.add(events["user"][starts])
            items.add(events["item"][starts])
            weights.add(np.maximum.reduceat(events["weight"], starts))
            times.add(np.maximum.reduceat(events["time"], starts))
            organic.add(np.logical_and.reduceat(events["organic"], starts))
    return Entries(users=users.whole(), items=items.whole(), weights=weights.whole(), times=times.whole(), organic=organic.whole())


def _deal(events: Events, ranges: NDArray[np.integer], waiting: Sequence[BinaryIO]) -> None:
    ordered = events[np.argsort(ranges, kind="stable")]
    bounds = np.concatenate(([0], np.cumsum(np.bincount(ranges, minlength=len(waiting)))))
    for file, low, high in zip(waiting, bounds[:-1], bounds[1:], strict=True):
        file.write(ordered[low:high].tobytes())
