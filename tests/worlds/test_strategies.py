"""Stories of the ways in which a version may replace another, and of the people who steer it."""

import copy
import random
from datetime import timedelta

import pytest

from recsys_operator.state.observed import RolloutState
from recsys_schemas.v1alpha1.rollout import Control
from worlds.looks import champion, settle
from worlds.simulated import World, spec

FIRST, SECOND, THIRD = "movies-000001", "movies-000002", "movies-000003"
BASE = {"analysis": {"minimumSeconds": 5, "minimumRequests": 20, "attributionSeconds": 1}, "onFailure": {"cooldownSeconds": 30}}


def phase(world: World, name: str = SECOND) -> str:
    return str(world.rollouts[name].status.phase) if name in world.rollouts else ""


def ask(world: World, name: str = SECOND, **control: object) -> None:
    """What a person patches into a rollout's control."""
    walk = world.rollouts[name]
    asked = Control.model_validate({"requestedBy": "anna"} | control)
    world.rollouts[name] = RolloutState(name=name, spec=walk.spec.model_copy(update={"control": asked}), status=walk.status)


def edit(world: World, **changes: object) -> None:
    """What a person applies to the model's rollout."""
    told = world.spec.rollout.model_dump(by_alias=True, mode="json", exclude_none=True) | changes
    world.spec = world.spec.model_copy(update={"rollout": type(world.spec.rollout).model_validate(told)})


@pytest.fixture(scope="module")
def served() -> World:
    """A world in which the first version serves and the second is about to begin."""
    made = World(chance=random.Random(7), spec=spec(rollout=BASE))
    made.run_until(lambda w: champion(w) == FIRST and w.status.phase == "Serving")
    return made


def by(served: World, strategy: str, **changes: object) -> World:
    world = copy.deepcopy(served)
    edit(world, strategy=strategy, **changes)
    return world


def walked(world: World, name: str = SECOND) -> list[int]:
    return [share for version, share in world.share_history if version == name]


def test_blue_green_is_tried_in_the_shadow_and_then_gets_all_users_at_once(served: World):
    world = by(served, "BlueGreen", steps=[{"shadow": {"seconds": 5, "minRequests": 50}}])
    world.run_until(lambda w: champion(w) == SECOND)
    settle(world, 2)
    assert walked(world)[:2] == [0, 100]
    told = world.rollouts[SECOND].status.decisions[-1].words
    assert "in the shadow errors 0/" in told
    assert "overlap 0.6000, rank correlation 0.5000, predicted reward 1.0000" in told


def test_blue_green_waits_for_a_person_who_may_look_at_it_first(served: World):
    world = by(served, "BlueGreen", steps=[{"pause": {"approval": True}}])
    world.run_until(lambda w: phase(w) == "Paused")
    settle(world, 30)
    assert champion(world) == FIRST
    assert world.rollouts[SECOND].status.paused == "Approval"
    told = next(c for c in world.status.conditions if c.type == "RolloutPaused")
    assert (told.status, told.reason) == ("True", "AwaitingApproval")
    ask(world, promote="Next", step=0, reason="looks good")
    world.run_until(lambda w: champion(w) == SECOND)
    assert world.rollouts[SECOND].status.decisions[-1].by == "anna"
    assert "asked by control.promote (anna: looks good)" in world.rollouts[SECOND].status.decisions[-1].words


def test_a_version_that_fails_in_the_shadow_is_sent_back_before_any_user_saw_it(served: World):
    world = by(served, "BlueGreen")
    world.error_rate[SECOND] = 0.3
    world.run_until(lambda w: phase(w) == "RolledBack")
    assert set(walked(world)) <= {0}
    assert "harm is shown: in the shadow errors" in world.rollouts[SECOND].status.message


def test_a_version_whose_lists_are_others_than_allowed_is_sent_back(served: World):
    world = by(served, "BlueGreen", steps=[{"shadow": {"seconds": 5, "minOverlap": 0.3}}])
    world.likeness[SECOND] = 0.05
    world.run_until(lambda w: phase(w) == "RolledBack")
    assert set(walked(world)) <= {0}


