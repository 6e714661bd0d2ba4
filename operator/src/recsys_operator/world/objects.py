"""Our kinds as Kubernetes objects: paths, bodies, and what is read from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from recsys_operator.state.observed import Key, ModelState, RolloutState, Standing, VersionState
from recsys_operator.world.kube import Json
from recsys_schemas.v1alpha1 import API_VERSION, GROUP, VERSION
from recsys_schemas.v1alpha1.model import ModelSpec
from recsys_schemas.v1alpha1.model_status import ModelStatus
from recsys_schemas.v1alpha1.rollout import RolloutSpec, RolloutStatus
from recsys_schemas.v1alpha1.version import VersionSpec, VersionStatus

MODELS = "recommendermodels"
VERSIONS = "recommendermodelversions"
ROLLOUTS = "recommenderrollouts"
KINDS = {MODELS: "RecommenderModel", VERSIONS: "RecommenderModelVersion", ROLLOUTS: "RecommenderRollout"}

FINALIZER = f"{GROUP}/finalizer"
MODEL_LABEL = f"{GROUP}/model"
UID_LABEL = f"{GROUP}/model-uid"

_T = TypeVar("_T", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A model that this operator cannot read: its object, or one of its children's, fits no schema known here."""

    key: Key
    uid: str
    generation: int
    raw_status: Json
    message: str


class UnreadableError(Exception):
    """An object fits no schema known here; the message names the field and the value."""


def folder(plural: str, namespace: str) -> str:
    """API path of all objects of a kind in a namespace."""
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{plural}"


def place(plural: str, namespace: str, name: str) -> str:
    """API path of one object."""
    return f"{folder(plural, namespace)}/{name}"


def secret_path(namespace: str, name: str) -> str:
    """API path of a Secret."""
    return f"/api/v1/namespaces/{namespace}/secrets/{quote(name, safe='')}"


def labels(model: ModelState) -> dict[str, str]:
    """On everything that a model owns; the uid tells it from an earlier model of the same name."""
    return {MODEL_LABEL: model.key.name, UID_LABEL: model.uid}


def owned_metadata(model: ModelState, name: str) -> Json:
    """Metadata of an object that goes when the model goes."""
    owner = {
        "apiVersion": API_VERSION,
        "kind": KINDS[MODELS],
        "name": model.key.name,
        "uid": model.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {"name": name, "namespace": model.key.namespace, "labels": labels(model), "ownerReferences": [owner]}


def owner_uid(body: Json) -> str:
    """Uid of the controller of an object; empty when it has none."""
    owners = body.get("metadata", {}).get("ownerReferences", [])
    return next((owner["uid"] for owner in owners if owner.get("controller")), "")


def dump(value: BaseModel) -> Json:
    """A spec or status as the API server stores it."""
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


def status_body(plural: str, key: Key, *, status: Json, resource_version: str) -> Json:
    """What server-side apply sends; it is refused when the object has changed since that version."""
    metadata = {"name": key.name, "namespace": key.namespace, "resourceVersion": resource_version}
    return {"apiVersion": API_VERSION, "kind": KINDS[plural], "metadata": metadata, "status": status}


def read_model(body: Json, storage_root: str) -> ModelState:
    """The model as the plan sees it.

    Raises:
        UnreadableError: spec or status fit no schema known here.
    """
    metadata = body["metadata"]
    spec = _parsed(ModelSpec, body, "spec")
    uid = str(metadata["uid"])
    key = Key(namespace=metadata["namespace"], name=metadata["name"])
    deleted = metadata.get("deletionTimestamp")
    return ModelState(
        key=key,
        uid=uid,
        generation=int(metadata.get("generation", 0)),
        spec=spec,
        status=_parsed(ModelStatus, body, "status"),
        storage_uri=(spec.data.snapshot.storage_uri or default_storage(storage_root, key, uid)).rstrip("/"),
        has_finalizer=FINALIZER in metadata.get("finalizers", []),
        deleting_since=_time(deleted) if deleted else None,
        standing=read_standing(body) if "resourceVersion" in metadata else None,
    )


def read_standing(body: Json) -> Standing:
    """How an object stands that was read or written just now."""
    metadata = body["metadata"]
    return Standing(version=metadata["resourceVersion"], finalizers=tuple(metadata.get("finalizers", ())))


def default_storage(root: str, key: Key, uid: str) -> str:
    """Folder of a model that names none: its own by uid, so that a model made again never reads its namesake's rows."""
    return f"{root.rstrip('/')}/{key.namespace}/{key.name}-{uid[:8]}"


def read_version(body: Json) -> VersionState:
    """A version, still without what the registry holds.

    Raises:
        UnreadableError: spec or status fit no schema known here.
    """
    metadata = body["metadata"]
    return VersionState(
        name=metadata["name"],
        spec=_parsed(VersionSpec, body, "spec"),
        status=_parsed(VersionStatus, body, "status"),
        created_at=_time(metadata["creationTimestamp"]),
    )


def read_rollout(body: Json) -> RolloutState:
    """A rollout.

    Raises:
        UnreadableError: spec or status fit no schema known here.
    """
    return RolloutState(
        name=body["metadata"]["name"], spec=_parsed(RolloutSpec, body, "spec"), status=_parsed(RolloutStatus, body, "status")
    )


def oldest_first(bodies: list[Json], uid: str) -> list[Json]:
    """Those that belong to this uid, in the order of their making; those being deleted are gone already."""
    mine = [body for body in bodies if owner_uid(body) == uid and "deletionTimestamp" not in body["metadata"]]
    return sorted(mine, key=lambda body: (body["metadata"]["creationTimestamp"], body["metadata"]["name"]))


def _parsed(kind: type[_T], body: Mapping[str, Json], part: str) -> _T:
    """A spec or status; a field that only a newer release knows is left alone, for its definitions come before its operator."""
    try:
        return kind.model_validate(body.get(part, {}), extra="ignore")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join([part, *(str(step) for step in first["loc"])])
        meta = body["metadata"]
        words = (
            f"{body.get('kind', 'object')} {meta['name']}: {where}: {first['msg']}, seen {str(first['input'])[:200]!r}; "
            "the object fits no schema that this operator knows: correct it, or run the operator of the installed CRDs"
        )
        raise UnreadableError(words) from error


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
