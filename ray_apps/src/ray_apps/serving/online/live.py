"""What an arm knows beyond its version: recent deeds and popularity that moves. One whole, so that a replay replaces it at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ray_apps.serving.online.popularity import Likes, LivePopularity
from ray_apps.serving.online.recent import Deed, Recent
from recsys_schemas.serving_evidence import OnlineState
from recsys_schemas.serving_record import Skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """The two halves."""

    popularity: LivePopularity
    recent: Recent = field(default_factory=Recent)

    def take(self, user: str, deed: Deed) -> None:
        """Note what a user did."""
        if self.recent.take(user, deed) and deed.weight:
            self.popularity.liked(deed.item)


class Live(Protocol):
    """Knowledge that may grow while it is read."""

    @property
    def knowledge(self) -> Knowledge:
        """What is known now: take it once for an answer."""
        ...

    def wait(self, seconds: float) -> bool:
        """Wait until everything that was there at the beginning is known, for so long at most."""
        ...

    def skip(self, ranges: tuple[Skip, ...]) -> None:
        """Leave these records out, also where they are known already."""
        ...

    def state(self) -> OnlineState | None:
        """For the replica's report; None when nothing is followed."""
        ...

    def close(self) -> None:
        """Follow no further."""
        ...


class Still:
    """A version as it was trained: nothing is followed."""

    def __init__(self, trained: Likes, places: Mapping[str, int]) -> None:
        self.knowledge = Knowledge(popularity=LivePopularity(trained, places))

    def wait(self, seconds: float) -> bool:
        """Nothing is waited for."""
        del seconds
        return True

    def skip(self, ranges: tuple[Skip, ...]) -> None:
        """Nothing is followed, so nothing is left out."""

    def state(self) -> OnlineState | None:
        """Nothing to tell."""
        return None

    def close(self) -> None:
        """Nothing to end."""


Enliven = Callable[["Followed", Likes, Mapping[str, int]], Live]
"""(the version's beginning, what it knew of its items, its places) → its live knowledge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """Where a version's own knowledge ends."""

    cluster_id: str
    """The Kafka cluster that the offsets belong to."""
    offsets: Mapping[tuple[str, int], int]
    """The next offset of each partition that it was trained on."""


def still(followed: Followed, trained: Likes, places: Mapping[str, int]) -> Still:
    """Knowledge that does not grow."""
    del followed
    return Still(trained, places)
