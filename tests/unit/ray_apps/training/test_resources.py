"""What is asked of Ray for each worker, and what is said when memory did not do."""

import os
from pathlib import Path

import pytest

from ray_apps.algorithms import kernels
from ray_apps.algorithms.als import ALS
from ray_apps.algorithms.recommender import Fitting
from ray_apps.training.job import run
from ray_apps.training.refusals import Refusal, TrainingRefused
from ray_apps.training.resources import resources, threads
from ray_apps.training.workers import SETTINGS, _refusal, environment, trainer
from recsys_schemas.train_job import TrainJob, WorkerResources
from unit.ray_apps.algorithms.test_algorithms import interactions
from unit.ray_apps.training import planted


def asked(folder: Path, **changes: float) -> TrainJob:
    return planted.job(f"file://{folder}", num_workers=3, resources_per_worker=WorkerResources.model_validate(changes))


def test_ray_is_asked_for_what_the_job_names(tmp_path: Path):
    assert resources(asked(tmp_path)) == {"CPU": 1.0}
    assert resources(asked(tmp_path, cpu=2.5, gpu=1, memory_megabytes=4000)) == {"CPU": 2.5, "GPU": 1.0, "memory": 4_000_000_000}
    assert [threads(asked(tmp_path, cpu=cpu)) for cpu in (0.5, 1, 3.9)] == [1, 1, 3]


def test_a_trainer_asks_for_gpus_only_where_the_job_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in SETTINGS.items():
        monkeypatch.setitem(os.environ, name, value)
    plain = trainer(asked(tmp_path), {}).scaling_config
    assert (plain.num_workers, plain.use_gpu, plain.resources_per_worker) == (3, False, {"CPU": 1.0})
    fast = trainer(asked(tmp_path, gpu=0.5), {}).scaling_config
    assert (fast.use_gpu, fast.resources_per_worker) == (True, {"CPU": 1.0, "GPU": 0.5})


def test_a_gpu_that_implicit_cannot_use_leaves_the_bytes_of_the_cpu():
    known = interactions()
    on_cpu, asked_for_gpu = (ALS.fit(known, {"factors": 8, "iterations": 2}, 7, Fitting(gpu=gpu)).arrays() for gpu in (False, True))
    assert kernels.als_kernel(Fitting(gpu=True), factors=8, regularization=1.0, iterations=2, seed=7).__module__ == "implicit.cpu.als"
    assert on_cpu["item_factors"].tobytes() == asked_for_gpu["item_factors"].tobytes()


class Greedy(ALS):
    """Asks for more memory than there is."""

    @classmethod
    def fit(cls, *_: object, **__: object) -> "Greedy":
        raise MemoryError("Unable to allocate 3.2 TiB")


def test_a_worker_without_memory_is_refused_with_what_was_reserved_and_the_mend(tmp_path: Path):
    uri = planted.snapshot(tmp_path, {"watch": planted.tastes(users=100, items=60)})
    job = planted.job(uri, baselines=[], resources_per_worker=WorkerResources(memory_megabytes=500))
    with pytest.raises(TrainingRefused) as refused:
        run(job, {"ALS": Greedy})
    assert refused.value.refusal is Refusal.NO_MEMORY
    assert "3.2 TiB" in refused.value.message
    assert "500 MB reserved for each; raise training.resourcesPerWorker.memoryMegabytes" in refused.value.message


def test_a_worker_that_ray_killed_for_memory_is_told_from_one_that_died_otherwise(tmp_path: Path):
    from ray.exceptions import OutOfMemoryError  # noqa: PLC0415 - seconds to import

    job = asked(tmp_path)
    found = _refusal(job, {1: OutOfMemoryError("killed")})
    assert found is not None
    assert found.refusal is Refusal.NO_MEMORY
    assert _refusal(job, {1: RuntimeError("The actor died: the node was running low on memory")}) is not None
    assert _refusal(job, {1: RuntimeError("The actor died: connection lost")}) is None


@pytest.mark.parametrize(("serving_at", "told"), [(0, "10"), (15, "19")])
def test_whatever_a_run_starts_gives_way_to_who_serves_from_its_start_on(serving_at: int, told: str):
    assert environment("127.0.0.1:1", serving_at)["RAY_worker_niceness"] == told
