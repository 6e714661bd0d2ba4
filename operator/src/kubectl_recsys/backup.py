"""Backup and restore of a model's objects: its spec, its versions and rollouts with what was decided, and where its files lie.

Events, snapshots and versions' files lie in the brokers and the store, which have their own ways; a restored model goes on where they are.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubectl_recsys.views import find
from recsys_operator.state.observed import Key
from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.kube import ConflictError, Json, Kube
from recsys_operator.world.objects import KINDS, MODEL_LABEL, MODELS, ROLLOUTS, UID_LABEL, VERSIONS, folder, oldest_first, place
from recsys_operator.world.owned import write_status
from recsys_schemas.v1alpha1 import API_VERSION

FORMAT = "recsys.dev/backup-v1"
_KEPT = ("labels", "annotations")
_NOT_OURS = "kubectl.kubernetes.io/last-applied-configuration"
_LOOKS = 10
_AGAIN_S = 1.0


async def backup(kube: Kube, namespace: str, name: str) -> int:
    """Print a model and all that it owns as one JSON document."""
    model = await find(kube, MODELS, namespace, name)
    uid = model["metadata"]["uid"]
    owned = {
        plural: [_plain(body) for body in oldest_first(await kube.items(folder(plural, namespace), labels={UID_LABEL: uid}), uid)]
        for plural in (VERSIONS, ROLLOUTS)
    }
    kept = _settled(_plain(model))
    print(json.dumps({"format": FORMAT, "takenAt": datetime.now(UTC).isoformat(timespec="seconds"), "model": kept, **owned}, indent=2))
    store = kept["spec"].get("data", {}).get("snapshot", {}).get("storageURI", "none yet")
    words = f"{len(owned[VERSIONS])} versions, {len(owned[ROLLOUTS])} rollouts; the files lie in {store}: keep that store too"
    sys.stderr.write(f"kubectl recsys: {namespace}/{name}: {words}\n")
    return 0


def _plain(body: Json) -> Json:
    """An object without what only its own API server knows."""
    metadata = {key: body["metadata"][key] for key in _KEPT if key in body["metadata"]} | {"name": body["metadata"]["name"]}
    metadata.get("annotations", {}).pop(_NOT_OURS, None)
    return {"metadata": metadata, "spec": body["spec"], "status": body.get("status", {})}


def _settled(model: Json) -> Json:
    """The model with its store by name: a default one is named by a uid, and the restored model has another."""
    store = (model["status"].get("ingestion") or {}).get("storageURI")
    if store:
        model["spec"].setdefault("data", {}).setdefault("snapshot", {})["storageURI"] = store
    return model


async def bring_back(kube: Kube, namespace: str, file: str) -> int:
    """Make a model and all that it owned again from a backup; nothing that is there is changed.

    Raises:
        RefusedError: the file is no backup, or a model of that name is there.
    """
    taken = _read(file)
    model = taken["model"]
    name = model["metadata"]["name"]
    if await kube.get(place(MODELS, namespace, name)) is not None:
        raise RefusedError(
            f"model {namespace}/{name} is there: restore into another namespace, or delete it first (its events and files stay)"
        )
    suspended = model["spec"].get("suspend", False)
    # Until all that it owned is there again, nothing may be decided from what is not.
    body = await kube.create(folder(MODELS, namespace), _body(MODELS, model["metadata"], model["spec"] | {"suspend": True}))
    uid = body["metadata"]["uid"]
    key = Key(namespace=namespace, name=name)
    for plural in (VERSIONS, ROLLOUTS):
        await _children(kube, key, uid, plural, taken[plural])
    await _remember(kube, key, uid, model["status"])
    if not suspended:
        await kube.merge(place(MODELS, namespace, name), {"spec": {"suspend": False}})
    print(f"recommendermodel.recsys.dev/{name}: restored with {len(taken[VERSIONS])} versions and {len(taken[ROLLOUTS])} rollouts")
    return 0


def _read(file: str) -> dict[str, Any]:
    try:
        taken = json.loads(sys.stdin.read() if file == "-" else Path(file).read_text())
    except (OSError, ValueError) as error:
        raise RefusedError(f"{file}: {error}; give a file that `kubectl recsys backup MODEL` has printed") from error
    if not isinstance(taken, dict) or taken.get("format") != FORMAT:
        seen = taken.get("format") if isinstance(taken, dict) else type(taken).__name__
        raise RefusedError(f"{file}: format: {seen!r}, expected {FORMAT!r}; give a file that `kubectl recsys backup MODEL` has printed")
    return taken


def _body(plural: str, metadata: Json, spec: Json) -> Json:
    return {"apiVersion": API_VERSION, "kind": KINDS[plural], "metadata": metadata, "spec": spec}


async def _children(kube: Kube, model: Key, uid: str, plural: str, bodies: Sequence[Json]) -> None:
    """Objects in the order of their first making: the API server tells no moments apart within a second, and then names decide."""
    owner = {
        "apiVersion": API_VERSION,
        "kind": KINDS[MODELS],
        "name": model.name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    before = ""
    for each in bodies:
        metadata = each["metadata"] | {"ownerReferences": [owner], "namespace": model.namespace}
        metadata["labels"] = metadata.get("labels", {}) | {MODEL_LABEL: model.name, UID_LABEL: uid}
        spec = each["spec"] | ({"modelRef": {"name": model.name, "uid": uid}} if "modelRef" in each["spec"] else {})
        if metadata["name"] < before:
            await asyncio.sleep(1.1)
        before = metadata["name"]
        try:
            await kube.create(folder(plural, model.namespace), _body(plural, metadata, spec))
        except ConflictError:
            words = f"{KINDS[plural]} {model.namespace}/{metadata['name']} is there already, of another model"
            raise RefusedError(f"{words}: delete it and {model.name}, and try again") from None
        if each["status"]:
            await write_status(kube, plural, Key(namespace=model.namespace, name=metadata["name"]), status=each["status"], uid=uid)


async def _remember(kube: Kube, key: Key, uid: str, status: Json) -> None:
    """Write the model's status: a pass of the operator under way may write over it once."""
    for _ in range(_LOOKS):
        await write_status(kube, MODELS, key, status=status, uid=uid)
        await asyncio.sleep(_AGAIN_S)
        body = await kube.get(place(MODELS, key.namespace, key.name)) or {}
        if body.get("status", {}).get("history", []) == status.get("history", []):
            return
    raise UnavailableError(f"model {key}: its status is written over each time; look at the operator's log")
