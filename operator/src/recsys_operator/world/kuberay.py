"""KubeRay: the RayService of a kept cluster, which models claim, and which carries Serve's config.

Each write replaces the object as it was read, by its resourceVersion: nothing of what another pass, another model or KubeRay wrote
meanwhile is lost.
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import yaml

from recsys_operator.state import kept
from recsys_operator.state.actions import KeepCluster
from recsys_operator.state.observed import Claim, ClusterState, ModelState
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.kube import ConflictError, Json, Kube
from recsys_operator.world.objects import KINDS, MODELS, secret_path
from recsys_operator.world.pods import trouble
from recsys_schemas.v1alpha1 import API_VERSION, GROUP

RAY_API = "ray.io/v1"
OLDEST = "1.6"
AUTHOR, DIGEST, MOUNTS = f"{GROUP}/author", f"{GROUP}/spec-digest", f"mounts.{GROUP}/"
_FIELD = "spec.ray.cluster"
_ATTEMPTS = 5
_TOKEN_BYTES = 32


def path(namespace: str, plural: str, name: str) -> str:
    """API path of one of KubeRay's objects."""
    return f"/apis/{RAY_API}/namespaces/{namespace}/{plural}/{name}"


async def require_kuberay(kube: Kube) -> None:
    """Make sure that the API server knows KubeRay's kinds.

    Raises:
        RefusedError: it does not.
    """
    if await kube.get(f"/apis/{RAY_API}") is None:
        words = f"{_FIELD}: KubeRay is not installed: the API server knows no RayService ({RAY_API})"
        raise RefusedError(f"{words}; install KubeRay {OLDEST} or later, or name a cluster in spec.ray.dashboardURL")


async def read_cluster(kube: Kube, model: ModelState) -> ClusterState:
    """The kept cluster as it is now.

    Raises:
        RefusedError: KubeRay is missing or too old.
    """
    cluster, namespace = model.spec.ray.cluster, model.key.namespace
    assert cluster is not None
    try:
        body = await kube.get(path(namespace, "rayservices", cluster.name))
    except RefusedError as error:
        raise RefusedError(f"{_FIELD}: {error}; install the operator's chart with kuberay.enabled=true") from error
    if body is None:
        await require_kuberay(kube)
        return ClusterState(name=cluster.name)
    notes = body["metadata"].get("annotations") or {}
    if DIGEST not in notes:
        return ClusterState(name=cluster.name, exists=True, ours=False)
    if not _kept(body, "authOptions", "secretName"):
        words = f"{_FIELD}: KubeRay's definitions are too old: they dropped rayClusterConfig.authOptions.secretName of RayService"
        raise RefusedError(f"{words} {namespace}/{cluster.name}; install KubeRay {OLDEST} or later with its definitions")
    status = body.get("status") or {}
    active, pending = (_cluster_name(status, key) for key in ("activeServiceStatus", "pendingServiceStatus"))
    used = await kube.get(path(namespace, "rayclusters", active or pending)) if active or pending else None
    coming = await kube.get(path(namespace, "rayclusters", pending)) if active and pending else None
    why = await trouble(kube, namespace, [each for each in (used, coming) if each is not None])
    counted = (used or {}).get("status") or {}
    token = await kube.get(secret_path(namespace, kept.token_secret(cluster.name)))
    return ClusterState(
        name=cluster.name,
        exists=True,
        author=notes.get(AUTHOR, ""),
        digest=notes.get(DIGEST, ""),
        claims=_claims(body),
        ray_cluster=active or pending,
        ready=_holds(used, "HeadPodReady"),
        upgrading=bool(active and pending),
        workers_wanted=int(counted.get("desiredWorkerReplicas") or 0),
        workers_ready=int(counted.get("availableWorkerReplicas") or 0),
        trouble=why.message if why else "",
        trouble_reason=why.reason if why else "",
        token_there=token is not None and _owner(token) == body["metadata"]["uid"],
    )