def test_a_shadow_proves_nothing_by_itself_and_a_person_decides(served: World):
    world = by(served, "Shadow", progressDeadlineSeconds=120)
    world.run_until(lambda w: w.rollouts.get(SECOND) is not None and w.rollouts[SECOND].status.paused == "Approval", passes=300)
    kept = world.rollouts[SECOND].status.evidence.shadow
    assert kept is not None
    assert kept.scored >= 200
    world.run_until(lambda w: phase(w) == "Inconclusive", passes=300)
    assert champion(world) == FIRST
    assert set(walked(world)) <= {0}
    assert str(world.versions[SECOND].status.phase) in ("Retired", "Candidate")


def test_a_canary_may_begin_in_the_shadow(served: World):
    world = by(served, "Canary", steps=[{"shadow": {"seconds": 5, "minRequests": 50}}, {"setWeight": 20}])
    world.run_until(lambda w: champion(w) == SECOND)
    settle(world, 2)
    assert walked(world)[:3] == [0, 20, 100]


@pytest.mark.parametrize(("rate", "ends"), [(0.5, "Successful"), (0.12, "RolledBack"), (0.3, "Inconclusive")])
def test_an_a_b_test_ends_by_what_is_shown_or_inconclusive_at_its_deadline(served: World, rate: float, ends: str):
    world = by(served, "ABTest", progressDeadlineSeconds=300)
    world.reward_rate[SECOND] = rate
    world.run_until(lambda w: phase(w) == ends, passes=500)
    assert champion(world) == (SECOND if ends == "Successful" else FIRST)
    assert set(walked(world)) <= {0, 50, 100}


@pytest.mark.parametrize(("rate", "ends"), [(0.5, "Successful"), (0.12, "RolledBack"), (0.3, "Inconclusive")])
def test_interleaving_ends_by_whose_items_users_click(served: World, rate: float, ends: str):
    world = by(served, "Interleave", progressDeadlineSeconds=240)
    world.reward_rate[SECOND] = rate
    world.run_until(lambda w: phase(w) == ends, passes=400)
    assert champion(world) == (SECOND if ends == "Successful" else FIRST)
    counted = world.rollouts[SECOND].status.evidence.preference
    assert counted is not None
    assert counted.wins + counted.losses >= 50
    assert "of the mixed lists with a preference" in world.rollouts[SECOND].status.decisions[-1].words


def test_approval_in_the_middle_of_a_walk_leaves_the_share_where_it_is(served: World):
    world = by(served, "Canary", steps=[{"setWeight": 10}, {"pause": {"approval": True}}, {"setWeight": 50}])
    world.run_until(lambda w: w.rollouts.get(SECOND) is not None and w.rollouts[SECOND].status.paused == "Approval")
    settle(world)
    assert world.rollouts[SECOND].status.weight == 10
    ask(world, promote="Next", step=0)
    settle(world)
    assert world.rollouts[SECOND].status.weight == 10, "that step was left long ago: asking twice skips nothing"
    ask(world, promote="Next", step=1)
    world.run_until(lambda w: champion(w) == SECOND)


def test_while_a_window_is_open_no_share_grows_and_harm_is_sent_back_all_the_same(served: World):
    world = copy.deepcopy(served)
    world.run_until(lambda w: SECOND in w.rollouts and w.rollouts[SECOND].status.weight == 5)
    day = world.now.date().isoformat()
    edit(world, freezeWindows=[{"firstDate": day, "lastDate": day, "reason": "sale"}])
    settle(world)
    assert world.rollouts[SECOND].status.weight == 5
    assert world.rollouts[SECOND].status.paused == "Frozen"
    assert "sale" in world.rollouts[SECOND].status.message
    ask(world, promote="Full")
    settle(world, 5)
    assert champion(world) == FIRST, "a person promotes by lifting the window"
    world.error_rate[SECOND] = 0.5
    world.run_until(lambda w: phase(w) == "RolledBack")


def test_a_window_that_closes_lets_the_walk_go_on(served: World):
    world = copy.deepcopy(served)
    ends = (world.now + timedelta(seconds=300)).strftime("%H:%M")
    edit(world, freezeWindows=[{"from": "00:00", "to": ends}])
    world.run_until(lambda w: champion(w) == SECOND, passes=900)


def test_editing_the_model_does_not_change_the_rollout_under_way(served: World):
    world = copy.deepcopy(served)
    world.run_until(lambda w: SECOND in w.rollouts and w.rollouts[SECOND].status.weight == 5)
    edit(world, strategy="BlueGreen", steps=[], holdback=20, holdSeconds=600)
    world.run_until(lambda w: champion(w) == SECOND)
    settle(world, 2)
    assert walked(world)[:5] == [0, 5, 25, 50, 100]
    assert phase(world) == "Successful"


