"""What the replicas report, added up: who serves which record, which versions are mapped, what was counted."""

from dataclasses import dataclass

from recsys_operator.plan.names import app_name
from recsys_operator.state.observed import AppState, Observed, Unavailable
from recsys_schemas.serving_api import EvidenceResponse
from recsys_schemas.v1alpha1.rollout import ArmTotals

_STALE_SECONDS = 15.0


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

    def totals(self, version: str) -> ArmTotals:
        """Counters of a version over all replicas, those that are gone included."""
        found = [r.counters[version] for r in self.response.replicas if version in r.counters]
        return ArmTotals(
            requests=sum(c.requests for c in found),
            errors=sum(c.errors for c in found),
            impressions=sum(c.impressions for c in found),
            rewards=sum(min(c.rewards, c.impressions) for c in found),
        )


def reports(observed: Observed) -> Reports | None:
    """The reports, or None while they cannot be had."""
    app = own_app(observed)
    if app is None or observed.evidence is None or isinstance(observed.evidence, Unavailable):
        return None
    return Reports(running=frozenset(app.running_replicas), response=observed.evidence)


def own_app(observed: Observed) -> AppState | None:
    """The model's application as the cluster has it."""
    return None if isinstance(observed.ray, Unavailable) else observed.ray.apps.get(app_name(observed.model))


def since(total: ArmTotals, start: ArmTotals) -> ArmTotals:
    """What was counted since a start; counters that fell began anew (the cluster was replaced), so all of them are new."""
    fell = total.requests < start.requests or total.impressions < start.impressions
    begin = ArmTotals() if fell else start
    impressions = max(0, total.impressions - begin.impressions)
    return ArmTotals(
        requests=max(0, total.requests - begin.requests),
        errors=max(0, total.errors - begin.errors),
        impressions=impressions,
        rewards=min(impressions, max(0, total.rewards - begin.rewards)),
    )
