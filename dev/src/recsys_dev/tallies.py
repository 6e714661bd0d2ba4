"""What the users of the line got: counted by version, kept for the report."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from recsys_dev.http_line import TOO_MANY
from recsys_dev.recording import Answered

MOST_LATENCIES = 200_000
MOST_FAULTS = 20


@dataclass(slots=True, kw_only=True)
class VersionTally:
    """What one version answered."""

    answers: int = 0
    good: int = 0
    """Answers with items, by the version itself."""
    watched: int = 0
    users: set[str] = field(default_factory=set[str])
    variants: Counter[str] = field(default_factory=Counter[str])
    reasons: Counter[str] = field(default_factory=Counter[str])


@dataclass(slots=True, kw_only=True)
class Tally:
    """What all users got. Written by the traffic's own thread, read by any."""

    sent: int = 0
    ok: int = 0
    failed: int = 0
    shed: int = 0
    """Refused for load (429), and asked again when the refusal said: no failure, as long as the last answer is one."""
    unacknowledged: int = 0
    """Parcels of events that Kafka had not acknowledged in time (503), and that were sent again, with the same ids, as the refusal says."""
    not_sent: int = 0
    """Visits skipped because too many were in flight: the generator's own limit, no failure of the line."""
    events_sent: int = 0
    events_failed: int = 0
    versions: dict[str, VersionTally] = field(default_factory=dict[str, VersionTally])
    latencies_ms: deque[float] = field(default_factory=lambda: deque[float](maxlen=MOST_LATENCIES))
    answered: deque[Answered] = field(default_factory=lambda: deque[Answered](maxlen=MOST_LATENCIES))
    """The newest answers, one by one."""
    faults: deque[str] = field(default_factory=lambda: deque[str](maxlen=MOST_FAULTS))

    def of(self, version: str) -> VersionTally:
        """The tally of one version."""
        return self.versions.setdefault(version, VersionTally())

    def fail(self, words: str) -> None:
        """Count a request that its user got no recommendation for."""
        self.failed += 1
        self.faults.append(words)

    def refuse(self, status: int) -> None:
        """Count a refusal for a while."""
        if status == TOO_MANY:
            self.shed += 1
        else:
            self.unacknowledged += 1

    @property
    def failures(self) -> str:
        """How many requests failed, how often one was refused for load, and the newest faults, in words."""
        refused = f", {self.shed} refused for load and asked again" if self.shed else ""
        return f"{self.failed} of {self.sent}{refused}: {list(self.faults)[:3]}"

    @property
    def good(self) -> int:
        """Answers with items, by a version itself."""
        return sum(version.good for version in list(self.versions.values()))

    def users_of(self, version: str) -> int:
        """How many different users a version has answered."""
        tally = self.versions.get(version)
        return len(tally.users) if tally else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """Quantiles of a set of times, milliseconds."""

    count: int
    p50: float
    p95: float
    p99: float


def quantiles(times_ms: Iterable[float]) -> Latencies:
    """The middle, the 95th and the 99th of a hundred (nearest rank); zeros of nothing.

    >>> quantiles([3.0, 1.0, 2.0]).p50
    2.0
    """
    ranked = sorted(times_ms)
    if not ranked:
        return Latencies(count=0, p50=0.0, p95=0.0, p99=0.0)
    return Latencies(count=len(ranked), p50=_rank(ranked, 0.5), p95=_rank(ranked, 0.95), p99=_rank(ranked, 0.99))


def _rank(ranked: Sequence[float], part: float) -> float:
    return ranked[min(len(ranked) - 1, max(0, -int(-part * len(ranked) // 1) - 1))]
