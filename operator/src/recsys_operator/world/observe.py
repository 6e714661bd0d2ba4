"""Read the world of one model, once, all parts at the same time; a part that cannot be read says why."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from recsys_operator.state.observed import (
    ClusterState,
    Key,
    ModelState,
    Observed,
    RayState,
    RolloutState,
    TopicsState,
    Unavailable,
    VersionState,
)
from recsys_operator.world import ray_jobs
from recsys_operator.world.connection import read_connection
from recsys_operator.world.errors import RefusedError, UnavailableError, WorldError
from recsys_operator.world.evidence import read_evidence
from recsys_operator.world.kuberay import read_cluster
from recsys_operator.world.metrics import read_metrics
from recsys_operator.world.moves import Asked
from recsys_operator.world.objects import (
    MODELS,
    ROLLOUTS,
    UID_LABEL,
    VERSIONS,
    Unreadable,
    UnreadableError,
    folder,
    oldest_first,
    place,
    read_model,
    read_rollout,
    read_version,
)
from recsys_operator.world.ray_words import serving_url
from recsys_operator.world.registry import Left
from recsys_operator.world.tokens import operator_token, read_roles
from recsys_operator.world.world import World
from recsys_schemas.catalogue import CatalogueReport
from recsys_schemas.mirror import MirrorReport
from recsys_schemas.serving_evidence import EvidenceResponse
from recsys_schemas.snapshot import SnapshotManifest
from recsys_schemas.upkeep import UpkeepReport
from recsys_schemas.v1alpha1.topics import INGESTED
from recsys_schemas.v1alpha1.version import VersionPhase

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What the registry said."""

    manifest: SnapshotManifest | None
    upkeep: UpkeepReport | None
    registered: tuple[str, ...]
    versions: tuple[VersionState, ...]
    catalogue: CatalogueReport | None
    mirror: MirrorReport | None


async def observe(world: World, key: Key, now: datetime) -> Observed | Unreadable | None:
    """Everything that one pass decides from; None when the model is gone.

    Raises:
        UnavailableError: the API server cannot be read, so nothing can be decided.
        RefusedError: the API server denies us.
    """
    body = await world.kube.get(place(MODELS, key.namespace, key.name))
    if body is None:
        return None
    try:
        model = read_model(body, world.storage_root)
        versions, rollouts = await _children(world, model)
    except UnreadableError as error:
        metadata = body["metadata"]
        return Unreadable(
            key=key,
            uid=metadata["uid"],
            generation=metadata.get("generation", 0),
            raw_status=body.get("status", {}),
            message=str(error),
        )
    walking = next((rollout for rollout in rollouts if not rollout.status.phase.ended), None)
    tokens, topics, (cluster, ray, evidence), stored, metrics = await asyncio.gather(
        _part(read_roles(world.kube, model)),
        _part(_topics(world, model, now)),
        _ray_and_evidence(world, model),
        _part(_stored(world, model, versions)),
        read_metrics(world.http, walking, now),
    )
    unread = stored if isinstance(stored, Unavailable) else None
    return Observed(
        now=now,
        model=model,
        cluster=cluster,
        ray_image=world.ray_image,
        tokens=tokens,
        topics=topics,
        ray=ray,
        manifest=unread or (None if isinstance(stored, Unavailable) else stored.manifest),
        evidence=evidence,
        upkeep=None if isinstance(stored, Unavailable) else stored.upkeep,
        catalogue=None if isinstance(stored, Unavailable) else stored.catalogue,
        mirror=None if isinstance(stored, Unavailable) else stored.mirror,
        versions=versions if isinstance(stored, Unavailable) else stored.versions,
        rollouts=rollouts,
        metrics=metrics,
        outdated=world.definitions.outdated,
        registered=() if isinstance(stored, Unavailable) else stored.registered,
        deliveries=world.courier.deliveries(model.uid),
    )


async def _part(reading: Awaitable[_T]) -> _T | Unavailable:
    try:
        return await reading
    except WorldError as error:
        return Unavailable(message=str(error), refused=isinstance(error, RefusedError))


async def _children(world: World, model: ModelState) -> tuple[tuple[VersionState, ...], tuple[RolloutState, ...]]:
    """Versions and rollouts, by the uid on their label: those of an earlier model of the same name are not ours."""
    mine = {UID_LABEL: model.uid}
    versions, rollouts = await asyncio.gather(
        world.kube.items(folder(VERSIONS, model.key.namespace), labels=mine),
        world.kube.items(folder(ROLLOUTS, model.key.namespace), labels=mine),
    )
    return (
        tuple(read_version(body) for body in oldest_first(versions, model.uid)),
        tuple(read_rollout(body) for body in oldest_first(rollouts, model.uid)),
    )


