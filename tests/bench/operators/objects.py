"""What the operators look after: our models, the same specs for a plain kopf operator, and suspended RayClusters for KubeRay's."""

from collections.abc import Sequence
from typing import Any

from bench.operators import fake_ray
from bench.operators.scene import Scene

NAMESPACES = 20
PLAIN = "plainmodels.bench.recsys.dev"
RAY_CLUSTERS = "rayclusters.ray.io"

Json = dict[str, Any]
Key = tuple[str, str]
Placed = tuple[str, Json]
"""The path of an object's folder, and the object."""


def place(number: int) -> Key:
    """Namespace and name of the object of a number."""
    return f"team-{number % NAMESPACES:02}", f"model-{number:05}"


def floor_place(number: int) -> Key:
    """Where the least that a model takes is measured, before any operator runs."""
    return f"team-{number % NAMESPACES:02}", f"floor-{number:05}"


def ground() -> Sequence[Sequence[Placed]]:
    """The namespaces; then, once they are there, in each the token of its Ray cluster."""
    names = [f"team-{each:02}" for each in range(NAMESPACES)]
    namespaces: list[Placed] = [
        ("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}) for name in names
    ]
    token = {"token": fake_ray.TOKEN}
    secrets: list[Placed] = [
        (
            f"/api/v1/namespaces/{name}/secrets",
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": name, "name": "ray-auth"}, "stringData": token},
        )
        for name in names
    ]
    return namespaces, secrets


def model(at: Scene, number: int, where: Key | None = None) -> Placed:
    """Every other one suspended; the others wait for events that never come."""
    namespace, name = where or place(number)
    topics = [
        {"name": topic, "role": role, "replicas": 1, "minInsyncReplicas": 1, "partitions": 1}
        for topic, role in (("watch", "Watch"), ("rate", "Rate"), ("reco_requests", "Requests"), ("reco_responses", "Responses"))
    ]
    ray = f"{at.ray}/{namespace}"
    body: Json = {
        "apiVersion": "recsys.dev/v1alpha1",
        "kind": "RecommenderModel",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "suspend": number % 2 == 0,
            "ray": {"dashboardURL": ray, "servingURL": ray},
            "kafka": {"bootstrapServers": [at.kafka], "topics": topics},
        },
    }
    return f"/apis/recsys.dev/v1alpha1/namespaces/{namespace}/recommendermodels", body


def plain_definition() -> Json:
    """The kind of the plain kopf operator: a spec and a status that may hold anything."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything, "status": anything}}}
    version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}, "schema": schema}
    names = {"kind": "PlainModel", "plural": "plainmodels", "singular": "plainmodel"}
    spec = {"group": "bench.recsys.dev", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": PLAIN}, "spec": spec}


def plain(at: Scene, number: int) -> Placed:
    """The same spec under the plain kind."""
    _, body = model(at, number)
    folder = f"/apis/bench.recsys.dev/v1/namespaces/{place(number)[0]}/plainmodels"
    return folder, {"apiVersion": "bench.recsys.dev/v1", "kind": "PlainModel", "metadata": body["metadata"], "spec": body["spec"]}


def ray_cluster(_: Scene, number: int) -> Placed:
    """One that is suspended: KubeRay looks after it and has nothing to start."""
    namespace, name = place(number)
    pod: Json = {"spec": {"containers": [{"name": "head", "image": "rayproject/ray:2.60.0"}]}}
    spec: Json = {"suspend": True, "rayVersion": "2.60.0", "headGroupSpec": {"rayStartParams": {}, "template": pod}}
    body: Json = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"namespace": namespace, "name": name}, "spec": spec}
    return f"/apis/ray.io/v1/namespaces/{namespace}/rayclusters", body
