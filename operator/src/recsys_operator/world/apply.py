"""Perform one action of a plan. Each may be performed twice, or after a crash, and changes nothing then."""

from typing import assert_never

from recsys_operator.state.actions import (
    Action,
    AddFinalizer,
    AppendRecord,
    ConfigureTopic,
    CreateRollout,
    CreateTopic,
    CreateVersion,
    DeleteVersion,
    DeployApp,
    EnsureTokens,
    ForgetJob,
    GrowTopic,
    KeepCluster,
    Notify,
    PublishEvent,
    ReassignReplicas,
    ReleaseCluster,
    RemoveApp,
    RemoveFinalizer,
    RunOwnJob,
    StopJob,
    SubmitJob,
    ThrottleReplication,
    UnthrottleReplication,
    WriteRolloutStatus,
    WriteVersionStatus,
)
from recsys_operator.state.observed import AUDIT, Key, ModelState, Observed, Standing
from recsys_operator.world import audit_topic, kuberay, ray_jobs, webhooks
from recsys_operator.world.connection import read_connection
from recsys_operator.world.errors import UnavailableError
from recsys_operator.world.kube import Json
from recsys_operator.world.objects import ROLLOUTS, VERSIONS, dump, place
from recsys_operator.world.owned import create_owned, publish_event, set_finalizer, write_status
from recsys_operator.world.ray import is_loopback
from recsys_operator.world.ray_words import DEFAULT_SERVE_PORT
from recsys_operator.world.tokens import ensure_tokens
from recsys_operator.world.world import World


async def apply(world: World, observed: Observed, action: Action) -> Standing | None:
    """Perform one action; return how the model's object stands after one that has changed it, None after others.

    Raises:
        UnavailableError: the other side cannot be reached, or is not ready; or we do not lead any more.
        RefusedError: it said no.
    """
    world.must_lead()
    match action:
        case CreateTopic() | GrowTopic() | ConfigureTopic() | ThrottleReplication() | ReassignReplicas() | UnthrottleReplication():
            await _apply_to_kafka(world, observed.model, action)
        case SubmitJob() | RunOwnJob() | StopJob() | ForgetJob() | DeployApp() | RemoveApp():
            await _apply_to_ray(world, observed.model, action)
        case AddFinalizer():
            held = await set_finalizer(world.kube, observed.model, present=True)
            if held is None:
                raise UnavailableError(f"{observed.model.key}: has been deleted; nothing is begun for it")
            return held
        case _:
            await _apply_to_kubernetes(world, observed, action)
    return None


async def _apply_to_kafka(
    world: World,
    model: ModelState,
    action: CreateTopic | GrowTopic | ConfigureTopic | ThrottleReplication | ReassignReplicas | UnthrottleReplication,
) -> None:
    at = await read_connection(world.kube, model)
    match action:
        case CreateTopic():
            await world.kafka.create(at, action.name, action.partitions, action.replicas, action.config)
        case GrowTopic():
            await world.kafka.grow(at, action.name, action.partitions)
        case ConfigureTopic():
            await world.kafka.configure(at, action.name, action.config)
        case ThrottleReplication() | ReassignReplicas() | UnthrottleReplication():
            await world.kafka.move(at, action)
        case _:
            assert_never(action)


async def _apply_to_ray(
    world: World, model: ModelState, action: SubmitJob | RunOwnJob | StopJob | ForgetJob | DeployApp | RemoveApp
) -> None:
    kept = model.spec.ray.cluster is not None
    if isinstance(action, StopJob | ForgetJob) and kept:
        await ray_jobs.end(world.kube, model, action.id)
    cluster = await world.ray(model)
    match action:
        case SubmitJob():
            await cluster.submit(action.id, action.job)
        case RunOwnJob():
            await ray_jobs.run(world.kube, model, action, cluster.entrypoint(action.job))
        case StopJob():
            await cluster.stop(action.id)
        case ForgetJob():
            await cluster.forget(action.id)
        case DeployApp():
            await cluster.deploy(action, http_options=_http_options(model))
        case RemoveApp():
            await cluster.remove(action.name)
        case _:
            assert_never(action)


