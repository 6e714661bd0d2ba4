"""What is told of a run while it goes on, and what a run is asked for."""

import random
from datetime import timedelta

import pytest

from recsys_schemas.train_job import Search, TrainJob, WorkerResources
from recsys_schemas.v1alpha1.conditions import Condition
from recsys_schemas.v1alpha1.version import Progress, VersionPhase
from recsys_schemas.version_card import RunProgress
from worlds.simulated import World, spec

NAME = "movies-000001"


def training_world(**training: object) -> World:
    return World(chance=random.Random(7), spec=spec(training={"initialRecords": 100, "newRecords": 10**9, "cooldownSeconds": 1} | training))


@pytest.fixture
def world() -> World:
    made = training_world()
    made.run_until(lambda world: NAME in world.versions and world.versions[NAME].status.phase is VersionPhase.TRAINING)
    return made


def trained(world: World) -> Condition:
    return next(condition for condition in world.status.conditions if condition.type == "Trained")


def says(world: World, step: int, *, ago: float = 0.0, left: float | None = 41.6) -> None:
    told = world.now - timedelta(seconds=ago)
    world.progress[NAME] = RunProgress(version=NAME, step=step, of=30, seconds_left=left, told_at=told)


def test_a_run_says_how_far_it_is_in_its_version_and_in_the_condition(world: World):
    says(world, 7)
    world.step()
    world.step()
    assert world.versions[NAME].status.progress == Progress(step=7, of=30, seconds_left=42)
    assert trained(world).reason == "Running"
    assert trained(world).message.endswith(": step 7 of 30, about 42 s left")
    says(world, 8, left=None)
    world.step()
    world.step()
    assert trained(world).message.endswith(": step 8 of 30")


def test_a_version_that_is_made_has_no_steps_left_to_tell_of(world: World):
    says(world, 7)
    world.step()
    world.run_until(lambda world: world.versions[NAME].status.phase is VersionPhase.CHAMPION)
    assert world.versions[NAME].status.progress is None


def test_the_last_words_of_an_earlier_attempt_are_not_taken_for_this_ones(world: World):
    says(world, 20, ago=3600)
    world.step()
    assert world.versions[NAME].status.progress is None


def test_a_run_is_asked_for_what_the_spec_says_of_fits():
    world = training_world(
        numWorkers=2,
        resourcesPerWorker={"cpu": 2, "gpu": 1, "memoryMegabytes": 2000},
        warmStart=True,
        windowDays=30,
        replayFraction=0.2,
        historyHalfLife=10.0,
        search={"maxTrials": 6, "parallelTrials": 2},
        activeDeadlineSeconds=1000,
    )
    world.run_until(lambda world: NAME in world.cards)
    job = next(action.job for action in world.submitted.values() if isinstance(action.job, TrainJob))
    assert job.resources_per_worker == WorkerResources(cpu=2, gpu=1, memory_megabytes=2000)
    assert (job.num_workers, job.warm_start, job.window_days, job.replay_fraction, job.history_half_life) == (2, True, 30, 0.2, 10.0)
    assert job.search == Search(max_trials=6, parallel_trials=2, max_seconds=500)
