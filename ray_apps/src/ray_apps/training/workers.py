"""The run as a Ray Train job: workers with resources of their own; the first makes the version, all share each fit that can be shared."""

import os
import tempfile
from pathlib import Path
from typing import Any

from ray_apps.algorithms import Algorithms
from ray_apps.algorithms.columns import Room
from ray_apps.stores.objects import open_store
from ray_apps.stores.registry import read_card
from ray_apps.training import board as boards
from ray_apps.training.hands import Foreman, follow_orders
from ray_apps.training.job import Written, run
from ray_apps.training.refusals import Refusal, TrainingRefused
from ray_apps.training.resources import out_of_memory, resources
from ray_apps.training.search import searched
from recsys_schemas.train_job import TrainJob
from recsys_schemas.version_card import CARD_FILE, RUNS_FOLDER, VersionCard

SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # each epoch waits until its checkpoint is noted; and a run takes seconds
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",  # a busy machine takes longer than a minute to start Python
    "RAY_DEDUP_LOGS": "0",  # lines of workers are for machines too: none may be left out for being like another
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # an actor less: a run lost with its node is short, and simply run again
}
"""Ray Train's settings for short runs, where the environment does not say otherwise."""
MOST_FAILURES = 3
"""Workers that die are started again so often, from the last epoch that was kept."""

GIVES_WAY, NICEST = 10, 19
"""By so much whatever a run starts is nicer than who serves on the same node: it takes what cores are left."""
_GAVE_WAY = "RECSYS_GAVE_WAY"
"""In the environment of processes that Ray made nicer when they began."""


def run_on_ray(job: TrainJob, algorithms: Algorithms, written: Written) -> VersionCard:
    """Make the version on Ray Train workers and return its card.

    Ray itself is found by RAY_ADDRESS, or started in this process.

    Raises:
        TrainingRefused: no version can be made, and why.
        TrainingFailedError: a worker died too often or raised something unforeseen.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from ray.train import WorkerGroupError  # noqa: PLC0415 — seconds to import: a finished version needs none

    _connect()
    store = open_store(job.storage_uri)
    job = searched(job, algorithms)
    board = boards.start()
    config = {"job": job.model_dump_json(), "algorithms": dict(algorithms), "written": written, "board": board}
    try:
        trainer(job, config).fit()
    except WorkerGroupError as error:
        raise _refusal(job, error.worker_failures) or error from error
    boards.check(board)
    card = read_card(store, job.version)
    if card is None:
        words = f"{job.version}: the workers ended without a card in {job.storage_uri}; is it a store that every node sees?"
        raise TrainingRefused(Refusal.STORAGE, words)
    return card


def trainer(job: TrainJob, config: dict[str, Any]) -> Any:
    """What Ray Train is asked for."""
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig  # noqa: PLC0415 — as above
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer  # noqa: PLC0415

    store = open_store(job.storage_uri)
    wanted = resources(job)
    return DataParallelTrainer(
        _work,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=job.num_workers, use_gpu="GPU" in wanted, resources_per_worker=wanted),
        run_config=RunConfig(
            name=job.version,
            storage_path=store.path(RUNS_FOLDER),
            storage_filesystem=store.files,
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            failure_config=FailureConfig(max_failures=MOST_FAILURES),
        ),
    )


def _connect() -> None:
    """Join the cluster of this job."""
    import ray  # noqa: PLC0415 — as above

    address = os.environ.get("RAY_ADDRESS")
    if address and not ray.is_initialized():
        # Ray starts a submitted job's own process at nice 0 by this very variable; ours is for what the job starts.
        os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
        ray.init(runtime_env={"env_vars": environment(address, os.nice(0))})


def environment(address: str, niceness: int) -> dict[str, str]:
    """What processes of this job are told, by the niceness of who serves.

    Their cluster, which Ray Train's own do not know where a machine has several; and to give way from their start on, trials of a search
    too: seconds of imports come before any work.
    """
    return {"RAY_ADDRESS": address, "RAY_worker_niceness": str(min(NICEST, niceness + GIVES_WAY)), _GAVE_WAY: "1"}


def _work(config: dict[str, Any]) -> None:
    """What each worker does. A refusal is left on the board: Ray Train would take an exception for a reason to try again."""
    from ray import train  # noqa: PLC0415 — as above

    if _GAVE_WAY not in os.environ:
        os.nice(GIVES_WAY)
    context = train.get_context()
    job = TrainJob.model_validate_json(config["job"])
    hands = Foreman(job=job, board=config["board"], rank=context.get_world_rank(), workers=context.get_world_size())
    with hands.at_work():
        if hands.rank:
            follow_orders(hands)
            train.report({})
            return
        worker = f"Ray Train run {context.get_experiment_name()}, {hands.workers} worker(s)"
        try:
            room = Room(Path(tempfile.gettempdir())) if hands.workers > 1 else None
            card = run(job, config["algorithms"], written=config["written"], worker=worker, crew=hands.lead, room=room)
        except TrainingRefused as refused:
            hands.refuse(refused)
            card = None
        hands.dismiss()
        _report(card)


def _report(card: VersionCard | None) -> None:
    """Report the card as a checkpoint, so that it is listed with the run."""
    from ray import train  # noqa: PLC0415 — as above

    if card is None:
        train.report({})
        return
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, CARD_FILE).write_text(card.model_dump_json(indent=2))
        candidate = {name: estimate.value for name, estimate in card.evaluations[0].metrics.items()}
        train.report(candidate, checkpoint=train.Checkpoint.from_directory(folder))


def _refusal(job: TrainJob, failures: dict[int, Exception]) -> TrainingRefused | None:
    """What the failures of workers mean, if that is known: one had no memory."""
    from ray.exceptions import OutOfMemoryError  # noqa: PLC0415 — as above

    for failure in failures.values():
        cause = getattr(failure, "_base_exc", failure)
        if isinstance(cause, MemoryError | OutOfMemoryError) or "OutOfMemory" in str(failure) or "running low on memory" in str(failure):
            return out_of_memory(job, f"{type(cause).__name__}")
    return None
