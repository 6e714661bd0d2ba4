"""The least that any operator can do for a fresh model: read it, add a finalizer, write a status. No watch, no plan, nothing else asked.

Counted in CPU-seconds of the API server, etcd and this client, so that what runs beside it does not count.
"""

import time
from collections.abc import Mapping
from typing import Any

from bench.operators.objects import floor_place, model
from bench.operators.scene import Json, Scene
from recsys_operator.world.kube import Kube
from recsys_operator.world.objects import FINALIZER, MODELS
from recsys_operator.world.objects import place as object_path
from recsys_schemas.v1alpha1 import API_VERSION
from recsys_schemas.v1alpha1.conditions import ConditionType

SAMPLE = 300
"""Models; what one takes does not depend on how many there are."""


def floor(at: Scene) -> Mapping[str, float]:
    """CPU milliseconds of each process for one model."""
    numbers = range(SAMPLE)
    at.create([model(at, number, floor_place(number)) for number in numbers])
    paths = [object_path(MODELS, *floor_place(number)) for number in numbers]
    at.each(paths[:10], _read)  # the first of a kind pays for caches
    before, ours = at.cpu_s(), time.process_time()
    at.each(paths, _least)
    spent = {name: seconds - before[name] for name, seconds in at.cpu_s().items()} | {"client": time.process_time() - ours}
    at.each(paths, _remove)
    return {name: 1000 * seconds / SAMPLE for name, seconds in spent.items()}


async def _read(kube: Kube, path: str) -> None:
    await kube.get(path)


async def _least(kube: Kube, path: str) -> None:
    body = await kube.get(path)
    assert body is not None
    held = await kube.merge(path, {"metadata": {"finalizers": [FINALIZER], "resourceVersion": body["metadata"]["resourceVersion"]}})
    assert held is not None
    metadata = {key: held["metadata"][key] for key in ("name", "namespace", "resourceVersion")}
    await kube.apply(f"{path}/status", {"apiVersion": API_VERSION, "kind": "RecommenderModel", "metadata": metadata, "status": _status()})


async def _remove(kube: Kube, path: str) -> None:
    await kube.merge(path, {"metadata": {"finalizers": None}})
    await kube.delete(path)


def _status() -> Json:
    """As long as the first status of a model is."""
    said: dict[str, Any] = {
        "status": "Unknown",
        "reason": "InsufficientData",
        "message": "no snapshot has been committed yet: nothing can be said of it before the first one",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    return {"observedGeneration": 1, "phase": "Pending", "conditions": [{"type": each.value} | said for each in list(ConditionType)[:13]]}