async def used_cluster(kube: Kube, namespace: str, name: str) -> str:
    """Name of the RayCluster that a RayService has in use, else of the one that is to be.

    Raises:
        UnavailableError: there is none yet.
    """
    status = (await kube.get(path(namespace, "rayservices", name)) or {}).get("status") or {}
    used = _cluster_name(status, "activeServiceStatus") or _cluster_name(status, "pendingServiceStatus")
    if not used:
        raise UnavailableError(f"{_FIELD}: RayService {namespace}/{name} has no cluster yet: KubeRay has not made one")
    return used


async def is_shared(kube: Kube, model: ModelState, name: str) -> bool:
    """Whether others go on using a cluster that the model gives up."""
    body = await kube.get(path(model.key.namespace, "rayservices", name))
    return (
        body is not None and bool(set(_claims(body)) - {model.uid}) and _cluster_name(body.get("status") or {}, "activeServiceStatus") != ""
    )


def _kept(body: Json, *steps: str) -> bool:
    place = body["spec"].get("rayClusterConfig") or {}
    for step in steps:
        place = (place or {}).get(step)
    return bool(place)


def _cluster_name(status: Json, key: str) -> str:
    return str((status.get(key) or {}).get("rayClusterName") or "")


def _holds(body: Json | None, kind: str) -> bool:
    conditions = ((body or {}).get("status") or {}).get("conditions") or []
    return any(each["type"] == kind and each["status"] == "True" for each in conditions)


def _claims(body: Json) -> dict[str, Claim]:
    notes = body["metadata"].get("annotations") or {}
    owners = [each for each in body["metadata"].get("ownerReferences") or [] if each["kind"] == KINDS[MODELS]]
    return {each["uid"]: Claim(model=each["name"], mounts=_read_mounts(notes.get(MOUNTS + each["uid"], ""))) for each in owners}


def _read_mounts(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [each.partition("/") for each in text.split(",") if each]
    return tuple((secret, key) for secret, _, key in pairs)


def _owner(body: Json) -> str:
    return next((each["uid"] for each in body["metadata"].get("ownerReferences") or []), "")


async def keep(kube: Kube, model: ModelState, action: KeepCluster) -> None:
    """Claim the cluster for the model; where the model is the one to say, write how it is. Then make sure that its token is there.

    Raises:
        RefusedError: the API server denies it, for instance because the namespace is being terminated.
        UnavailableError: it changed each time that we tried.
    """

    def change(body: Json) -> Json:
        metadata = body["metadata"]
        notes = {**(metadata.get("annotations") or {}), MOUNTS + model.uid: ",".join("/".join(each) for each in action.mounts)}
        owner = {"apiVersion": API_VERSION, "kind": KINDS[MODELS], "name": model.key.name, "uid": model.uid}
        owners = [each for each in metadata.get("ownerReferences") or [] if each["uid"] != model.uid]
        changed = {**body, "metadata": {**metadata, "ownerReferences": [*owners, owner], "annotations": notes}}
        if action.spec is not None:
            notes |= {AUTHOR: model.uid, DIGEST: action.digest}
            written = (body.get("spec") or {}).get("serveConfigV2") or kept.EMPTY_CONFIG
            changed["spec"] = {**action.spec, "serveConfigV2": written}
        return changed

    body = await _rewritten(kube, model.key.namespace, action.name, change, make=action.spec is not None)
    if body is not None:
        await _ensure_token(kube, model.key.namespace, action.name, body)


async def _ensure_token(kube: Kube, namespace: str, name: str, service: Json) -> None:
    """The token goes when the RayService goes, and is the same for all its clusters, one after the other."""
    secret = kept.token_secret(name)
    owner = {"apiVersion": RAY_API, "kind": "RayService", "name": name, "uid": service["metadata"]["uid"]}
    metadata = {"name": secret, "namespace": namespace, "labels": kept.MANAGED, "ownerReferences": [owner]}
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "stringData": {kept.TOKEN_KEY: secrets.token_urlsafe(_TOKEN_BYTES)},
    }
    try:
        await kube.create(f"/api/v1/namespaces/{namespace}/secrets", body)
    except ConflictError:
        taken = await kube.get(secret_path(namespace, secret))
        if taken is not None and _owner(taken) == owner["uid"]:
            return
        if taken is None or (taken["metadata"].get("labels") or {}).items() >= kept.MANAGED.items():
            raise UnavailableError(f"Secret {namespace}/{secret}: left by an earlier cluster of this name; waiting for its end") from None
        raise RefusedError(f"Secret {namespace}/{secret}: the name is taken by one that is not ours; delete or rename it") from None


