"""What each version did in this replica since it started.

The event loop counts requests, the reporting thread what has ripened; any thread may read.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from recsys_schemas.serving_api import ArmCounters

BOUNDS_MS = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0)
"""Upper bounds of the latency buckets, milliseconds; one more is open."""
MAX_VERSIONS = 64
"""Versions remembered, newest last; a replica that outlives more has been up for dozens of rollouts."""


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
        )


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
