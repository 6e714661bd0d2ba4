"""The RayService of a kept cluster: a pure function from what a model asks to what KubeRay is told."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from recsys_operator.state.kept import DASHBOARD_PORT, MANAGED, SERVE_PORT, token_secret
from recsys_schemas.kafka_access import FOLDER
from recsys_schemas.serve_settings import SERVE_SETTINGS
from recsys_schemas.v1alpha1.ray_cluster import Cluster, OwnJob, PodSize, Workers

Json: TypeAlias = dict[str, Any]

_SECRETS = "/var/run/recsys-secrets"
_NOBODY = 65532
_DELETION_DELAY_S = 30
_PORTS = {"gcs-server": 6379, "dashboard": DASHBOARD_PORT, "client": 10001, "serve": SERVE_PORT}
_SERVE_ENV = {
    **SERVE_SETTINGS,
    # Ray would run its workers at nice 15: whoever serves would starve beside a neighbour.
    "RAY_worker_niceness": "0",
    FOLDER: _SECRETS,
}
Mount: TypeAlias = tuple[str, str]
"""A Secret of the namespace and one of its keys, which processes on the cluster read as a file."""


def spec(cluster: Cluster, namespace: str, image: str, mounts: Iterable[Mount]) -> Json:
    """What the RayService is to be, all but its Serve config, which is written by itself and far more often."""
    pods = Pods(cluster=cluster, namespace=namespace, image=image, mounts=tuple(mounts))
    return {
        "excludeHeadPodFromServeSvc": False,
        "rayClusterDeletionDelaySeconds": _DELETION_DELAY_S,
        "upgradeStrategy": {"type": cluster.upgrade},
        "rayClusterConfig": ray_cluster(pods, cluster.head, cluster.worker_groups),
    }


def ray_cluster(pods: "Pods", head: PodSize, groups: Sequence[Workers]) -> Json:
    """A RaySpec: of the kept cluster, or of a run's own."""
    cluster, tolerant = pods.cluster, pods.cluster.fault_tolerance
    found: Json = {
        "rayVersion": cluster.ray_version,
        "authOptions": {"mode": "token", "secretName": token_secret(cluster.name)},
        "headGroupSpec": {
            "rayStartParams": {"dashboard-host": "0.0.0.0", **_counted(head)},  # noqa: S104 - for other pods
            "template": pods.pod("ray-head", head, ports=True),
        },
        "workerGroupSpecs": [
            {
                "groupName": group.name,
                "replicas": group.replicas,
                "minReplicas": group.replicas,
                "maxReplicas": group.replicas,
                "rayStartParams": _counted(group.size),
                "template": pods.pod("ray-worker", group.size, ports=False),
            }
            for group in groups
        ],
    }
    if tolerant is not None:
        options: Json = {"redisAddress": tolerant.redis_address}
        if (ref := tolerant.password_secret_ref) is not None:
            options["redisPassword"] = {"valueFrom": {"secretKeyRef": {"name": ref.name, "key": ref.key}}}
        found["gcsFaultToleranceOptions"] = options
    return found


def own_job(pods: "Pods", job: OwnJob, *, job_id: str, deadline_s: int) -> Json:
    """The spec of a RayJob with a cluster of its own; it ends with the run. Where there is a queue it waits until Kueue admits it."""
    workers = [Workers(name="train", replicas=job.workers, size=job.size)] if job.workers else []
    return {
        "jobId": job_id,
        "submissionMode": "HTTPMode",
        "shutdownAfterJobFinishes": True,
        "activeDeadlineSeconds": deadline_s,
        "backoffLimit": 0,
        "suspend": job.queue is not None,
        "rayClusterSpec": ray_cluster(pods, job.size, workers),
    }


def digest(value: Json) -> str:
    """Names a spec: another spec has another digest."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pods:
    """What the pods of a cluster have in common."""

    cluster: Cluster
    namespace: str
    image: str
    mounts: tuple[Mount, ...]

    def pod(self, name: str, size: PodSize, *, ports: bool) -> Json:
        """A pod that a namespace under Pod Security `restricted` admits."""
        cluster = self.cluster
        container: Json = {
            "name": name,
            "image": self.image,
            "env": [{"name": key, "value": value} for key, value in _SERVE_ENV.items()],
            "resources": _resources(size),
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - a volume of the pod's own
        }
        volumes: list[Json] = [{"name": "tmp", "emptyDir": {}}]
        if ports:
            container["ports"] = [{"name": key, "containerPort": value} for key, value in _PORTS.items()]
        if cluster.credentials_secret is not None:
            container["envFrom"] = [{"secretRef": {"name": cluster.credentials_secret}}]
        if cluster.storage is not None:
            container["volumeMounts"].append({"name": "storage", "mountPath": cluster.storage.mount_path})
            volumes.append({"name": "storage", "persistentVolumeClaim": {"claimName": cluster.storage.claim}})
        if self.mounts:
            container["volumeMounts"].append({"name": "secrets", "mountPath": _SECRETS, "readOnly": True})
            volumes.append({"name": "secrets", "projected": {"sources": self._sources()}})
        pod: Json = {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _NOBODY,
                "runAsGroup": _NOBODY,
                "fsGroup": _NOBODY,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": volumes,
        }
        if cluster.image_pull_secrets:
            pod["imagePullSecrets"] = [{"name": each} for each in cluster.image_pull_secrets]
        if cluster.service_account_name is not None:
            pod["serviceAccountName"] = cluster.service_account_name
        return {"metadata": {"labels": MANAGED}, "spec": pod}

    def _sources(self) -> list[Json]:
        """Files at NAMESPACE/SECRET/KEY. A Secret that comes late holds no pod up: who needs it says so, and takes it up later."""
        return [
            {"secret": {"name": secret, "optional": True, "items": [{"key": key, "path": f"{self.namespace}/{secret}/{key}"}]}}
            for secret, key in sorted(self.mounts)
        ]


def _counted(size: PodSize) -> dict[str, str]:
    return {} if size.ray_cpus is None else {"num-cpus": str(size.ray_cpus)}


def _resources(size: PodSize) -> Json:
    gpus = {"nvidia.com/gpu": str(size.gpus)} if size.gpus else {}
    return {"requests": {"cpu": size.cpu, "memory": size.memory, **gpus}, "limits": {"memory": size.memory, **gpus}}
