"""The run as a Ray Train job: workers with CPUs of their own, the first of which makes the version."""

import os
import tempfile
from pathlib import Path

from ray_apps.algorithms import Algorithms
from ray_apps.stores.objects import open_store
from ray_apps.stores.registry import read_card
from ray_apps.training.job import Written, run
from ray_apps.training.refusals import Refusal, TrainingRefused
from recsys_schemas.train_job import TrainJob
from recsys_schemas.version_card import CARD_FILE, RUNS_FOLDER, VersionCard

SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # a run takes seconds: seen at once when it ends
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",  # a busy machine takes longer than a minute to start Python
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # an actor less: a run lost with its node is short, and simply run again
}
"""Ray Train's settings for short runs, where the environment does not say otherwise."""


def run_on_ray(job: TrainJob, algorithms: Algorithms, written: Written) -> VersionCard:
    """Make the version on Ray Train workers and return its card.

    The first worker does the work; the others wait for it at the report. Ray itself is found by RAY_ADDRESS, or started in this process.

    Raises:
        TrainingRefused: no version can be made, and why.
        TrainingFailedError: a worker died or raised something unforeseen.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from ray.train import RunConfig, ScalingConfig, WorkerGroupError  # noqa: PLC0415 — seconds to import: a finished version needs none
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer  # noqa: PLC0415

    _connect()
    store = open_store(job.storage_uri)
    trainer = DataParallelTrainer(
        _work,
        train_loop_config={"job": job.model_dump_json(), "algorithms": dict(algorithms), "written": written},
        scaling_config=ScalingConfig(num_workers=job.num_workers, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(name=job.version, storage_path=store.path(RUNS_FOLDER), storage_filesystem=store.files),
    )
    try:
        trainer.fit()
    except WorkerGroupError as error:
        refused = _refusal(error.worker_failures)
        if refused is None:
            raise
        raise refused from error
    card = read_card(store, job.version)
    if card is None:
        words = f"{job.version}: the workers ended without a card in {job.storage_uri}; is it a store that every node sees?"
        raise TrainingRefused(Refusal.STORAGE, words)
    return card


def _connect() -> None:
    """Join the cluster of this job, and let its actors know which one: Ray Train's own do not, where a machine has several."""
    import ray  # noqa: PLC0415 — as above

    address = os.environ.get("RAY_ADDRESS")
    if address and not ray.is_initialized():
        ray.init(runtime_env={"env_vars": {"RAY_ADDRESS": address}})


def _work(config: dict[str, object]) -> None:
    """What each worker does. The card is reported as a checkpoint, so that it is listed with the run."""
    from ray import train  # noqa: PLC0415 — as above

    job = TrainJob.model_validate_json(str(config["job"]))
    context = train.get_context()
    if context.get_world_rank() != 0:
        train.report({})
        return
    worker = f"Ray Train run {context.get_experiment_name()}, {context.get_world_size()} worker(s)"
    card = run(job, config["algorithms"], written=config["written"], worker=worker)  # pyright: ignore[reportArgumentType] — as put in
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, CARD_FILE).write_text(card.model_dump_json(indent=2))
        candidate = {name: estimate.value for name, estimate in card.evaluations[0].metrics.items()}
        train.report(candidate, checkpoint=train.Checkpoint.from_directory(folder))


def _refusal(failures: dict[int, Exception]) -> TrainingRefused | None:
    """The refusal behind the failures of workers, if one of them refused."""
    for failure in failures.values():
        cause = getattr(failure, "_base_exc", failure)
        if isinstance(cause, TrainingRefused):
            return cause
    return None
