"""Stories of a switch that is asked for through the API: the operator fulfils it once, makes it durable, and does not fight it."""

import copy
import random
from datetime import timedelta

import pytest

from recsys_operator.plan import quarantine, rollback, shares, wishes
from recsys_operator.state.observed import Observed
from recsys_schemas.serving_evidence import SwitchAsk
from recsys_schemas.train_job import PreflightJob
from worlds.looks import champion, settle
from worlds.simulated import World, spec

FIRST, SECOND, THIRD = "movies-000001", "movies-000002", "movies-000003"
KEPT = {"keepLoaded": 2, "analysis": {"minimumSeconds": 5, "minimumRequests": 20, "attributionSeconds": 1}}


def switches(world: World) -> list[str]:
    return [name for name in world.rollouts if "-switch-" in name]


@pytest.fixture(scope="module")
def began() -> World:
    """A world in which the second version has replaced the first, which stays loaded."""
    made = World(chance=random.Random(7), spec=spec(rollout=KEPT))
    made.run_until(lambda w: SECOND in w.versions)
    made.rows_per_second = 0
    made.run_until(lambda w: champion(w) == SECOND and w.status.phase == "Serving")
    made.run_until(lambda w: bool(w.replicas) and all(FIRST in replica.loaded for replica in w.replicas))
    return made


@pytest.fixture
def world(began: World) -> World:
    """The same, for one story; no newer version is trained until there are more rows."""
    return copy.deepcopy(began)


def test_a_version_that_served_before_stays_loaded_and_nobody_sees_it(world: World):
    arms = {arm.version: (str(arm.variant), arm.share) for arm in shares.arms(world.observe())}
    assert arms == {SECOND: ("stable", 100), FIRST: ("holdback", 0)}
    assert FIRST in shares.retained(world.observe())


def test_a_switch_is_fulfilled_once_without_a_trial_and_says_who_asked(world: World):
    assert world.ask_for(FIRST)
    began = world.now
    world.run_until(lambda w: champion(w) == FIRST, passes=10)
    assert world.now - began <= timedelta(seconds=10)
    for _ in range(20):
        world.step()
        world.tick(40)
    assert champion(world) == FIRST
    assert len(switches(world)) == 1
    walk = world.rollouts[switches(world)[0]]
    assert [d.by for d in walk.status.decisions if d.verdict == "Promoted"] == ["key:anna"]
    assert "POST /v1/model:switch (key:anna)" in walk.status.decisions[-1].words
    assert not [a for a in world.submitted.values() if isinstance(a.job, PreflightJob) and a.job.run]
    assert {arm.version: arm.share for arm in shares.arms(world.observe())} == {FIRST: 100, SECOND: 0}


def test_asking_twice_is_asking_once_and_there_and_back_are_two(world: World):
    for _ in range(3):
        assert world.ask_for(FIRST)
    world.run_until(lambda w: champion(w) == FIRST)
    settle(world)
    assert world.ask_for(FIRST)
    settle(world)
    assert len(switches(world)) == 1
    assert world.ask_for(SECOND)
    world.run_until(lambda w: champion(w) == SECOND)
    settle(world)
    assert world.ask_for(FIRST)
    world.run_until(lambda w: champion(w) == FIRST)
    assert len(switches(world)) == 3


def test_a_canary_under_way_is_ended_first(world: World):
    world.rows_per_second = 10
    world.run_until(lambda w: THIRD in w.rollouts and w.rollouts[THIRD].status.weight == 25, passes=600)
    world.rows_per_second = 0
    assert world.ask_for(FIRST)
    world.run_until(lambda w: champion(w) == FIRST)
    assert str(world.rollouts[THIRD].status.phase) == "Aborted"
    assert "POST /v1/model:switch" in world.rollouts[THIRD].status.decisions[-1].words


def test_it_does_not_pin_a_newer_version_takes_over_and_stays(world: World):
    world.rows_per_second = 10
    assert world.ask_for(FIRST)
    world.run_until(lambda w: champion(w) == FIRST)
    world.run_until(lambda w: champion(w) not in (FIRST, SECOND), passes=900)
    world.rows_per_second = 0
    settle(world)
    assert champion(world) not in (FIRST, SECOND)
    assert len(switches(world)) == 1


@pytest.mark.parametrize("seed", range(6))
def test_an_operator_that_dies_between_any_two_actions_still_switches_once(world: World, seed: int):
    world.chance = random.Random(seed)
    assert world.ask_for(FIRST)
    for _ in range(200):
        world.step(survive=world.chance.choice([0, 1, 2, None]))
        world.tick()
        if champion(world) == FIRST:
            break
    settle(world)
    assert champion(world) == FIRST
    assert len(switches(world)) == 1


