"""What replicas report: counts of each arm, and the state of what they follow."""

import hashlib
from collections.abc import Mapping
from math import ceil, log2
from typing import Annotated

from pydantic import Field

from recsys_schemas.artifact import Artifact
from recsys_schemas.serving_record import Skip


class SwitchAsk(Artifact):
    """A switch that was asked for: the operator makes a rollout of it, once."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    """A function of the version and of the record that was in force: asking twice is asking once."""
    version: str
    """What is to serve all users."""
    instead_of: str
    """What served when it was asked: once another does, the ask is over."""
    by: str
    """Who asked: the client's name."""
    reason: str = ""
    """Why."""
    age_seconds: Annotated[float, Field(ge=0)]
    """How long ago."""


GROUPS = 64
"""Groups that users are hashed to, apart from the split. A user's answers are alike; groups of users differ only by chance and by arm."""


def stratum_of(shares: Mapping[str, int]) -> str:
    """Name of the shares (version → percent) in force: 8 hex digits, the same wherever the same versions have the same shares.

    What was counted under different shares must not be added up before it is compared: rewards change with the hour, and the arm
    that had more users then would take the hour's rate (Simpson's paradox in a ramp-up: Crook, Frasca, Kohavi & Longbotham 2009).
    """
    told = ",".join(sorted(f"{version}={share}" for version, share in shares.items() if share))
    return hashlib.blake2b(told.encode(), digest_size=4, person=b"stratum").hexdigest()


FOLDS = 16
"""Groups of users that latencies are kept for: user group % FOLDS."""
LATENCY_LEAST_MS = 0.1
"""Upper bound of the first latency bin."""
LATENCY_STEPS = 32
"""Bins in which the latency doubles: each is 2.2 % wider than the one before."""
LATENCY_BINS = 20 * LATENCY_STEPS
"""The last bin, beyond 100 s, is open."""


def latency_bin(milliseconds: float) -> int:
    """The bin of a latency: 0 for the fastest.

    >>> latency_bin(0.05), latency_bin(0.1), latency_bin(0.2), latency_bin(1e9)
    (0, 0, 32, 640)
    """
    if milliseconds <= LATENCY_LEAST_MS:
        return 0
    return min(LATENCY_BINS, ceil(LATENCY_STEPS * log2(milliseconds / LATENCY_LEAST_MS) - 1e-9))


def latency_edge(place: int) -> float:
    """Upper bound of a bin, milliseconds."""
    return LATENCY_LEAST_MS * 2 ** (place / LATENCY_STEPS)


class StratumCounters(Artifact):
    """What one arm did in one replica while the shares were the same: each list has one number for each group of users."""

    requests: list[int]
    """Requests assigned to the arm."""
    errors: list[int]
    """Of those, answered by another because this one failed."""
    impressions: list[int]
    """Answers that it gave itself under these shares, and that are older than the attribution time."""
    rewards: list[int]
    """Of those, named by a later event."""
    fallbacks: list[int] = []
    """Of the requests, those that the arm answered with what is popular, because it knew nothing of who asked."""
    empty_lists: list[int] = []
    """Of the requests, those that the arm answered with no item at all."""
    latency: dict[int, list[int]] = {}
    """Latency bin (see `latency_bin`) → requests in it, by fold of users; kept for the newest few sets of shares only."""


class ArmCounters(Artifact):
    """What one arm did in one replica since the replica started; only ever grows."""

    requests: int = 0
    """Requests assigned to the arm."""
    errors: int = 0
    """Of those, answered by another arm or the fallback because this one failed."""
    late: int = 0
    """Of those errors, the ones that missed the deadline."""
    impressions: int = 0
    """Answers that this arm gave itself and that are older than the attribution time."""
    rewards: int = 0
    """Impressions that a later event named by its request id (at most one each)."""
    latency_ms_sum: float = 0.0
    """Sum of scoring times, milliseconds."""
    latency_buckets: dict[str, int] = {}
    """Upper bound in ms (as text, `+Inf` last) → number of requests not slower: cumulative, as in Prometheus."""
    strata: dict[str, StratumCounters] = {}
    """Name of the shares (see `stratum_of`) → what was counted under them; the newest few."""


