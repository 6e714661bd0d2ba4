"""Rows for the tests of admission: Ray clusters that no Kubernetes could hold, and models that name two or none."""

from typing import Any

from tests.kube.admission_rows import Broken, rm

_KEPT: dict[str, Any] = {"name": "shared"}


def _kept(part: str, value: Any, seen: str, **cluster: Any) -> Broken:
    """A kept cluster of which one part is wrong; `part` is its path, as the rule's."""
    place = part.replace("[]", "[0]")
    says = (f"spec.ray.cluster.{place}", f'"{seen}"')
    return rm(
        "spec.ray",
        {"cluster": {**_KEPT, **cluster} if cluster else {**_KEPT, part: value}},
        *says,
        breaks=f"spec.ray.cluster.{part}#pattern",
    )


def _size(**size: Any) -> dict[str, Any]:
    return {"name": "serve", "size": size}


KEPT = {
    "a Ray cluster that is there and one that is kept": rm(
        "spec.ray",
        {"dashboardURL": "http://ray:8265", "cluster": _KEPT},
        "ray: exactly one of dashboardURL, cluster, seen both: remove one",
        breaks="spec.ray#exactly one of dashboardURL, cluster",
    ),
    "no Ray cluster at all": rm("spec.ray", {}, "ray: exactly one of dashboardURL, cluster, seen none: set one"),
    "a cluster in capitals": _kept("name", "Shared", "Shared"),
    "an image with a space": _kept("image", "our image", "our image"),
    "a version of Ray that is none": _kept("rayVersion", "2.x", "2.x"),
    "a registry's credentials elsewhere": _kept("imagePullSecrets[]", None, "../x", imagePullSecrets=["../x"]),
    "a ServiceAccount elsewhere": _kept("serviceAccountName", "../x", "../x"),
    "a head with a fraction of nothing": _kept("head.cpu", None, "half", head={"cpu": "half"}),
    "a head of unknown bytes": _kept("head.memory", None, "4 GB", head={"memory": "4 GB"}),
    "a group with a dot": _kept("workerGroups[].name", None, "a.b", workerGroups=[{"name": "a.b"}]),
    "workers of no CPU": _kept("workerGroups[].size.cpu", None, "-1", workerGroups=[_size(cpu="-1")]),
    "workers of no bytes": _kept("workerGroups[].size.memory", None, "much", workerGroups=[_size(memory="much")]),
    "a claim elsewhere": _kept("storage.claim", None, "../x", storage={"claim": "../x"}),
    "a folder that is relative": _kept("storage.mountPath", None, "data", storage={"claim": "x", "mountPath": "data"}),
    "credentials elsewhere": _kept("credentialsSecret", "../x", "../x"),
    "Redis without a port": _kept("faultTolerance.redisAddress", None, "redis", faultTolerance={"redisAddress": "redis"}),
    "a password elsewhere": _kept(
        "faultTolerance.passwordSecretRef.name",
        None,
        "../x",
        faultTolerance={"redisAddress": "redis:6379", "passwordSecretRef": {"name": "../x"}},
    ),
    "a queue in capitals": _kept("training.queue", None, "GPU", training={"queue": "GPU"}),
    "a run of no CPU": _kept("training.size.cpu", None, "all", training={"size": {"cpu": "all"}}),
    "a run of no bytes": _kept("training.size.memory", None, "all", training={"size": {"memory": "all"}}),
}