def test_replicas_and_the_cluster_may_start_anew_after_it_was_taken_up(world: World):
    assert world.ask_for(FIRST)
    world.run_until(lambda w: bool(switches(w)))
    world.restart_replica()
    world.run_until(lambda w: champion(w) == FIRST)
    world.restart_ray()
    settle(world)
    assert champion(world) == FIRST
    assert [arm.version for arm in shares.arms(world.observe())] == [FIRST, SECOND]


def test_what_was_asked_while_the_operator_was_away_for_long_is_not_done_later(world: World):
    assert world.ask_for(FIRST)
    world.tick(700.0)
    settle(world)
    assert (champion(world), switches(world)) == (SECOND, [])


def test_a_pin_goes_before_a_switch(world: World):
    world.spec = world.spec.model_copy(update={"rollout": world.spec.rollout.model_copy(update={"rollback_to": SECOND})})
    assert world.ask_for(FIRST)
    settle(world)
    assert (champion(world), switches(world)) == (SECOND, [])


@pytest.mark.parametrize("version", ["movies-000099", THIRD])
def test_a_version_that_never_served_or_is_not_there_is_refused_by_the_replica(world: World, version: str):
    world.rows_per_second = 10
    world.run_until(lambda w: THIRD in w.rollouts and w.rollouts[THIRD].status.weight == 5, passes=600)
    assert not world.ask_for(version)


def test_the_operator_does_not_believe_a_replica_that_says_yes_to_anything(world: World):
    for version in ("movies-000099", "nonsense"):
        asked = SwitchAsk(id="0" * 8, version=version, instead_of=SECOND, by="key:mallory", age_seconds=0)
        world.replicas[0].asked = (world.now, asked)
        settle(world)
        assert (champion(world), switches(world)) == (SECOND, [])


def test_a_version_whose_bytes_were_sent_back_is_not_kept_loaded(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(quarantine, "of", lambda _observed, digest: digest == world.cards[FIRST].digest or None)
    assert [arm.version for arm in shares.arms(world.observe())] == [SECOND]


def test_a_version_that_a_replica_cannot_map_leaves_users_where_they_are(world: World):
    assert world.ask_for(FIRST)
    world.refuses_to_load.add(FIRST)
    for replica in world.replicas:
        replica.loaded.pop(FIRST)
    settle(world)
    assert champion(world) == SECOND
    assert [str(world.rollouts[name].status.phase) for name in switches(world)] == ["RolledBack"]


def test_a_twin_whose_asks_never_end_undoes_a_newer_version_and_is_caught(world: World, monkeypatch: pytest.MonkeyPatch):
    def never(observed: Observed, asked: SwitchAsk) -> bool:
        return any(walk.name == wishes.switch_name(asked) and not walk.status.phase.ended for walk in observed.rollouts)

    monkeypatch.setattr(wishes, "_is_over", never)
    with pytest.raises(AssertionError):
        test_it_does_not_pin_a_newer_version_takes_over_and_stays(world)


def test_what_somebody_undid_by_rolling_back_stays_undone(world: World):
    assert world.ask_for(FIRST)
    world.run_until(lambda w: champion(w) == FIRST)
    world.spec = world.spec.model_copy(update={"rollout": world.spec.rollout.model_copy(update={"rollback_to": SECOND})})
    world.run_until(lambda w: champion(w) == SECOND)
    world.spec = world.spec.model_copy(update={"rollout": world.spec.rollout.model_copy(update={"rollback_to": None})})
    settle(world)
    assert (champion(world), len(switches(world))) == (SECOND, 1)


def test_a_twin_that_believes_any_replica_is_caught(world: World, monkeypatch: pytest.MonkeyPatch):
    world.worse_offline.add(THIRD)
    world.rows_per_second = 10
    world.run_until(lambda w: THIRD in w.versions and str(w.versions[THIRD].status.phase) == "Rejected")
    asked = SwitchAsk(id="0" * 8, version=THIRD, instead_of=SECOND, by="key:mallory", age_seconds=0)
    world.replicas[0].asked = (world.now, asked)
    settle(world, passes=5)
    assert switches(world) == []
    monkeypatch.setattr(rollback, "refusal", lambda _observed: None)
    with pytest.raises(AssertionError, match="I3"):
        settle(world)
