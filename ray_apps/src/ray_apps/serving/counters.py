"""What each version did in this replica since it started.

The event loop counts requests, the reporting thread what has ripened; any thread may read.
"""

import zlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal

from recsys_schemas.serving_evidence import FOLDS, GROUPS, ArmCounters, StratumCounters, latency_bin

BOUNDS_MS = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0)
"""Upper bounds of the latency buckets, milliseconds; one more is open."""
MAX_VERSIONS = 64
"""Versions remembered, newest last; a replica that outlives more has been up for dozens of rollouts."""
MAX_STRATA = 24
"""Sets of shares remembered for each version, newest last: more than the steps of any rollout."""


MAX_TIMED_STRATA = 2
"""Of those, so many are reported with their latencies: what is compared is of the shares in force."""


def group_of(user_id: str) -> int:
    """The user's group, in [0, GROUPS). Nothing secret and nothing fair hangs on it, so a checksum is enough."""
    return zlib.crc32(user_id.encode()) % GROUPS


def _zeros() -> list[int]:
    return [0] * GROUPS


@dataclass(slots=True)
class Stratum:
    """The running counts of one version under one set of shares, by group of users."""

    requests: list[int] = field(default_factory=_zeros)
    errors: list[int] = field(default_factory=_zeros)
    impressions: list[int] = field(default_factory=_zeros)
    rewards: list[int] = field(default_factory=_zeros)
    fallbacks: list[int] = field(default_factory=_zeros)
    empty_lists: list[int] = field(default_factory=_zeros)
    latency: dict[int, list[int]] = field(default_factory=dict[int, list[int]])

    def observe(self, group: int, milliseconds: float) -> None:
        """Count one scoring time."""
        place = latency_bin(milliseconds)
        counts = self.latency.get(place)
        if counts is None:
            counts = self.latency[place] = [0] * FOLDS
        counts[group % FOLDS] += 1

    def counters(self, *, timed: bool) -> StratumCounters:
        """The counts as they are reported; a copy."""
        return StratumCounters(
            requests=list(self.requests),
            errors=list(self.errors),
            impressions=list(self.impressions),
            rewards=list(self.rewards),
            fallbacks=list(self.fallbacks),
            empty_lists=list(self.empty_lists),
            latency={place: list(counts) for place, counts in list(self.latency.items())} if timed else {},
        )


@dataclass(slots=True, kw_only=True)
class Tally:
    """The running counts of one version."""

    requests: int = 0
    errors: int = 0
    late: int = 0
    impressions: int = 0
    rewards: int = 0
    latency_ms_sum: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))
    strata: OrderedDict[str, Stratum] = field(default_factory=OrderedDict[str, Stratum])

    def under(self, stratum: str) -> Stratum:
        """The counts under these shares, begun when they are first asked for."""
        found = self.strata.get(stratum)
        if found is None:
            found = self.strata.setdefault(stratum, Stratum())
            if len(self.strata) > MAX_STRATA:
                self.strata.popitem(last=False)
        return found

    def asked(
        self,
        stratum: str,
        group: int,
        milliseconds: float,
        ended: Literal["well", "late", "failed"],
        given: Literal["some", "popular", "none"] = "some",
    ) -> None:
        """Count one request of a user of this group, how it ended, and what the arm gave."""
        under = self.under(stratum)
        self.requests += 1
        under.requests[group] += 1
        if ended != "well":
            self.errors += 1
            under.errors[group] += 1
            self.late += ended == "late"
        under.fallbacks[group] += given == "popular"
        under.empty_lists[group] += given == "none"
        under.observe(group, milliseconds)
        self.observe(milliseconds)

    def observe(self, milliseconds: float) -> None:
        """Count one scoring time."""
        self.latency_ms_sum += milliseconds
        for place, bound in enumerate(BOUNDS_MS):
            if milliseconds <= bound:
                self.buckets[place] += 1
                return
        self.buckets[-1] += 1

    def counters(self) -> ArmCounters:
        """The counts as they are reported; buckets become cumulative."""
        names = [f"{bound:g}" for bound in BOUNDS_MS] + ["+Inf"]
        cumulative: dict[str, int] = {}
        total = 0
        for name, count in zip(names, list(self.buckets), strict=True):
            total += count
            cumulative[name] = total
        return ArmCounters(
            requests=self.requests,
            errors=self.errors,
            late=self.late,
            impressions=self.impressions,
            rewards=self.rewards,
            latency_ms_sum=self.latency_ms_sum,
            latency_buckets=cumulative,
            strata=self._told(),
        )

    def _told(self) -> dict[str, StratumCounters]:
        strata = list(self.strata.items())
        first_timed = len(strata) - MAX_TIMED_STRATA
        return {name: stratum.counters(timed=place >= first_timed) for place, (name, stratum) in enumerate(strata)}


class Tallies:
    """The tallies of every version that this replica has served."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, Tally] = OrderedDict()

    def of(self, version: str) -> Tally:
        """The version's tally, begun when it is first asked for."""
        tally = self._of.get(version)
        if tally is None:
            # setdefault: the reporting thread may begin the same tally at this moment.
            tally = self._of.setdefault(version, Tally())
            if len(self._of) > MAX_VERSIONS:
                self._of.popitem(last=False)
        return tally

    def known(self, version: str) -> bool:
        """Whether this version has a tally here."""
        return version in self._of

    def counters(self) -> dict[str, ArmCounters]:
        """Version → counters."""
        return {version: tally.counters() for version, tally in list(self._of.items())}