async def release(kube: Kube, model: ModelState, name: str) -> None:
    """Give the model's claim up; without any claim the RayService goes, and with it its clusters. Nothing there: as good."""
    namespace = model.key.namespace
    for _ in range(_ATTEMPTS):
        body = await kube.get(path(namespace, "rayservices", name))
        if body is None or model.uid not in _claims(body):
            return
        metadata = body["metadata"]
        left = [each for each in metadata["ownerReferences"] if each["uid"] != model.uid]
        notes = {key: value for key, value in metadata["annotations"].items() if key != MOUNTS + model.uid}
        try:
            if not left:
                await kube.delete(path(namespace, "rayservices", name), version=metadata["resourceVersion"])
            else:
                changed = {**body, "metadata": {**metadata, "ownerReferences": left, "annotations": notes}}
                await kube.replace(path(namespace, "rayservices", name), changed)
        except ConflictError:
            continue
        return
    raise UnavailableError(f"RayService {namespace}/{name}: changed by others {_ATTEMPTS} times while a claim was to be given up")


async def _rewritten(kube: Kube, namespace: str, name: str, change: Callable[[Json], Json], *, make: bool = False) -> Json | None:
    """Read, change, replace, until nobody came between; None when there is nothing to change and none is to be made."""
    place = path(namespace, "rayservices", name)
    for _ in range(_ATTEMPTS):
        body = await kube.get(place)
        try:
            if body is not None:
                return await kube.replace(place, change(body))
            if not make:
                return None
            metadata = {"name": name, "namespace": namespace, "labels": kept.MANAGED}
            fresh = change({"apiVersion": RAY_API, "kind": "RayService", "metadata": metadata})
            return await kube.create(place.rpartition("/")[0], fresh)
        except ConflictError:
            continue
    raise UnavailableError(f"RayService {namespace}/{name}: changed by others {_ATTEMPTS} times while it was to be written")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """Where a kept cluster's Serve config is written: in its RayService, from where KubeRay brings it to whichever RayCluster serves.

    What is written there counts as deployed, with the state that Ray reports of it: else what is on its way would be sent again.
    """

    kube: Kube
    namespace: str
    name: str

    @property
    def serving_url(self) -> str:
        """Where its applications answer."""
        return kept.serving_url(self.namespace, self.name)

    async def overlay(self, details: Json) -> Json:
        """Ray's details, with the configs that are written in place of those that it has."""
        body = await self.kube.get(path(self.namespace, "rayservices", self.name))
        config = _config(body)
        reported: Json = details.get("applications", {})
        written = {app["name"]: app for app in config.get("applications", [])}
        apps = {name: {"status": "DEPLOYING", **reported.get(name, {}), "deployed_app_config": app} for name, app in written.items()}
        going = {name: {**app, "status": "DELETING"} for name, app in reported.items() if name not in written}
        return {**details, **{key: value for key, value in config.items() if key != "applications"}, "applications": apps | going}

    async def write(self, config: Json) -> None:
        """Write the whole config.

        Raises:
            UnavailableError: there is no RayService, or it changed each time that we tried.
        """
        text = json.dumps(config, sort_keys=True)

        def change(body: Json) -> Json:
            return {**body, "spec": {**body["spec"], "serveConfigV2": text}}

        if await _rewritten(self.kube, self.namespace, self.name, change) is None:
            raise UnavailableError(f"{_FIELD}: RayService {self.namespace}/{self.name} is not there; it is made again")


def _config(body: Json | None) -> Json:
    text = ((body or {}).get("spec") or {}).get("serveConfigV2") or ""
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return config if isinstance(config, dict) else {}