async def _topics(world: World, model: ModelState, now: datetime) -> TopicsState:
    kafka = model.spec.kafka
    names = [topic.name for topic in kafka.topics]
    ingested = [topic.name for topic in kafka.topics if topic.role in INGESTED]
    at = await read_connection(world.kube, model)
    return await world.kafka.read(at, [*names, model.dead_letter_topic], ends_of=ingested, now=now, asked=asked_replicas(model))


def asked_replicas(model: ModelState) -> Asked:
    """How many replicas the spec asks of the topics that are ours to change, the dead letters' among them."""
    named = model.spec.kafka.topics
    replicas = {topic.name: topic.replicas for topic in named if topic.management_policy == "Manage"}
    events = [topic.replicas for topic in named if topic.role in ("Watch", "Rate")]
    before = model.status.replication
    return Asked(replicas={**replicas, model.dead_letter_topic: max(events)}, under_way=before is not None and before.raising is not None)


_Seen = tuple[ClusterState | Unavailable | None, RayState | Unavailable, EvidenceResponse | Unavailable | None]


async def _ray_and_evidence(world: World, model: ModelState) -> _Seen:
    cluster = None if model.spec.ray.cluster is None else await _part(read_cluster(world.kube, model))
    if isinstance(cluster, Unavailable):
        return cluster, cluster, cluster
    ray = await _part(_ray(world, model, cluster))
    if isinstance(ray, Unavailable):
        return cluster, ray, ray
    return cluster, ray, await _part(_evidence(world, model, ray))


async def _ray(world: World, model: ModelState, kept: ClusterState | None) -> RayState:
    if kept is not None and not kept.ready:
        raise UnavailableError(f"spec.ray.cluster: RayService {model.key.namespace}/{kept.name} has no head that is ready yet")
    cluster = await world.ray(model)
    seen, asked = await cluster.look(of=(model.uid[:8], f"{model.key.namespace}.{model.key.name}")), model.spec.ray
    jobs = seen.jobs_of(model.uid[:8])
    if asked.cluster is not None and asked.cluster.training is not None:
        jobs = {**jobs, **await ray_jobs.read(world.kube, model)}
    default = cluster.keeper.serving_url if cluster.keeper else None
    url = serving_url(asked.serving_url or default, asked.dashboard_url or "", seen.details)
    return RayState(jobs=jobs, apps=seen.apps, serving_url=url)


async def _evidence(world: World, model: ModelState, ray: RayState) -> EvidenceResponse | None:
    """From our own application only: another's may stand on the route that we ask for."""
    mine = next((app for app in ray.apps.values() if app.arguments is not None and app.arguments.uid == model.uid), None)
    if mine is None or not mine.running_replicas:
        return None
    token = await operator_token(world.kube, model)
    return None if token is None else await read_evidence(world.http, ray.serving_url, mine.route_prefix, token)


async def _stored(world: World, model: ModelState, versions: tuple[VersionState, ...]) -> _Stored:
    # A failed version has no card and never will: it is not asked for each second.
    asked = [(version.spec.storage_uri, version.name) for version in versions if version.status.phase is not VersionPhase.FAILED]
    running = {version.name for version in versions if version.status.phase is VersionPhase.TRAINING}
    manifest, report, registered, left, catalogue, mirror = await asyncio.gather(
        world.registry.manifest(model.storage_uri),
        world.registry.upkeep(model.storage_uri),
        world.registry.versions(model.storage_uri),
        world.registry.left(asked, running=running, anew=_tried_again(model)),
        world.registry.catalogue(model.storage_uri) if model.spec.data.catalogue else _nothing(),
        world.registry.mirror(model.storage_uri) if model.spec.registry.mlflow else _nothing(),
    )
    filled = tuple(_filled(version, left[version.name]) if version.name in left else version for version in versions)
    return _Stored(manifest=manifest, upkeep=report, registered=registered, versions=filled, catalogue=catalogue, mirror=mirror)


def _filled(version: VersionState, left: Left) -> VersionState:
    return replace(version, card=left.card, preflight=left.preflight, progress=left.progress)


def _tried_again(model: ModelState) -> str | None:
    """The version that is being gone back to; once it serves, what is known of it stays."""
    asked, serving = model.spec.rollout.rollback_to, model.status.champion
    return None if serving is not None and serving.version == asked else asked


async def _nothing() -> None:
    """There is nothing to ask for."""
