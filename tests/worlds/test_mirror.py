"""Stories of the mirror: it follows the rollout, and nothing ever waits for it."""

import copy
import random
from datetime import timedelta

import pytest

from recsys_operator.plan import mirror
from recsys_schemas.mirror import MirrorJob
from recsys_schemas.v1alpha1.model import ModelSpec
from worlds.looks import champion
from worlds.simulated import World, spec

FIRST, SECOND = "movies-000001", "movies-000002"
ASKED = {"mlflow": {"trackingURI": "http://mlflow:5000"}}
BROKEN = "spec.registry.mlflow.trackingURI http://mlflow:5000 cannot be reached (refused)"


def condition(world: World) -> tuple[str, str, str]:
    return next((c.status, c.reason, c.message) for c in world.status.conditions if c.type == "Mirrored")


def mirrors(world: World) -> list[MirrorJob]:
    return [action.job for action in world.submitted.values() if isinstance(action.job, MirrorJob)]


def without(before: ModelSpec) -> ModelSpec:
    return before.model_copy(update={"registry": ModelSpec.model_fields["registry"].get_default(call_default_factory=True)})


@pytest.fixture(scope="module")
def began() -> World:
    """A world with a mirror, in which the first version serves and is shown."""
    world = World(chance=random.Random(7), spec=spec(registry=ASKED))
    world.run_until(lambda w: w.shown_aliases == {"champion": FIRST} and w.shown.get(FIRST) == "Champion")
    return world


@pytest.fixture
def world(began: World) -> World:
    return copy.deepcopy(began)


def test_versions_and_aliases_follow_the_rollout(world: World):
    world.run_until(lambda w: w.shown_aliases == {"champion": FIRST, "challenger": SECOND}, passes=600)
    world.run_until(lambda w: w.shown_aliases.get("champion") == SECOND and w.shown.get(FIRST) == "Retired", passes=600)
    world.step()
    assert condition(world)[:2] in (("True", "UpToDate"), ("Unknown", "Mirroring"))


def test_a_server_that_is_down_from_the_first_holds_nothing_up():
    plain = World(chance=random.Random(7))
    plain.run_until(lambda w: champion(w) == SECOND)
    world = World(chance=random.Random(7), spec=spec(registry=ASKED), mirror_fails=BROKEN)
    world.run_until(lambda w: champion(w) == SECOND)
    assert world.now - plain.now < timedelta(seconds=60)
    assert condition(world)[:2] == ("False", "MirrorFailed")
    assert "cannot be reached" in condition(world)[2]
    assert next(c.status for c in world.status.conditions if c.type == "Ready") == "True"
    assert next(c.status for c in world.status.conditions if c.type == "Stalled") == "False"


def test_a_server_that_refuses_is_asked_less_and_less_often(world: World):
    world.rows_per_second = 0
    world.mirror_fails = BROKEN
    world.mirror_report = None
    first = len(mirrors(world))
    for _ in range(600):
        world.step()
        world.tick(6)
    tries = len(mirrors(world)) - first
    assert 4 <= tries <= 9, "an hour of refusals: 15, 30, 60 s and so on apart"
    world.mirror_fails = ""
    world.run_until(lambda w: w.mirror_report is not None and w.mirror_report.good, passes=2500)


def test_a_job_that_dies_is_said_and_tried_again(world: World):
    world.mirror_dies = 2
    world.mirror_report = None
    world.run_until(lambda w: w.mirror_dies == 1)
    for _ in range(3):
        world.step()
        world.tick()
    assert condition(world)[:2] == ("False", "MirrorFailed")
    assert "left no report" in condition(world)[2]
    world.run_until(lambda w: w.mirror_report is not None and w.mirror_report.good, passes=900)


def test_what_is_shown_is_looked_at_again_each_hour_and_no_more_often(world: World):
    world.rows_per_second = 0
    world.run_until(lambda w: w.shown_aliases == {"champion": SECOND} and w.shown[SECOND] == "Champion", passes=600)
    before = len(mirrors(world))
    for _ in range(390):
        world.step()
        world.tick(20)
    assert 2 <= len(mirrors(world)) - before <= 3


def test_a_job_that_hangs_is_stopped(world: World):
    world.spec = world.spec.model_copy(update={"registry": spec(registry={"mlflow": {"trackingURI": "http://other:5000"}}).registry})
    world.step()
    last = max(id_ for id_ in world.jobs if id_.startswith("mirror-"))
    assert not world.jobs[last].word.ended
    world.now += timedelta(minutes=11)
    assert mirror.judge(world.observe()) is mirror.Mirror.OVERDUE
    world.step()
    assert world.jobs[last].word.ended


def test_one_that_is_not_asked_for_any_more_is_not_told_of(world: World):
    world.spec = without(world.spec)
    before = len(mirrors(world))
    for _ in range(5):
        world.step()
        world.tick()
    assert len(mirrors(world)) == before
    assert not [c for c in world.status.conditions if c.type == "Mirrored"]


def test_a_rejected_version_has_a_run_and_is_not_registered():
    world = World(chance=random.Random(7), spec=spec(registry=ASKED), worse_offline={SECOND})
    world.run_until(lambda w: w.shown.get(SECOND) == "Rejected", passes=600)
    registered = {each.version: each.registered for each in mirrors(world)[-1].versions}
    assert registered == {FIRST: True, SECOND: False}


@pytest.mark.parametrize("seed", range(4))
def test_an_operator_that_dies_between_any_two_actions_still_shows_all(seed: int):
    world = World(chance=random.Random(seed), spec=spec(registry=ASKED))
    for _ in range(250):
        world.step(survive=world.chance.choice([0, 1, 2, None]))
        world.tick()
    world.rows_per_second = 0
    world.run_until(lambda w: champion(w) is not None and w.shown_aliases.get("champion") == champion(w), passes=900)
