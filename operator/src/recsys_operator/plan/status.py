"""Status: `Ready` and the phase are composed here, and nowhere else."""

from collections.abc import Sequence

from recsys_operator.plan import cluster, definitions, quarantine, raising, shares, telling
from recsys_operator.plan.audit import recording
from recsys_operator.plan.freshness import measured
from recsys_operator.plan.ingest import wanted as wanted_ingest
from recsys_operator.plan.lag import furthest, lag_records, lag_seconds
from recsys_operator.plan.names import route_prefix
from recsys_operator.plan.quality import put_aside
from recsys_operator.plan.reports import own_app, reports
from recsys_operator.plan.spans import remember
from recsys_operator.plan.training import in_progress
from recsys_operator.plan.upkeep import last as last_upkeep
from recsys_operator.plan.wanted_topics import out_of_sync
from recsys_operator.state.observed import Observed, RolloutState, Unavailable
from recsys_operator.state.plan import Fact
from recsys_schemas.v1alpha1.conditions import Condition, ConditionType
from recsys_schemas.v1alpha1.model_status import (
    CatalogueStatus,
    HistoryEntry,
    Ingestion,
    ModelStatus,
    Quality,
    ServedVersion,
    ServingRetry,
    ServingStatus,
)
from recsys_schemas.v1alpha1.replication import Replication
from recsys_schemas.v1alpha1.rollout import RolloutPhase
from recsys_schemas.v1alpha1.version import VersionPhase

_HISTORY = 20
_WORDS: dict[bool | None, str] = {True: "True", False: "False", None: "Unknown"}


def compose(observed: Observed, facts: Sequence[Fact], retry: ServingRetry | None = None) -> ModelStatus:
    """The whole status, from what was seen and what each concern said of itself; `retry` of an application that does not start."""
    ready = _ready(observed, facts)
    stalled = _stalled(observed, facts)
    return ModelStatus(
        observed_generation=observed.model.generation,
        phase=_phase(observed, stalled.holds is True),
        champion=_champion(observed),
        challenger=_challenger(observed),
        arms=_arms(observed),
        cluster=cluster.status(observed),
        replication=_replication(observed),
        ingestion=_ingestion(observed),
        catalogue=_catalogue(observed),
        quality=_quality(observed),
        triggers=remember(observed),
        serving=_serving(observed, retry),
        freshness=measured(observed),
        told=telling.told(observed),
        notifications=telling.notifications(observed),
        audit=recording.status(observed),
        quarantined=quarantine.remember(observed),
        history=_history(observed),
        conditions=[_condition(observed, fact) for fact in (ready, *facts, stalled)],
    )


def _condition(observed: Observed, fact: Fact) -> Condition:
    """A condition keeps its transition time until its status changes."""
    status = _WORDS[fact.holds]
    before = next((c for c in observed.model.status.conditions if c.type == fact.type), None)
    since = before.last_transition_time if before and before.status == status else observed.now
    return Condition.model_validate(
        {
            "type": fact.type,
            "status": status,
            "reason": fact.reason,
            "message": fact.message[:4000],
            "observed_generation": observed.model.generation,
            "last_transition_time": since,
        }
    )


def _ready(observed: Observed, facts: Sequence[Fact]) -> Fact:
    """Ready: a champion serves. What else is wrong is told by its own condition."""
    said = {fact.type: fact for fact in facts}
    serving, champion = said[ConditionType.SERVING], shares.champion(observed)
    if observed.model.spec.suspend and serving.holds and champion:
        return Fact(type=ConditionType.READY, holds=True, reason="Suspended", message=f"suspended; {champion.name} serves on")
    if champion is None:
        known = [fact for fact in facts if fact.type in _BLOCKING]
        blocked = next(
            (fact for fact in known if fact.holds is False), next((fact for fact in known if fact.reason in _OUT_OF_REACH), None)
        )
        message = f"no version serves yet{f'; {blocked.type}: {blocked.message}' if blocked else ''}"
        return Fact(type=ConditionType.READY, holds=False, reason="NoChampion", message=message)
    if serving.holds:
        return Fact(type=ConditionType.READY, holds=True, reason="ChampionServing", message=serving.message)
    reason = "EngineUnavailable" if isinstance(observed.ray, Unavailable) else "NotServing"
    return Fact(type=ConditionType.READY, holds=serving.holds, reason=reason, message=serving.message)


