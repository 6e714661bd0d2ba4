"""What the replicas report, added up: who serves which record, which versions are mapped, what was counted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import add

from recsys_operator.plan.evidence import UNSEEN, UNTIMED, Grouped, Latencies
from recsys_operator.plan.names import app_name
from recsys_operator.plan.once import once
from recsys_operator.state.observed import AppState, Observed, Unavailable
from recsys_schemas.serving_evidence import GROUPS, EvidenceResponse

_STALE_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What one arm did under one set of shares, over all replicas."""

    errors: Grouped
    """Failed requests among those assigned to it."""
    rewards: Grouped
    """Rewarded answers among those that it gave."""
    fallbacks: Grouped = UNSEEN
    """Requests that it answered with what is popular, for want of anything known."""
    empty_lists: Grouped = UNSEEN
    """Requests that it answered with nothing."""
    latency: Latencies = UNTIMED
    """How long its answers took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """The reports of one pass, and which replicas run."""

    running: frozenset[str]
    response: EvidenceResponse

    def verified(self, epoch: int) -> bool:
        """Whether every running replica (at least one) reports that it serves this record."""
        serving = {r.replica_id for r in self.response.replicas if r.epoch >= epoch and r.age_seconds < _STALE_SECONDS}
        return bool(self.running) and self.running <= serving

    def at_epoch(self, epoch: int) -> int:
        """How many running replicas serve this record."""
        return sum(r.epoch >= epoch and r.replica_id in self.running for r in self.response.replicas)

    def ready(self, version: str, digest: str) -> bool:
        """Whether every running replica has mapped this version, verified."""
        having = {r.replica_id for r in self.response.replicas if r.ready.get(version) == digest}
        return bool(self.running) and self.running <= having

    def refused(self, version: str) -> str | None:
        """Why a running replica could not map this version."""
        return next((r.refused[version] for r in self.response.replicas if r.replica_id in self.running and version in r.refused), None)

    def given(self, version: str) -> tuple[int, int]:
        """Ripe answers of a version and how many were rewarded, under whatever shares, over all replicas, those that are gone included."""
        found = [r.counters[version] for r in self.response.replicas if version in r.counters]
        impressions = sum(each.impressions for each in found)
        return impressions, min(impressions, sum(each.rewards for each in found))

    def counted(self, version: str, stratum: str) -> Counted:
        """What a version did under these shares, over all replicas, those that are gone included."""
        found = [r.counters[version].strata.get(stratum) for r in self.response.replicas if version in r.counters]
        there = [each for each in found if each is not None]
        requests, impressions = added(each.requests for each in there), added(each.impressions for each in there)
        return Counted(
            errors=Grouped(hits=_at_most(added(each.errors for each in there), requests), trials=requests),
            rewards=Grouped(hits=_at_most(added(each.rewards for each in there), impressions), trials=impressions),
            fallbacks=_of_requests([(each.requests, each.fallbacks) for each in there]),
            empty_lists=_of_requests([(each.requests, each.empty_lists) for each in there]),
            latency=Latencies.added(each.latency for each in there),
        )


@once
def reports(observed: Observed) -> Reports | None:
    """The reports, or None while they cannot be had."""
    app = own_app(observed)
    if app is None or observed.evidence is None or isinstance(observed.evidence, Unavailable):
        return None
    return Reports(running=frozenset(app.running_replicas), response=observed.evidence)


def own_app(observed: Observed) -> AppState | None:
    """The model's application as the cluster has it."""
    return None if isinstance(observed.ray, Unavailable) else observed.ray.apps.get(app_name(observed.model))


def added(lists: Iterable[Sequence[int]]) -> list[int]:
    """Lists of numbers by groups of users, added up."""
    total = [0] * GROUPS
    for counts in lists:
        if len(counts) != GROUPS:
            raise ValueError(f"a replica counts by {len(counts)} groups of users, not by {GROUPS}")
        total = list(map(add, total, counts))
    return total


def _of_requests(reported: list[tuple[list[int], list[int]]]) -> Grouped:
    """Replicas of an earlier release do not count it: their requests say nothing."""
    told = [(requests, hits) for requests, hits in reported if hits]
    requests = added(requests for requests, _ in told)
    return Grouped(hits=_at_most(added(hits for _, hits in told), requests), trials=requests)


def _at_most(hits: Sequence[int], trials: Sequence[int]) -> list[int]:
    """A reward may be reported before its answer is, by another replica."""
    return list(map(min, hits, trials))
