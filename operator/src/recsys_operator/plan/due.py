"""Due: whether another version should be trained now, and why; each trigger fires once for one cause."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from recsys_operator.plan import shares, taking_part, triggers
from recsys_operator.plan.names import version_name
from recsys_operator.plan.quality import put_aside
from recsys_operator.plan.topics import HOLDING, Topics
from recsys_operator.state.actions import Action, CreateVersion, PublishEvent
from recsys_operator.state.observed import Observed, Unavailable
from recsys_schemas.snapshot import SnapshotManifest
from recsys_schemas.v1alpha1.fitting import Fit
from recsys_schemas.v1alpha1.version import CatalogueReference, Cause, ModelReference, SnapshotReference, VersionPhase, VersionSpec

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Why a version is due."""

    cause: Cause
    manifest: SnapshotManifest


def due(observed: Observed) -> Due | None:
    """Whether a version is due, and why: a change of the spec first, then the triggers in their order."""
    manifest = observed.manifest
    if manifest is None or isinstance(manifest, Unavailable):
        return None
    spec, last = observed.model.spec, observed.versions[-1] if observed.versions else None
    if last is None:
        if manifest.rows < spec.training.initial_records:
            return None
        detail = f"{manifest.rows} rows, at least spec.training.initialRecords {spec.training.initial_records}"
        return Due(cause=Cause(trigger="Initial", detail=detail), manifest=manifest)
    asked = (spec.model.algorithm, spec.model.hyperparameters, spec.model.seed, tuple(spec.model.baselines))
    made = (last.spec.algorithm, last.spec.hyperparameters, last.spec.seed, tuple(last.spec.baselines))
    if asked != made:
        detail = f"spec.model asks for {spec.model.algorithm} with seed {spec.model.seed}; {last.name} was made otherwise"
        return Due(cause=Cause(trigger="SpecChanged", detail=detail), manifest=manifest)
    cause = triggers.fired(observed, last, manifest.rows)
    return Due(cause=cause, manifest=manifest) if cause is not None else None


def held(observed: Observed, topics: Topics) -> str | None:
    """Why a version that is due must wait, or None."""
    until = _held_until(observed)
    if topics in HOLDING:
        return "replicas are out of sync, or the brokers cannot be asked"
    if _too_many_dead_letters(observed):
        return "too many of the newest records were put aside"
    if _walks(observed):
        return "a rollout is under way"
    if until is not None and observed.now < until:
        return f"cooling down until {until:%Y-%m-%dT%H:%M:%SZ}"
    return _enough_for_a_day(observed)


def _walks(observed: Observed) -> bool:
    """Whether a candidate is waited for: one that waits itself, or one under way that a newer version may not supersede."""
    if shares.active(observed) is None and (lacks := taking_part.lacking(observed)) and lacks.trained:
        return False  # what its test waits for is still to be made
    begun = {pin.name for rollout in observed.rollouts for pin in rollout.spec.tried}
    over = begun if observed.model.spec.rollout.newer_version == "Supersede" else set[str]()
    return any(version.status.phase is VersionPhase.CANDIDATE and version.name not in over for version in observed.versions)


def _enough_for_a_day(observed: Observed) -> str | None:
    """Why no run may begin now: as many as allowed have begun within 24 hours; objects of those are not pruned."""
    most = observed.model.spec.training.max_runs_per_day
    begun = [version.created_at for version in observed.versions if observed.now < version.created_at + DAY]
    if most is None or len(begun) < most:
        return None
    again = begun[len(begun) - most] + DAY
    return (
        f"{len(begun)} runs began within 24 hours, at most spec.training.maxRunsPerDay {most}; the next may at {again:%Y-%m-%dT%H:%M:%SZ}"
    )


def _held_until(observed: Observed) -> datetime | None:
    """End of the cooldown after the last run, or after the last roll-back."""
    spec = observed.model.spec
    ends = [version.created_at + timedelta(seconds=spec.training.cooldown_seconds) for version in observed.versions[-1:]]
    pause = timedelta(seconds=spec.rollout.on_failure.cooldown_seconds)
    back = [r.status.ended_at for r in observed.rollouts[-1:] if r.status.phase in ("RolledBack", "Aborted", "Inconclusive")]
    return max([*ends, *(ended + pause for ended in back if ended)], default=None)


def _too_many_dead_letters(observed: Observed) -> bool:
    manifest = observed.manifest
    if manifest is None or isinstance(manifest, Unavailable):
        return False
    return put_aside(manifest).above(observed.model.spec.data.snapshot.max_dead_letter_fraction)


def create(observed: Observed) -> tuple[Action, ...]:
    """Make the version that is due; its spec says what it is made from and why."""
    reason = due(observed)
    assert reason is not None
    model, spec, name = observed.model, observed.model.spec, version_name(observed)
    champion = shares.champion(observed)
    made = VersionSpec(
        model_ref=ModelReference(name=model.key.name, uid=model.uid),
        cause=reason.cause,
        snapshot=SnapshotReference(sequence=reason.manifest.sequence, rows=reason.manifest.rows),
        storage_uri=model.storage_uri,
        catalogue=CatalogueReference(uri=spec.data.catalogue.uri) if spec.data.catalogue else None,
        algorithm=spec.model.algorithm,
        hyperparameters=spec.model.hyperparameters,
        baselines=list(spec.model.baselines),
        seed=spec.model.seed,
        num_workers=spec.training.num_workers,
        fit=Fit(
            resources_per_worker=spec.training.resources_per_worker,
            warm_start=spec.training.warm_start,
            window_days=spec.training.window_days,
            replay_fraction=spec.training.replay_fraction,
            history_half_life=spec.training.history_half_life,
            search=spec.training.search,
        ),
        budget_seconds=spec.training.budget_seconds,
        parent=champion.name if champion else None,
    )
    words = f"{name} is trained on snapshot {reason.manifest.sequence}: {reason.cause.detail}"
    return CreateVersion(name=name, spec=made), PublishEvent(reason="TrainingDue", message=words)