def test_after_the_promotion_the_way_back_stays_armed(served: World):
    world = by(served, "BlueGreen", holdSeconds=60)
    world.run_until(lambda w: phase(w) == "Holding")
    assert champion(world) == SECOND
    assert world.app is not None
    assert [(arm.version, arm.share) for arm in world.app.record.arms] == [(SECOND, 100), (FIRST, 0)], "the old one is kept warm"
    settle(world, 5)
    world.error_rate[SECOND] = 0.4
    world.run_until(lambda w: phase(w) == "RolledBack")
    settle(world, 2)
    assert champion(world) == FIRST
    assert phases(world) == {FIRST: "Champion", SECOND: "RolledBack"}


def phases(world: World) -> dict[str, str]:
    return {name: str(version.status.phase) for name, version in world.versions.items() if name in (FIRST, SECOND)}


def test_what_holds_is_confirmed_and_the_old_one_is_let_go(served: World):
    world = by(served, "BlueGreen", holdSeconds=60)
    world.run_until(lambda w: phase(w) == "Holding")
    began = world.now
    world.run_until(lambda w: phase(w) == "Successful")
    assert world.now - began >= timedelta(seconds=59)
    assert world.rollouts[SECOND].status.decisions[-1].verdict == "Confirmed"
    settle(world, 3)
    assert world.app is not None
    assert [arm.version for arm in world.app.record.arms if arm.share == 100] == [SECOND]


def test_some_users_stay_on_the_version_before_and_it_goes_on_being_compared(served: World):
    world = by(served, "Canary", holdback=10, holdSeconds=60)
    world.run_until(lambda w: phase(w) == "Holding")
    assert world.app is not None
    assert {(arm.version, str(arm.variant), arm.share) for arm in world.app.record.arms} == {
        (SECOND, "stable", 90),
        (FIRST, "holdback", 10),
    }
    world.reward_rate[SECOND] = 0.05
    world.run_until(lambda w: phase(w) == "RolledBack", passes=300)
    assert "reward" in world.rollouts[SECOND].status.message


def test_who_is_held_back_stays_so_while_the_next_version_walks(served: World):
    world = by(served, "Canary", holdback=10)
    world.run_until(lambda w: champion(w) == SECOND)
    world.run_until(lambda w: THIRD in w.rollouts and w.rollouts[THIRD].status.weight == 25, passes=600)
    settle(world, 2)
    assert world.app is not None
    assert {arm.version: arm.share for arm in world.app.record.arms} == {SECOND: 65, FIRST: 10, THIRD: 25}
    world.run_until(lambda w: champion(w) == THIRD, passes=600)
    settle(world, 2)
    assert {arm.version: arm.share for arm in world.app.record.arms} == {THIRD: 90, SECOND: 10}


def test_a_newer_version_supersedes_one_that_walks_when_it_may(served: World):
    world = by(served, "Canary", newerVersion="Supersede", steps=[{"setWeight": 5}, {"pause": {"approval": True}}])
    world.run_until(lambda w: phase(w) == "Superseded", passes=600)
    assert champion(world) == FIRST
    assert f"superseded by {THIRD}" in world.rollouts[SECOND].status.message
    world.run_until(lambda w: THIRD in w.rollouts)
    assert world.status.history[0].outcome == "Superseded"


def test_a_digest_that_failed_is_let_in_again_when_its_quarantine_is_over(served: World):
    world = by(served, "Canary", onFailure={"cooldownSeconds": 1, "quarantineSeconds": 200})
    world.error_rate[SECOND] = 0.5
    world.run_until(lambda w: phase(w) == "RolledBack")
    ended = world.now
    digest = world.cards[SECOND].digest
    world.same_digest = digest
    world.run_until(lambda w: str(w.versions.get(THIRD) and w.versions[THIRD].status.phase) == "Rejected", passes=600)
    assert (world.now - ended).total_seconds() < 200
    world.run_until(lambda w: any(name > THIRD and walk.spec.candidate.digest == digest for name, walk in w.rollouts.items()), passes=900)
    assert (world.now - ended).total_seconds() >= 200
