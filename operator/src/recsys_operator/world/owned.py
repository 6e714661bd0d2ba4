"""What the operator writes to Kubernetes: its finalizer, the objects that a model owns, statuses, events."""

import hashlib
from datetime import datetime

from pydantic import BaseModel

from recsys_operator.state.actions import PublishEvent
from recsys_operator.state.observed import Key, ModelState, Standing
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.kube import FIELD_MANAGER, ConflictError, Json, Kube
from recsys_operator.world.objects import (
    FINALIZER,
    KINDS,
    MODELS,
    dump,
    folder,
    labels,
    owned_metadata,
    owner_uid,
    place,
    read_standing,
    status_body,
)
from recsys_schemas.v1alpha1 import API_VERSION

_ATTEMPTS = 5


async def set_finalizer(kube: Kube, model: ModelState, *, present: bool) -> Standing | None:
    """Add or remove our finalizer; those of others stay. Return how the object stands now, None when it is gone.

    Raises:
        UnavailableError: the object changed each time that we tried.
    """
    return await _write_finalizer(kube, model.key, model.uid, model.standing, present=present)


async def let_go(kube: Kube, key: Key, uid: str) -> None:
    """Remove our finalizer from a model that nobody looks after any more; errors as `set_finalizer`."""
    await _write_finalizer(kube, key, uid, None, present=False)


async def _write_finalizer(kube: Kube, key: Key, uid: str, seen: Standing | None, *, present: bool) -> Standing | None:
    """What a pass has seen is tried first: a read costs the API server as much as it costs us, and nothing has changed mostly."""
    path = place(MODELS, key.namespace, key.name)
    if seen is not None and (FINALIZER in seen.finalizers) == present:
        seen = None  # nothing was to be done then: what holds now is to be read
    for _ in range(_ATTEMPTS):
        if seen is None:
            body = await kube.get(path)
            if body is None or body["metadata"]["uid"] != uid:
                return None
            seen = read_standing(body)
            if (FINALIZER in seen.finalizers) == present:
                return seen
        others = [name for name in seen.finalizers if name != FINALIZER]
        wanted = [*others, FINALIZER] if present else others
        try:
            written = await kube.merge(path, {"metadata": {"finalizers": wanted, "resourceVersion": seen.version}})
        except ConflictError:
            seen = None
            continue
        return None if written is None else read_standing(written)
    raise UnavailableError(f"{path}: changed by others {_ATTEMPTS} times while its finalizer was to be written")


async def create_owned(kube: Kube, model: ModelState, plural: str, name: str, spec: BaseModel) -> None:
    """Make an object that the model owns; one of that name and owner is left alone.

    Raises:
        RefusedError: the name is taken by an object of another owner.
        UnavailableError: the name is taken by what an earlier model of this name left, which is about to go.
    """
    body: Json = {"apiVersion": API_VERSION, "kind": KINDS[plural], "metadata": owned_metadata(model, name), "spec": dump(spec)}
    await _create(kube, model, folder(plural, model.key.namespace), name, body)


async def create_secret(kube: Kube, model: ModelState, name: str, data: dict[str, str]) -> None:
    """Make a Secret that the model owns; one of that name and owner is left alone, errors as `create_owned`."""
    metadata = owned_metadata(model, name)
    body: Json = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "stringData": data}
    await _create(kube, model, f"/api/v1/namespaces/{model.key.namespace}/secrets", name, body)


async def _create(kube: Kube, model: ModelState, path: str, name: str, body: Json) -> None:
    try:
        await kube.create(path, body)
    except ConflictError:
        taken = await kube.get(f"{path}/{name}")
        if taken is None:
            raise UnavailableError(f"{path}/{name}: it was there and is gone; trying again") from None
        owner = owner_uid(taken)
        if owner == model.uid and "deletionTimestamp" not in taken["metadata"]:
            return
        if owner == model.uid or taken["metadata"].get("labels", {}).get("recsys.dev/model") == model.key.name:
            raise UnavailableError(f"{path}/{name}: still there from an earlier model of this name; waiting for its end") from None
        words = f"{path}/{name}: the name is taken by an object that {model.key} (uid {model.uid}) does not own (owner: {owner or 'none'})"
        raise RefusedError(f"{words}; delete or rename it") from None


async def write_status(  # noqa: PLR0913 - each is named where it is called
    kube: Kube, plural: str, key: Key, *, status: Json, uid: str, seen: Standing | None = None
) -> bool:
    """Write a status as a whole; return whether the object, or one that the same owner has made again, is still there.

    Args:
        kube: where to.
        plural: of the kind.
        key: of the object.
        status: the whole of it.
        uid: of the object, or of its owner.
        seen: how it stood when it was read; while it stands so it need not be read again.

    Raises:
        RefusedError: the status breaks the CRD.
        UnavailableError: the object changed each time that we tried.
    """
    path = place(plural, key.namespace, key.name)
    for _ in range(_ATTEMPTS):
        if seen is None:
            body = await kube.get(path)
            # The API server ignores a uid in what is applied to a status, so another object of this name is ruled out here,
            # and one that comes between by the resourceVersion.
            if body is None or uid not in (body["metadata"]["uid"], owner_uid(body)):
                return False
            seen = read_standing(body)
        wanted = status_body(plural, key, status=status, resource_version=seen.version)
        try:
            return await kube.apply(f"{path}/status", wanted) is not None
        except ConflictError:
            seen = None
    raise UnavailableError(f"{path}: changed by others {_ATTEMPTS} times while its status was to be written")


async def publish_event(kube: Kube, model: ModelState, event: PublishEvent, now: datetime) -> None:
    """Tell people; the same words about the same model are one event, however often they are said."""
    words = f"{model.uid}/{event.reason}/{event.message}"
    name = f"{model.key.name}.{hashlib.sha256(words.encode()).hexdigest()[:16]}"
    about = {
        "apiVersion": API_VERSION,
        "kind": KINDS[MODELS],
        "namespace": model.key.namespace,
        "name": model.key.name,
        "uid": model.uid,
    }
    body: Json = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": model.key.namespace, "labels": labels(model)},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": "recsys.dev/operator",
        "reportingInstance": FIELD_MANAGER,
        "action": "Reconcile",
        "reason": event.reason[:128],
        "regarding": about,
        "note": event.message[:1024],
        "type": event.severity,
    }
    try:
        await kube.create(f"/apis/events.k8s.io/v1/namespaces/{model.key.namespace}/events", body)
    except ConflictError:
        return
