"""The short form of `make load`: the mix while a training job and a canary run, then more than can be borne."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from load.looking import looked_at
from load.mix import SHARES, mix
from load.running import RECORDED, SUCCESS, Result, figures, flooded, under_load
from load.scene import VERSIONS, Parts, Scene, served
from recsys_dev.figures import tell
from recsys_dev.kafka import Brokers
from recsys_dev.loadgen import Told
from recsys_dev.ray import RayHead

SECONDS, RATE = 20.0, 30.0
MOST_FLOODS = 5
FLOOD_SECONDS, FLOOD_CLIENTS = 4.0, 500


@pytest.fixture(scope="module")
def scene(ray_head: RayHead, brokers: Brokers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with served(Parts(tmp_path_factory.mktemp("load"), head=ray_head, brokers=brokers)) as scene:
        yield scene


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("answers") / "mix.jsonl"


@pytest.fixture(scope="module")
def result(scene: Scene, answers: Path) -> Result:
    result = under_load(scene, rate=RATE, seconds=SECONDS, answers=answers)
    tell("load-short", "mix", figures(result.told))
    return result


@pytest.mark.slow
def test_the_mix_with_training_and_a_canary_fails_nobody_and_every_answer_names_its_version(result: Result, answers: Path):
    looked = looked_at(answers.open(), VERSIONS)
    assert not looked.faults(SUCCESS)
    assert set(looked.routes) == set(SHARES)
    assert result.canary.steps, result.canary.failed
    assert not result.canary.failed
    assert set(looked.by_version) == set(VERSIONS)


@pytest.mark.slow
def test_more_than_can_be_borne_is_refused_with_a_time_to_come_again(scene: Scene, answers: Path):
    flood = answers.with_name("flood.jsonl")
    for _ in range(MOST_FLOODS):  # one in which the machine stood still floods nobody
        told: Told = flooded(scene, clients=FLOOD_CLIENTS, seconds=FLOOD_SECONDS, answers=flood)
        tell("load-short", "flood", figures(told))
        looked = looked_at(flood.open(), VERSIONS)
        assert not looked.faults(SUCCESS)
        assert looked.by_version
        if looked.shed:
            return
    pytest.fail("nothing was refused for load")


def _failed(answer: dict[str, Any]) -> None:
    answer |= {"status": 500, "body": "{}"}


def _broken(answer: dict[str, Any]) -> None:
    answer |= {"status": 0, "broken": "EOF"}


def _refused_for_ever(answer: dict[str, Any]) -> None:
    answer |= {"status": 429, "body": "{}"}


def _of_no_version(answer: dict[str, Any]) -> None:
    answer["body"] = json.dumps(json.loads(answer["body"]) | {"model_version": "movies-999999"})


@pytest.mark.parametrize("harm", [_failed, _broken, _refused_for_ever, _of_no_version])
def test_one_answer_in_five_hundred_that_is_not_as_it_must_be_is_seen(harm: Callable[[dict[str, Any]], None]):
    good = {"route": "recommendations", "status": 200, "body": json.dumps({"model_version": VERSIONS[0]})}
    answers = [dict(good) for _ in range(500)]
    assert not looked_at(map(json.dumps, answers), VERSIONS).faults(SUCCESS)
    harm(answers[7])
    assert len(looked_at(map(json.dumps, answers), VERSIONS).faults(SUCCESS)) == 1


def test_the_mix_has_every_route_in_what_a_short_run_sends():
    assert {asked.route for asked in mix(min(RECORDED, int(SECONDS * RATE) // 2), users=100, items=100)} == set(SHARES)
