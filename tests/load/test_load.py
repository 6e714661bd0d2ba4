"""The short forms: a minute of load with training and a canary, a storm of switches and kills, hostile clients."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.serving_storm import ITEMS, MIXING, USERS, storm
from load import hostile
from load.hostile import Attack
from load.running import SUCCESS, WALK, under_load
from load.scene import APPS, Parts, served
from recsys_dev import ray, runs
from recsys_dev.kafka import Brokers

RUNS = Path(__file__).resolve().parents[2] / "build" / "run" / "tests"


@pytest.fixture(scope="module")
def parts(ray_turn: None, brokers: Brokers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:  # noqa: ARG001
    run_dir = runs.claim(RUNS / "load")
    head = None
    try:
        head = ray.start(run_dir, python_path=[APPS], progress=print)
        yield Parts(tmp_path_factory.mktemp("load"), head=head, brokers=brokers)
    finally:
        if head is not None:
            head.stop()
        runs.discard(run_dir)


@pytest.mark.slow
def test_a_minute_of_the_mix_with_training_and_a_canary_fails_nobody(parts: Parts):
    with served(parts) as scene:
        result = under_load(scene, rate=30, seconds=60)
    assert result.success >= SUCCESS, result.told.all
    assert [share for share, _ in result.canary.steps] == list(WALK), result.canary.failed
    assert set(result.told.routes) == {"recommendations", "events", "similar-items", "sessions", "preferences", "batch"}


@pytest.mark.slow
def test_switches_and_kills_fail_nobody_and_mix_nothing(parts: Parts):
    with served(parts, items=ITEMS, factors=32, users=USERS, follows=False) as scene:
        happened = storm(scene, switches=8, kills=2)
    assert not happened.checked.failed
    assert not happened.checked.mixed
    assert len(happened.checked.by_version) == 2


@pytest.mark.slow
def test_an_api_that_names_the_wrong_version_is_caught(parts: Parts):
    with served(parts, items=ITEMS, factors=32, users=USERS, follows=False, import_path=MIXING) as scene:
        happened = storm(scene, switches=3, kills=0)
    assert happened.checked.mixed


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack", [Attack(kind="slow bodies", clients=150), Attack(kind="gigabytes", clients=2)], ids=lambda each: each.kind
)
def test_hostile_clients_cost_nobody_an_answer_and_little_memory(parts: Parts, attack: Attack):
    with served(parts, items=2000, factors=32) as scene:
        seen = hostile.attacked(scene, attack, direct=False, rate=20, seconds=8)
    assert seen["success"] >= SUCCESS, seen
    assert seen["grown_mib"] <= hostile.MOST_MIB, seen
    assert seen["replicas_lived"], seen
