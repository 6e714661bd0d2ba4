"""The kept cluster: a RayService that the models of a namespace share by its name. One of them says how it is, the others join it."""

from collections.abc import Mapping
from enum import StrEnum

from recsys_operator.plan import ray_service
from recsys_operator.plan.ray_service import Mount
from recsys_operator.state.actions import Action, KeepCluster, ReleaseCluster, RunOwnJob, SubmitJob
from recsys_operator.state.kept import dashboard_url
from recsys_operator.state.observed import ClusterState, ModelState, Observed, Unavailable
from recsys_operator.state.plan import Fact, Part
from recsys_schemas.train_job import TrainJob
from recsys_schemas.v1alpha1.conditions import ConditionType
from recsys_schemas.v1alpha1.ray_cluster import Cluster, KeptCluster


class Keeping(StrEnum):
    """The state of the kept cluster in one word."""

    NOT_ASKED = "NotAsked"
    UNAVAILABLE = "KubeRayUnavailable"
    NAME_TAKEN = "NameTaken"
    NO_IMAGE = "NoImage"
    DIFFERS = "ClusterDiffers"
    DIFFERENT = "BeingWritten"
    TROUBLED = "PodsTroubled"
    STARTING = "Starting"
    UPGRADING = "Upgrading"
    READY = "ClusterRunning"


MOVES: dict[Keeping, frozenset[Keeping]] = {word: frozenset(Keeping) for word in Keeping}
"""Any word may follow any other: KubeRay, the cluster and the spec may change at any time."""


def mounts(model: ModelState) -> tuple[Mount, ...]:
    """Secrets and keys that this model's processes read on the cluster."""
    security = model.spec.kafka.security.by_name(model.key.namespace)
    named = {(ref.secret, ref.key) for ref in security.named().values()} if security else set[Mount]()
    mlflow = model.spec.registry.mlflow
    if mlflow is not None and mlflow.token_secret_ref is not None:
        named.add((mlflow.token_secret_ref.name, mlflow.token_secret_ref.key))
    return tuple(sorted(named))


def all_mounts(seen: ClusterState, model: ModelState) -> tuple[Mount, ...]:
    """Those of all models on it."""
    others = {each for uid, claim in seen.claims.items() if uid != model.uid for each in claim.mounts}
    return tuple(sorted(others | set(mounts(model))))


def _is_author(seen: ClusterState, model: ModelState) -> bool:
    """Whether this model says how the cluster is: the one that did before, or, when that has gone, whoever comes first."""
    return not seen.exists or seen.author == model.uid or seen.author not in seen.claims


def _says_more_than_the_name(cluster: Cluster) -> bool:
    # Which fields were given cannot be told: the API server fills in what was left out.
    return cluster != Cluster(name=cluster.name)


def _wanted(observed: Observed, cluster: Cluster, seen: ClusterState) -> tuple[Mapping[str, object], str]:
    image = cluster.image or observed.ray_image
    wanted = ray_service.spec(cluster, observed.model.key.namespace, image, all_mounts(seen, observed.model))
    return wanted, ray_service.digest(wanted)


def judge(observed: Observed) -> Keeping:
    """The state of the kept cluster in one word."""
    cluster, seen, model = observed.model.spec.ray.cluster, observed.cluster, observed.model
    if cluster is None or seen is None:
        return Keeping.NOT_ASKED
    if isinstance(seen, Unavailable):
        return Keeping.UNAVAILABLE
    if not seen.ours:
        return Keeping.NAME_TAKEN
    author = _is_author(seen, model)
    if author and not (cluster.image or observed.ray_image):
        return Keeping.NO_IMAGE
    if not author and _says_more_than_the_name(cluster) and _wanted(observed, cluster, seen)[1] != seen.digest:
        return Keeping.DIFFERS
    claim = seen.claims.get(model.uid)
    claimed = claim is not None and claim.mounts == mounts(model) and seen.token_there
    if not claimed or (author and (seen.author != model.uid or _wanted(observed, cluster, seen)[1] != seen.digest)):
        return Keeping.DIFFERENT
    if seen.trouble:
        return Keeping.TROUBLED
    if seen.upgrading:
        return Keeping.UPGRADING
    return Keeping.READY if seen.ready else Keeping.STARTING


def act(word: Keeping, observed: Observed) -> Part:
    """What to do about it, and what to say of it."""
    if word is Keeping.NOT_ASKED:
        return Part(actions=tuple(_released(observed)))
    cluster, seen = observed.model.spec.ray.cluster, observed.cluster
    assert cluster is not None
    actions: list[Action] = []
    if word is Keeping.DIFFERENT and isinstance(seen, ClusterState):
        spec, digest = _wanted(observed, cluster, seen) if _is_author(seen, observed.model) else (None, "")
        actions.append(KeepCluster(name=cluster.name, mounts=mounts(observed.model), spec=spec, digest=digest))
    busy = word in (Keeping.DIFFERENT, Keeping.STARTING, Keeping.UPGRADING, Keeping.TROUBLED)
    return Part(actions=(*_released(observed), *actions), facts=(_fact(word, observed, cluster),), busy=busy)