_BLOCKING = frozenset(
    {ConditionType.TOPICS_READY, ConditionType.SNAPSHOT_READY, ConditionType.TRAINED, ConditionType.GATES_PASSED, ConditionType.SERVING}
)

_OUT_OF_REACH = ("KafkaUnreachable", "EngineUnavailable", "StorageUnreachable")


def _stalled(observed: Observed, facts: Sequence[Fact]) -> Fact:
    """Stalled: waiting will not help, a person must act."""
    parts = {"topics": observed.topics, "ray": observed.ray, "manifest": observed.manifest, "tokens": observed.tokens}
    refused = [part.message for part in parts.values() if isinstance(part, Unavailable) and part.refused]
    person = (
        "ReplicasInfeasible",
        "ObservedTopicMissing",
        "RouteTaken",
        "DataQualityFailed",
        "BackoffLimitExceeded",
        "Unreadable",
        "RollbackRefused",
        "ArmUnavailable",
        "NameTaken",
        "NoImage",
        "ClusterDiffers",
        definitions.TOO_OLD,
    )
    stuck = refused or [fact.message for fact in facts if fact.holds is False and fact.reason in person]
    if stuck:
        # Two conditions may rest on one fault: it is told once.
        return Fact(type=ConditionType.STALLED, holds=True, reason="ActionNeeded", message="; ".join(dict.fromkeys(stuck)))
    return Fact(type=ConditionType.STALLED, holds=False, reason="Progressing", message="nothing waits for a person")


def _phase(observed: Observed, stalled: bool) -> str:
    if observed.model.spec.suspend:
        return "Suspended"
    active, version = shares.active(observed), in_progress(observed)
    holding = active is not None and active.status.phase is RolloutPhase.HOLDING
    if (active is not None and not holding) or shares.waiting(observed) is not None:
        return "Canary" if shares.champion(observed) else "Deploying"
    if version is not None:
        return "Preflight" if version.status.phase is VersionPhase.PREFLIGHT else "Training"
    if shares.champion(observed):
        return "Serving"
    if stalled:
        return "Stalled"
    return "Pending" if observed.manifest is None or isinstance(observed.manifest, Unavailable) else "Ingesting"


def _champion(observed: Observed) -> ServedVersion | None:
    pinned = shares.champion(observed)
    if pinned is None:
        return None
    ended = [r.status.ended_at for r in observed.rollouts if r.lead == pinned and r.status.phase == "Successful"]
    app = own_app(observed)
    share = next((arm.share for arm in app.record.arms if arm.version == pinned.name), 0) if app and app.record else 0
    return ServedVersion(version=pinned.name, digest=pinned.digest, weight=share, since=ended[-1] if ended else None)


def _challenger(observed: Observed) -> ServedVersion | None:
    active = shares.active(observed)
    if active is None or active.status.phase is RolloutPhase.HOLDING:
        return None
    return ServedVersion(version=active.lead.name, digest=active.lead.digest, weight=active.status.weight)


def _arms(observed: Observed) -> list[ServedVersion]:
    """What takes part in a test beside the challenger."""
    active = shares.active(observed)
    if active is None or active.status.phase not in (RolloutPhase.PROGRESSING, RolloutPhase.PAUSED):
        return []
    return [
        ServedVersion(version=arm.name, digest=arm.digest, weight=0 if arm.name in active.left else arm.weight) for arm in active.spec.arms
    ]


