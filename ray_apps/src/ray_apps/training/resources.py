"""What workers reserve, and what is said when it was too little."""

from ray_apps.training.refusals import Refusal, TrainingRefused
from recsys_schemas.train_job import TrainJob

MEGABYTE = 1_000_000


def resources(job: TrainJob) -> dict[str, float]:
    """What Ray is asked for each worker; GPUs and memory only where the job names them."""
    asked = job.resources_per_worker
    wanted: dict[str, float] = {"CPU": asked.cpu}
    if asked.gpu:
        wanted["GPU"] = asked.gpu
    if asked.memory_megabytes is not None:
        wanted["memory"] = asked.memory_megabytes * MEGABYTE
    return wanted


def threads(job: TrainJob) -> int:
    """Threads of a worker: a whole one for each CPU that it reserves, at least one."""
    return max(1, int(job.resources_per_worker.cpu))


def out_of_memory(job: TrainJob, seen: str) -> TrainingRefused:
    """The refusal of a run whose worker had too little memory."""
    asked = job.resources_per_worker.memory_megabytes
    reserved = f"{asked} MB reserved" if asked else "no memory reserved"
    words = f"{job.version}: a worker ran out of memory ({seen or 'MemoryError'}); {job.num_workers} worker(s), {reserved} for each"
    mend = "raise training.resourcesPerWorker.memoryMegabytes, or training.numWorkers for an algorithm that shares its work (IALS)"
    return TrainingRefused(Refusal.NO_MEMORY, f"{words}; {mend}")