def _released(observed: Observed) -> list[Action]:
    """The claim on a cluster that the spec no longer names is given up, once this model's processes are not looked for there any more."""
    before, cluster = observed.model.status.cluster, observed.model.spec.ray.cluster
    if before is None or (cluster is not None and cluster.name == before.name):
        return []
    return [ReleaseCluster(name=before.name)]


def farewell(observed: Observed) -> list[Action]:
    """What a model that is being deleted gives up: the claims that it has."""
    seen, model = observed.cluster, observed.model
    if not isinstance(seen, ClusterState) or not seen.ours or model.uid not in seen.claims:
        return []
    return [ReleaseCluster(name=seen.name)]


def with_own_jobs(observed: Observed, actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """The same actions, with training on clusters of its own where the spec asks for that."""
    asked, seen, model = observed.model.spec.ray.cluster, observed.cluster, observed.model
    if asked is None or asked.training is None or not isinstance(seen, ClusterState):
        return actions
    pods = ray_service.Pods(
        cluster=asked, namespace=model.key.namespace, image=asked.image or observed.ray_image, mounts=all_mounts(seen, model)
    )

    def own(action: Action) -> Action:
        if not isinstance(action, SubmitJob) or not isinstance(action.job, TrainJob):
            return action
        deadline = model.spec.training.active_deadline_seconds
        spec = ray_service.own_job(pods, asked.training, job_id=action.id, deadline_s=deadline) if asked.training else {}
        return RunOwnJob(id=action.id, job=action.job, spec=spec, queue=asked.training.queue if asked.training else None)

    return tuple(own(action) for action in actions)


def is_alone(observed: Observed) -> bool:
    """Whether nobody else has a claim on the kept cluster: then what this model runs there ends with it."""
    seen = observed.cluster
    return isinstance(seen, ClusterState) and seen.ours and not set(seen.claims) - {observed.model.uid}


def status(observed: Observed) -> KeptCluster | None:
    """What the status tells of it."""
    cluster, seen = observed.model.spec.ray.cluster, observed.cluster
    if cluster is None:
        return None
    if not isinstance(seen, ClusterState):
        before = observed.model.status.cluster
        return before if before is not None and before.name == cluster.name else None
    url = dashboard_url(observed.model.key.namespace, seen.ray_cluster) if seen.ray_cluster else ""
    return KeptCluster(name=cluster.name, ray_cluster=seen.ray_cluster, dashboard_url=url)


def _fact(word: Keeping, observed: Observed, cluster: Cluster) -> Fact:
    seen, namespace = observed.cluster, observed.model.key.namespace
    place = f"RayService {namespace}/{cluster.name}"

    def fact(holds: bool | None, message: str, reason: str = "") -> Fact:
        return Fact(type=ConditionType.CLUSTER_READY, holds=holds, reason=reason or str(word), message=message[:2000])

    if isinstance(seen, Unavailable):
        return fact(False if seen.refused else None, seen.message)
    assert seen is not None
    match word:
        case Keeping.NAME_TAKEN:
            return fact(False, f"spec.ray.cluster.name: {place} is there and not ours; choose another name, or delete it")
        case Keeping.NO_IMAGE:
            mend = "set it, or install the operator with rayImage"
            return fact(False, f"spec.ray.cluster.image: not set, and the operator was installed with none; {mend}")
        case Keeping.DIFFERS:
            author = seen.claims[seen.author].model
            mend = "say the same, give only the name, or another name"
            return fact(False, f"spec.ray.cluster: {place} is as the model {author} says, and this one says otherwise; {mend}")
        case Keeping.DIFFERENT:
            return fact(True if seen.ready else None, f"{place} is being written")
        case Keeping.TROUBLED:
            return fact(seen.upgrading, f"{place}: {seen.trouble}", seen.trouble_reason)
        case Keeping.UPGRADING:
            return fact(True, f"{place}: a second cluster is being made, and takes over when it serves")
        case Keeping.STARTING:
            return fact(None, f"{place}: {f'RayCluster {seen.ray_cluster} is starting' if seen.ray_cluster else 'KubeRay has not begun'}")
        case _:
            return fact(True, f"{place}: RayCluster {seen.ray_cluster} runs, {seen.workers_ready} of {seen.workers_wanted} workers")
