"""Stories of tests with several arms: who leaves, who wins, and what is refused before it begins."""

import copy
import random

import pytest

from recsys_operator.state.observed import RolloutState
from recsys_schemas.serving_record import Arm
from recsys_schemas.v1alpha1.rollout import Control
from worlds.looks import champion, settle
from worlds.simulated import World, spec

FIRST, A, B, C = (f"movies-00000{number}" for number in range(1, 5))
TEST = {
    "analysis": {"minimumSeconds": 5, "minimumRequests": 20, "attributionSeconds": 1},
    "onFailure": {"cooldownSeconds": 30},
    "strategy": "ABTest",
    "progressDeadlineSeconds": 300,
    "arms": [{"version": B}, {"version": C}],
}


@pytest.fixture(scope="module")
def ready() -> World:
    """One version serves; three more are made one after another, for the first one's test waits for the two that it names."""
    made = World(chance=random.Random(7), spec=spec(rollout=TEST))
    made.run_until(lambda w: A in w.rollouts)
    return made


def of(ready: World) -> World:
    return copy.deepcopy(ready)


def phase(world: World) -> str:
    return str(world.rollouts[A].status.phase)


def phases(world: World) -> dict[str, str]:
    return {name: str(version.status.phase) for name, version in world.versions.items()}


def told(world: World) -> list[tuple[str, str]]:
    return [(each.verdict, each.words) for each in world.rollouts[A].status.decisions]


def served(world: World) -> dict[str, int]:
    assert world.app is not None
    return {arm.version: arm.share for arm in world.app.record.arms}


def walking(world: World) -> None:
    world.run_until(lambda w: w.rollouts[A].status.step_since is not None)


def test_the_test_begins_when_all_whom_it_names_are_made_and_each_has_an_equal_share(ready: World):
    world = of(ready)
    begun = world.rollouts[A].spec
    assert [(arm.name, arm.weight) for arm in begun.arms] == [(B, 25), (C, 25)]
    assert {B, C} <= set(world.versions)
    walking(world)
    assert served(world) == {FIRST: 25, A: 25, B: 25, C: 25}
    assert phases(world) | {A: "Candidate", B: "Candidate", C: "Candidate"} == phases(world)
    assert [(arm.version, arm.weight) for arm in world.status.arms] == [(B, 25), (C, 25)]


def test_a_harmful_arm_leaves_at_once_the_better_one_wins_and_the_equal_one_is_retired(ready: World):
    world = of(ready)
    world.error_rate[B], world.reward_rate[C] = 0.4, 0.5
    walking(world)
    world.run_until(lambda w: w.rollouts[A].status.left)
    settle(world, 3)
    assert served(world) == {FIRST: 50, A: 25, B: 0, C: 25}
    assert world.status.quarantined[-1].version == B
    world.run_until(lambda w: champion(w) == C, passes=500)
    settle(world, 3)
    assert served(world) == {C: 100}
    assert phases(world) | {FIRST: "Retired", A: "Retired", B: "RolledBack", C: "Champion"} == phases(world)
    verdicts = [verdict for verdict, _ in told(world)]
    assert verdicts == ["Began", "Advanced", "Left", "Promoted"]
    assert f"harm is shown of {B}: " in told(world)[2][1]
    assert told(world)[3][1].startswith(f"{C} earns the most: ")
    assert world.status.history[0].version == C


def test_the_candidate_too_may_leave_and_the_others_go_on(ready: World):
    world = of(ready)
    world.error_rate[A], world.reward_rate[B] = 0.4, 0.5
    world.run_until(lambda w: champion(w) == B, passes=500)
    settle(world, 3)
    assert phases(world) | {A: "RolledBack", B: "Champion", C: "Retired"} == phases(world)


def test_when_all_are_harmful_the_stable_one_stays_and_all_digests_are_quarantined(ready: World):
    world = of(ready)
    world.error_rate = dict.fromkeys((A, B, C), 0.4)
    world.run_until(lambda w: phase(w) == "RolledBack")
    settle(world, 3)
    assert champion(world) == FIRST
    assert {each.version for each in world.status.quarantined} == {A, B, C}
    assert phases(world) | dict.fromkeys((A, B, C), "RolledBack") == phases(world)


def test_equal_versions_run_to_the_deadline_and_the_stable_one_stays(ready: World):
    world = of(ready)
    world.run_until(lambda w: phase(w) == "Inconclusive", passes=600)
    settle(world, 3)
    assert champion(world) == FIRST
    assert not world.status.quarantined
    assert phases(world) | dict.fromkeys((A, B, C), "Retired") == phases(world)


def test_of_two_better_ones_the_one_that_earns_more_wins(ready: World):
    world = of(ready)
    world.reward_rate |= {B: 0.42, C: 0.6}
    world.run_until(lambda w: phase(w) == "Successful", passes=600)
    assert champion(world) == C


def test_an_arm_that_no_replica_can_map_leaves_before_the_test_and_the_others_go_on(ready: World):
    world = of(ready)
    world.refuses_to_load.add(B)
    world.run_until(lambda w: w.rollouts[A].status.left)
    world.run_until(lambda w: w.rollouts[A].status.step_since is not None)
    assert served(world) == {FIRST: 50, A: 25, B: 0, C: 25}
    assert "a replica refused movies-000003" in dict(told(world))["Left"]