class OnlineState(Artifact):
    """What one arm of a replica knows beyond its version: it follows the event topics from the card's offsets on."""

    caught_up: bool
    """Whether it knows all that was there when it began."""
    applied: Annotated[int, Field(ge=0)]
    """Events taken in."""
    unreadable: Annotated[int, Field(ge=0)]
    """Records that are no events; ingest says why."""
    users: Annotated[int, Field(ge=0)]
    """Users of whom something is remembered."""
    events: Annotated[int, Field(ge=0)]
    """Events of the last five minutes that the next two figures are of."""
    p50_ms: float | None
    """Median time from the event's record to the answers that know it, milliseconds; an upper bound, None beyond ten minutes."""
    p99_ms: float | None
    """The 99th percentile of the same."""
    skipped: list[Skip] = []
    """What is left out."""
    trouble: str = ""
    """Why it cannot follow; empty while it can."""


class ShadowCounters(Artifact):
    """What the answers showed that one version gave to copies of questions in one replica; only ever grows."""

    requests: list[int]
    """Copies answered, one number for each group of users."""
    errors: list[int]
    """Of those, failed or late."""
    dropped: int = 0
    """Copies that found no room."""
    late: int = 0
    """Of the errors, the ones that missed the deadline."""
    overlap_sum: float = 0.0
    """Sum of the parts of the best k items that the given answers have too."""
    correlation_sum: float = 0.0
    """Sum of Spearman's correlations of the order of the common items."""
    correlated: int = 0
    """Answers with at least two common items."""
    worth_sum: float = 0.0
    """Sum of what its lists would earn, each item by the rate at which it is rewarded when it is shown."""
    given_worth_sum: float = 0.0
    """The same of the answers that were given to those questions."""
    latency_ms_sum: float = 0.0
    """Sum of scoring times, milliseconds."""
    latency_buckets: dict[str, int] = {}
    """As in ArmCounters."""


class MixedCounters(Artifact):
    """Whose items users clicked in the mixed lists of one replica; each list has one number for each group of users."""

    against: str
    """The version that it was mixed with."""
    answers: list[int]
    """Mixed answers older than the attribution time."""
    wins: list[int]
    """Of those, with more clicks on the candidate's items."""
    losses: list[int]
    """With fewer."""
    ties: list[int]
    """With as many, and at least one."""


class ToldState(Artifact):
    """What one replica knows of preferences and of live records of items."""

    caught_up: bool
    """Whether it knows all that was there when it began."""
    users: Annotated[int, Field(ge=0)]
    """Users whose preferences it knows."""
    items: Annotated[int, Field(ge=0)]
    """Items with a live record."""
    unreadable: Annotated[int, Field(ge=0)]
    """Records that are none."""
    trouble: str = ""
    """Why it cannot follow; empty while it can."""


class ReplicaReport(Artifact):
    """What one replica serves and has counted."""

    replica_id: str
    """Ray Serve's id of the replica."""
    epoch: int
    """The record that it serves."""
    age_seconds: float
    """Since it last reported."""
    ready: dict[str, str]
    """Version → digest, of the arms that are mapped and verified."""
    refused: dict[str, str]
    """Version → why it could not be mapped."""
    counters: dict[str, ArmCounters]
    """Version → counters."""
    online: dict[str, OnlineState] = {}
    """Version → what it knows of the events since."""
    shadow: dict[str, ShadowCounters] = {}
    """Version → what its answers to copies of questions showed."""
    mixed: dict[str, MixedCounters] = {}
    """Candidate → whose items were clicked in mixed lists."""
    told: ToldState | None = None
    """What it knows of preferences and live items; none where the model has no topics of them."""
    switch: SwitchAsk | None = None
    """The newest switch that it was asked for, while it may be taken up."""
    record_ms: float | None = None
    """How long it took from the arrival of the record that it serves to the first answer by it; with a version to load, that too."""


class EvidenceResponse(Artifact):
    """GET /v1/evidence: every replica's last report."""

    replicas: list[ReplicaReport]
    """Also of replicas that are gone: what they counted stays counted."""
