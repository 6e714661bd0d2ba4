"""Mixed clicks: whose items users click in mixed lists; an answer prefers the side that more of its clicked items came from.

The replica that gave a mixed answer remembers whose each item is, for as long as it may be rewarded. Events reach every replica by the
topics that its arms follow, so whichever replica an event was sent to, or none, the one that remembers the answer hears of it. A replica
that ends forgets its open answers: both sides lose alike.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from zlib import crc32

from ray_apps.serving.counters import MAX_VERSIONS
from recsys_schemas.serving_evidence import GROUPS, MixedCounters

MOST_OPEN = 50_000
"""Mixed answers remembered at once; the oldest are forgotten first, and count as not clicked."""


def _zeros() -> list[int]:
    return [0] * GROUPS


@dataclass(slots=True)
class _Open:
    """One mixed answer that may still be clicked."""

    key: tuple[str, str]
    group: int
    shown_at: float
    teams: Mapping[int, bool]
    """Checksum of an item on which a click tells the two apart → whether it is the candidate's."""
    clicked: set[int] = field(default_factory=set[int])


@dataclass(slots=True)
class _Tally:
    answers: list[int] = field(default_factory=_zeros)
    wins: list[int] = field(default_factory=_zeros)
    losses: list[int] = field(default_factory=_zeros)
    ties: list[int] = field(default_factory=_zeros)


class MixedClicks:
    """Mixed answers of this replica, open ones by request id and closed ones as counts."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._tallies: OrderedDict[tuple[str, str], _Tally] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> bool:
        """Whether any answer may still be clicked."""
        return bool(self._open)

    def shown(self, request_id: str, stable: str, candidate: str, group: int, teams: Mapping[str, bool]) -> None:
        """A mixed answer was given: each item that tells the two apart, with whether it is the candidate's."""
        answer = _Open((candidate, stable), group, self._clock(), {_mark(item): own for item, own in teams.items()})
        with self._lock:
            self._open[request_id] = answer
            if len(self._open) > MOST_OPEN:
                self._close(self._open.popitem(last=False)[1])

    def clicked(self, request_id: str, item_id: str) -> None:
        """An event named an answer and an item; repeats change nothing, nor do items that the answer did not hold or that tell nothing."""
        with self._lock:
            answer = self._open.get(request_id)
            mark = _mark(item_id)
            if answer is not None and mark in answer.teams:
                answer.clicked.add(mark)

    def ripen(self, attribution_seconds: float) -> None:
        """Count the answers whose time is over; called before each report."""
        due = self._clock() - attribution_seconds
        with self._lock:
            while self._open:
                request_id, answer = next(iter(self._open.items()))
                if answer.shown_at > due:
                    return
                del self._open[request_id]
                self._close(answer)

    def counters(self) -> dict[str, MixedCounters]:
        """Candidate → what was preferred, of the newest version that it was mixed with."""
        with self._lock:
            return {
                candidate: MixedCounters(
                    against=stable,
                    answers=list(tally.answers),
                    wins=list(tally.wins),
                    losses=list(tally.losses),
                    ties=list(tally.ties),
                )
                for (candidate, stable), tally in self._tallies.items()
            }

    def _close(self, answer: _Open) -> None:
        tally = self._tallies.get(answer.key)
        if tally is None:
            tally = self._tallies[answer.key] = _Tally()
            if len(self._tallies) > MAX_VERSIONS:
                self._tallies.popitem(last=False)
        tally.answers[answer.group] += 1
        own = sum(answer.teams[mark] for mark in answer.clicked)
        lead = 2 * own - len(answer.clicked)
        if answer.clicked:
            (tally.wins if lead > 0 else tally.losses if lead < 0 else tally.ties)[answer.group] += 1


def _mark(item_id: str) -> int:
    return crc32(item_id.encode())
