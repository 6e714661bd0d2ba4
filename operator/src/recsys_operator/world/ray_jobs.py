"""Training runs in RayJobs of their own: KubeRay starts a cluster for the run, and ends it after it. Kueue may hold it back."""

import hashlib
from datetime import datetime

from recsys_operator.state.actions import RunOwnJob
from recsys_operator.state.observed import JobState, JobWord, ModelState
from recsys_operator.world.kube import ConflictError, Json, Kube
from recsys_operator.world.kuberay import RAY_API, path
from recsys_operator.world.objects import UID_LABEL, owned_metadata

QUEUE = "kueue.x-k8s.io/queue-name"
JOB = "recsys.dev/job"
_LONGEST = 47
"""Of a RayJob's name: KubeRay derives longer ones."""
_ENDED = {"Complete": JobWord.SUCCEEDED, "Failed": JobWord.FAILED, "ValidationFailed": JobWord.FAILED}


def name_of(job_id: str) -> str:
    """Name of the RayJob with this id."""
    digest = hashlib.sha256(job_id.encode()).hexdigest()[:8]
    return job_id if len(job_id) <= _LONGEST else f"{job_id[: _LONGEST - 9]}-{digest}"


async def run(kube: Kube, model: ModelState, action: RunOwnJob, entrypoint: str) -> None:
    """Make the RayJob of a run; one of that name is left alone."""
    metadata = owned_metadata(model, name_of(action.id))
    metadata["annotations"] = {JOB: action.id}
    if action.queue is not None:
        metadata["labels"] = {**metadata["labels"], QUEUE: action.queue}
    body: Json = {"apiVersion": RAY_API, "kind": "RayJob", "metadata": metadata, "spec": {**action.spec, "entrypoint": entrypoint}}
    try:
        await kube.create(path(model.key.namespace, "rayjobs", "").rstrip("/"), body)
    except ConflictError:
        return


async def end(kube: Kube, model: ModelState, job_id: str) -> None:
    """Delete a run's RayJob, and with it its cluster; one that is not there is as good."""
    await kube.delete(path(model.key.namespace, "rayjobs", name_of(job_id)))


async def read(kube: Kube, model: ModelState) -> dict[str, JobState]:
    """The model's RayJobs, by the ids of their runs."""
    bodies = await kube.items(path(model.key.namespace, "rayjobs", "").rstrip("/"), labels={UID_LABEL: model.uid})
    found = [_read(body) for body in bodies if JOB in (body["metadata"].get("annotations") or {})]
    return {job.id: job for job in found}


def _read(body: Json) -> JobState:
    status = body.get("status") or {}
    deployment, said = str(status.get("jobDeploymentStatus") or ""), str(status.get("jobStatus") or "")
    word = _ENDED.get(deployment)
    if word is None and said:
        # Between Ray's word and KubeRay's own the cluster is still being ended.
        word = JobWord(said)
    return JobState(
        id=body["metadata"]["annotations"][JOB],
        word=word or JobWord.PENDING,
        message=f"{status.get('reason') or ''} {status.get('message') or ''}".strip()[-1500:],
        started_at=_time(status.get("startTime")),
        ended_at=_time(status.get("endTime")),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