def _replication(observed: Observed) -> Replication | None:
    if isinstance(observed.topics, Unavailable) or not observed.topics.topics:
        return observed.model.status.replication
    seen = observed.topics
    partitions = [(name, partition) for name, topic in seen.topics.items() for partition in topic.partitions]
    return Replication(
        topics=len(seen.topics),
        under_replicated_partitions=sum(out_of_sync(each, raising.lag(observed, seen, name, each)) for name, each in partitions),
        min_replication_factor=min((raising.established(observed, seen, name, each) for name, each in partitions), default=0),
        raising=raising.step(observed).raising,
    )


def _ingestion(observed: Observed) -> Ingestion | None:
    manifest = observed.manifest
    if manifest is None or isinstance(manifest, Unavailable):
        return observed.model.status.ingestion
    return Ingestion(
        rows=manifest.rows,
        lag_records=lag_records(observed),
        dead_letters=manifest.dead_letters,
        dead_letter_fraction=f"{put_aside(manifest).fraction:.4f}",
        sequence=manifest.sequence,
        last_snapshot_time=manifest.committed_at,
        storage_uri=observed.model.storage_uri,
        last_upkeep=last_upkeep(observed),
        lag_seconds=lag_seconds(observed),
        furthest_behind=furthest(observed),
        consumers=wanted_ingest(observed).consumers,
    )


def _catalogue(observed: Observed) -> CatalogueStatus | None:
    asked, report = observed.model.spec.data.catalogue, observed.catalogue
    if asked is None:
        return None
    if report is None or report.uri != asked.uri:
        return observed.model.status.catalogue
    first = f"line {report.refused_first[0].line}: {report.refused_first[0].reason}" if report.refused_first else ""
    return CatalogueStatus(
        items=report.items,
        refused=report.refused,
        with_title=_part(report.with_title, report.items),
        with_genres=_part(report.with_genres, report.items),
        with_text=_part(report.with_text, report.items),
        message=(report.problem or first)[:1000],
    )


def _part(count: int, total: int) -> str:
    return f"{count / total if total else 0.0:.4f}"


def _quality(observed: Observed) -> Quality | None:
    pinned = shares.champion(observed)
    version = next((v for v in observed.versions if pinned and v.name == pinned.name), None)
    if version is None:
        return observed.model.status.quality if pinned else None
    made_by = version.status.algorithm or version.spec.algorithm
    found = {metric.metric: metric.value for metric in version.status.metrics if metric.model == made_by}
    return Quality(ndcg10=found.get("ndcg@10", ""), hr10=found.get("hr@10", ""))


def _serving(observed: Observed, retry: ServingRetry | None) -> ServingStatus | None:
    if isinstance(observed.ray, Unavailable):
        return observed.model.status.serving
    app, seen = own_app(observed), reports(observed)
    before = observed.model.status.serving
    epoch = app.record.epoch if app and app.record else (before.epoch if before else 0)
    return ServingStatus(
        replicas=observed.model.spec.serving.replicas,
        ready_replicas=seen.at_epoch(epoch) if seen else 0,
        epoch=epoch,
        url=f"{observed.ray.serving_url}{route_prefix(observed.model)}",
        selector=f"recsys.dev/model={observed.model.key.name}",
        retry=retry,
    )


def _history(observed: Observed) -> list[HistoryEntry]:
    ended = [
        HistoryEntry(version=r.lead.name, outcome=_outcome(r), time=r.status.ended_at, message=r.status.message)
        for r in observed.rollouts
        if r.status.ended_at
    ]
    return sorted(ended, key=lambda entry: entry.time, reverse=True)[:_HISTORY]


def _outcome(walk: RolloutState) -> str:
    returned = walk.spec.purpose == "Return" and walk.status.phase == "Successful"
    return "ReturnedTo" if returned else _OUTCOME.get(walk.status.phase, str(walk.status.phase))


_OUTCOME = {"Successful": "Promoted"}