def _http_options(model: ModelState) -> Json:
    """For a cluster whose Serve has never run: on one machine its ingress stays on loopback."""
    host = "127.0.0.1" if is_loopback(model.spec.ray.dashboard_url or "") else "0.0.0.0"  # noqa: S104 - a pod's ingress is for other pods
    return {"host": host, "port": DEFAULT_SERVE_PORT}


async def _apply_to_kubernetes(  # noqa: C901, PLR0912 - one line for each action
    world: World,
    observed: Observed,
    action: RemoveFinalizer
    | EnsureTokens
    | CreateVersion
    | WriteVersionStatus
    | DeleteVersion
    | CreateRollout
    | WriteRolloutStatus
    | KeepCluster
    | ReleaseCluster
    | PublishEvent
    | Notify
    | AppendRecord,
) -> None:
    kube, model = world.kube, observed.model
    match action:
        case RemoveFinalizer():
            await set_finalizer(kube, model, present=False)
            world.courier.forget(model.uid)
        case EnsureTokens():
            await ensure_tokens(kube, model, action.secret)
        case CreateVersion():
            await create_owned(kube, model, VERSIONS, action.name, action.spec)
        case WriteVersionStatus():
            if all(version.name != action.name or version.status != action.status for version in observed.versions):
                await _tell(world, observed, VERSIONS, action)
        case DeleteVersion():
            await _delete(world, observed, action.name)
        case CreateRollout():
            await create_owned(kube, model, ROLLOUTS, action.name, action.spec)
        case WriteRolloutStatus():
            if all(rollout.name != action.name or rollout.status != action.status for rollout in observed.rollouts):
                await _tell(world, observed, ROLLOUTS, action)
        case KeepCluster():
            await kuberay.keep(kube, model, action)
        case ReleaseCluster():
            await _leave(world, model, action.name)
        case PublishEvent():
            await publish_event(kube, model, action, observed.now)
        case Notify():
            world.courier.offer(model.uid, action.place.name, action.news.id, webhooks.sender(world, model, action))
        case AppendRecord():
            world.courier.offer(model.uid, AUDIT, action.record.id, audit_topic.sender(world, model, action), patient=True)
        case _:
            assert_never(action)


async def _leave(world: World, model: ModelState, name: str) -> None:
    """Give a kept cluster up: where others are on it, nothing of the model runs there any more."""
    if await kuberay.is_shared(world.kube, model, name):
        cluster = await world.kept(model.key.namespace, name)
        for job in (await cluster.jobs(model.uid[:8])).values():
            if not job.word.ended:
                await cluster.stop(job.id)
        await cluster.remove(f"{model.key.namespace}.{model.key.name}")
    await kuberay.release(world.kube, model, name)


async def _delete(world: World, observed: Observed, name: str) -> None:
    """A version's object and its rollouts', the version last: it is what the plan looks for."""
    namespace = observed.model.key.namespace
    for rollout in observed.rollouts:
        if rollout.spec.candidate.name == name:
            await world.kube.delete(place(ROLLOUTS, namespace, rollout.name))
    if any(version.name == name for version in observed.versions):
        await world.kube.delete(place(VERSIONS, namespace, name))


async def _tell(world: World, observed: Observed, plural: str, action: WriteVersionStatus | WriteRolloutStatus) -> None:
    """Write a status, as far as the definition of its kind knows it."""
    status = world.definitions.fitted(plural, dump(action.status))
    await write_status(world.kube, plural, _beside(observed.model, action.name), status=status, uid=observed.model.uid)


def _beside(model: ModelState, name: str) -> Key:
    return Key(namespace=model.key.namespace, name=name)