def test_a_person_may_take_any_arm_that_is_still_in_the_test_and_none_that_left(ready: World):
    world = of(ready)
    world.error_rate[B] = 0.4
    world.run_until(lambda w: w.rollouts[A].status.left)
    walking(world)
    ask(world, promote="Full", arm=B)
    settle(world, 5)
    assert champion(world) == FIRST
    ask(world, promote="Full", arm=C, reason="cheaper")
    world.run_until(lambda w: champion(w) == C)
    assert world.rollouts[A].status.decisions[-1].by == "anna"


def ask(world: World, **control: object) -> None:
    walk = world.rollouts[A]
    asked = Control.model_validate({"requestedBy": "anna"} | control)
    world.rollouts[A] = RolloutState(name=A, spec=walk.spec.model_copy(update={"control": asked}), status=walk.status)


def test_the_winner_is_sent_back_while_the_way_back_is_armed_and_not_the_candidate():
    world = World(chance=random.Random(7), spec=spec(rollout=TEST | {"holdSeconds": 60}))
    world.reward_rate[C] = 0.5
    world.run_until(lambda w: A in w.rollouts and phase(w) == "Holding", passes=900)
    assert champion(world) == C
    world.error_rate[C] = 0.4
    world.run_until(lambda w: phase(w) == "RolledBack")
    settle(world, 3)
    assert champion(world) == FIRST
    assert [each.version for each in world.status.quarantined] == [C]
    assert phases(world) | {A: "Retired", C: "RolledBack"} == phases(world)


def test_with_stated_weights_each_arm_has_its_own():
    arms = {"arms": [{"version": B, "weight": 5}, {"version": C}], "steps": [{"setWeight": 10}]}
    world = World(chance=random.Random(7), spec=spec(rollout=TEST | arms))
    world.run_until(lambda w: A in w.rollouts)
    walking(world)
    assert served(world) == {FIRST: 75, A: 10, B: 5, C: 10}


def stalled(world: World) -> str:
    return next(each.message for each in world.status.conditions if each.type == "Stalled" and each.status == "True")


def test_an_arm_that_is_gone_holds_the_test_and_the_condition_says_how_to_mend_it():
    world = World(chance=random.Random(7), spec=spec(rollout=TEST | {"arms": [{"version": "films-000009"}]}))
    world.run_until(lambda w: any(each.reason == "ArmUnavailable" for each in w.status.conditions))
    assert A not in world.rollouts
    assert "spec.rollout.arms: films-000009 has no object any more" in stalled(world)
    assert "name another version, or remove it" in stalled(world)
    world.spec = world.spec.model_copy(update={"rollout": world.spec.rollout.model_copy(update={"arms": []})})
    world.run_until(lambda w: A in w.rollouts)
    assert world.rollouts[A].spec.arms == []


def test_an_arm_whose_digest_was_sent_back_is_not_tried_again():
    world = World(chance=random.Random(7), spec=spec(rollout=TEST | {"strategy": "Canary", "arms": []}))
    world.error_rate[A] = 0.5
    world.run_until(lambda w: A in w.rollouts and phase(w) == "RolledBack")
    told = {"strategy": "ABTest", "arms": [{"version": A}]}
    rollout = world.spec.rollout.model_dump(by_alias=True, mode="json", exclude_none=True) | told
    world.spec = world.spec.model_copy(update={"rollout": type(world.spec.rollout).model_validate(rollout)})
    world.run_until(lambda w: any(each.reason == "ArmUnavailable" for each in w.status.conditions), passes=600)
    assert f"{A} has the digest of {A}, which was sent back" in stalled(world)
    assert B not in world.rollouts


def test_a_test_that_another_version_won_is_kept_while_that_version_is(ready: World):
    world = of(ready)
    world.spec = world.spec.model_copy(update={"revision_history_limit": 0})
    world.reward_rate[C] = 0.6
    world.run_until(lambda w: champion(w) == C, passes=500)
    settle(world, 60)
    assert champion(world) == C, "the rollout that says so goes with its candidate"


def test_no_user_moves_from_one_arm_that_is_compared_to_another(ready: World):
    world = of(ready)
    world.error_rate[B] = 0.4
    walking(world)
    assert world.app is not None
    before = world.app.record.arms
    world.run_until(lambda w: w.rollouts[A].status.left)
    settle(world, 3)
    after = world.app.record.arms
    assert places(before, A) == places(after, A)
    assert places(before, C) == places(after, C)


def places(arms: list[Arm], version: str) -> set[int]:
    """Users who get a version, by the very split of the replicas."""
    from ray_apps.serving.assignment import assigned, split_of  # noqa: PLC0415

    split = split_of("salt", arms)
    return {user for user in range(400) if assigned(split, str(user)) == version}


def test_versions_that_took_part_get_no_test_of_their_own_after_it(ready: World):
    world = of(ready)
    world.run_until(lambda w: phase(w) == "Inconclusive", passes=600)
    world.run_until(lambda w: len(w.rollouts) > 2, passes=600)
    assert not {B, C} & {walk.spec.candidate.name for walk in world.rollouts.values()}
    settle(world, 2)
    assert phases(world) | {B: "Candidate", C: "Candidate"} == phases(world), "they take part in the next test, as named"
