"""What keeps the pods of a Ray cluster from running, in one sentence that names the object and the mend."""

from collections.abc import Sequence
from dataclasses import dataclass

from recsys_operator.world.kube import Json, Kube

_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_FAILING = frozenset({"CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_LONGEST = 700


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One."""

    reason: str
    message: str


async def trouble(kube: Kube, namespace: str, clusters: Sequence[Json]) -> Trouble | None:
    """What keeps pods of these RayClusters from running; None when nothing is known to. Pods are looked at only while some are missing."""
    for cluster in clusters:
        refused = _refused(namespace, cluster)
        if refused is not None:
            return refused
        if _complete(cluster):
            continue
        pods = await kube.items(f"/api/v1/namespaces/{namespace}/pods", labels={"ray.io/cluster": cluster["metadata"]["name"]})
        found = [each for pod in pods if (each := of_pod(pod)) is not None]
        unbound = next((each for each in found if each.reason == "Unschedulable" and "persistentvolumeclaim" in each.message.lower()), None)
        if unbound is not None:
            return await _of_storage(kube, namespace, pods, unbound)
        if found:
            return found[0]
    return None


def _complete(cluster: Json) -> bool:
    status = cluster.get("status") or {}
    head = any(each["type"] == "HeadPodReady" and each["status"] == "True" for each in status.get("conditions") or [])
    return head and int(status.get("availableWorkerReplicas") or 0) >= int(status.get("desiredWorkerReplicas") or 0)


def _refused(namespace: str, cluster: Json) -> Trouble | None:
    """KubeRay could not make a pod: admission (a webhook, a policy, a quota) said no."""
    conditions = (cluster.get("status") or {}).get("conditions") or []
    failure = next((each for each in conditions if each["type"] == "ReplicaFailure" and each["status"] == "True"), None)
    if failure is None:
        return None
    words = f"pods of RayCluster {namespace}/{cluster['metadata']['name']} are refused: {failure.get('message', '')[-_LONGEST:]}"
    return Trouble(reason="PodsRefused", message=f"{words}; let what refuses them (a webhook, a policy or a quota) admit them")


def of_pod(pod: Json) -> Trouble | None:
    """What keeps this pod from running."""
    name = f"Pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, said = waiting.get("reason", ""), str(waiting.get("message", ""))[-_LONGEST:]
        if reason in _IMAGE:
            words = f"{name}: image {container.get('image')}: {reason}: {said}"
            return Trouble(reason="ImageNotFound", message=f"{words}; correct spec.ray.cluster.image, or name its imagePullSecrets")
        if reason in _FAILING:
            ended = (container.get("lastState") or {}).get("terminated") or {}
            last = f" (last: {ended.get('reason', '')}, exit {ended.get('exitCode')})" if ended else ""
            return Trouble(reason="PodsFailing", message=f"{name}: {reason}: {said}{last}; see kubectl logs --previous")
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False" and condition.get("reason") == "Unschedulable":
            words = f"{name} finds no node: {condition.get('message', '')[-_LONGEST:]}"
            return Trouble(reason="Unschedulable", message=f"{words}; lower what spec.ray.cluster asks for, or add nodes")
    return None


async def _of_storage(kube: Kube, namespace: str, pods: Sequence[Json], seen: Trouble) -> Trouble:
    """A pod that waits for a volume: the claim says more than the pod."""
    volumes = [volume for pod in pods for volume in pod["spec"].get("volumes") or [] if "persistentVolumeClaim" in volume]
    name = volumes[0]["persistentVolumeClaim"]["claimName"] if volumes else ""
    claim = await kube.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}") if name else None
    if claim is None:
        words = f"PersistentVolumeClaim {namespace}/{name} not found; make it, or correct spec.ray.cluster.storage.claim"
        return Trouble(reason="StorageMissing", message=words) if name else seen
    storage_class = claim["spec"].get("storageClassName") or "none"
    phase = (claim.get("status") or {}).get("phase", "Pending")
    words = f"PersistentVolumeClaim {namespace}/{name} is {phase}, storage class {storage_class}"
    return Trouble(reason="StorageMissing", message=f"{words}: no volume was made for it; name a storage class that is there")
