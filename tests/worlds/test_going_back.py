"""Stories of going back to a version that served before, and of what is kept so that one can."""

import copy
import random

import pytest

from recsys_operator.plan import rollback, shares
from recsys_operator.state.actions import SubmitJob
from recsys_schemas.train_job import PreflightJob, UpkeepJob
from recsys_schemas.v1alpha1.model import ModelSpec
from worlds.looks import champion, settle
from worlds.simulated import World, spec

FIRST, SECOND, THIRD = "movies-000001", "movies-000002", "movies-000003"


def asking(before: ModelSpec, version: str | None) -> ModelSpec:
    return before.model_copy(update={"rollout": before.rollout.model_copy(update={"rollback_to": version})})


def condition(world: World, kind: str) -> tuple[str, str]:
    return next((c.reason, c.message) for c in world.status.conditions if c.type == kind)


@pytest.fixture(scope="module")
def began() -> World:
    """A world in which the second version has replaced the first."""
    made = World(chance=random.Random(7))
    made.run_until(lambda w: champion(w) == SECOND and w.status.phase == "Serving")
    return made


@pytest.fixture
def world(began: World) -> World:
    """The same, for one story."""
    return copy.deepcopy(began)


def go_back(world: World, version: str | None = FIRST) -> None:
    world.spec = asking(world.spec, version)


def test_a_version_that_served_before_is_tried_again_and_gets_all_users_at_once(world: World):
    go_back(world)
    before = len(world.share_history)
    world.run_until(lambda w: champion(w) == FIRST)
    world.step()
    walked = [share for name, share in world.share_history[before:] if name == FIRST]
    assert walked == [0, 100]
    trials = [action.job for action in world.submitted.values() if isinstance(action.job, PreflightJob) and action.job.run]
    assert [trial.version for trial in trials] == [FIRST]
    assert (world.status.history[0].version, world.status.history[0].outcome) == (FIRST, "ReturnedTo")
    assert "spec.rollout.rollbackTo" in world.status.history[0].message
    assert str(world.versions[FIRST].status.phase) == "Champion"


def test_while_it_is_pinned_candidates_wait_and_then_they_go_on(world: World):
    go_back(world)
    world.run_until(lambda w: champion(w) == FIRST)
    world.run_until(lambda w: str(w.versions.get(THIRD) and w.versions[THIRD].status.phase) == "Candidate")
    settle(world)
    assert THIRD not in world.rollouts
    assert condition(world, "Progressing")[0] == "Pinned"
    go_back(world, None)
    world.run_until(lambda w: champion(w) == THIRD, passes=600)


def test_a_canary_under_way_is_ended_first(world: World):
    world.run_until(lambda w: THIRD in w.rollouts and w.rollouts[THIRD].status.weight == 25, passes=600)
    go_back(world)
    world.run_until(lambda w: champion(w) == FIRST)
    assert str(world.rollouts[THIRD].status.phase) == "Aborted"
    assert "rollbackTo: movies-000001" in world.rollouts[THIRD].status.decisions[-1].words


def test_pinning_what_serves_ends_a_canary_and_changes_nothing_else(world: World):
    world.run_until(lambda w: THIRD in w.rollouts and w.rollouts[THIRD].status.weight == 5, passes=600)
    go_back(world, SECOND)
    world.run_until(lambda w: str(w.rollouts[THIRD].status.phase) == "Aborted")
    settle(world)
    assert champion(world) == SECOND
    assert not [name for name in world.rollouts if "again" in name]


def test_back_and_forth_are_rollouts_of_their_own(world: World):
    go_back(world)
    world.run_until(lambda w: champion(w) == FIRST)
    go_back(world, SECOND)
    world.run_until(lambda w: champion(w) == SECOND)
    go_back(world)
    world.run_until(lambda w: champion(w) == FIRST)
    assert [name for name in world.rollouts if "again" in name] == [f"{FIRST}-again-1", f"{SECOND}-again-1", f"{FIRST}-again-2"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [("movies-000099", "has no object any more"), ("nonsense", "has no object any more"), (THIRD, "has never served")],
)
def test_what_cannot_be_gone_back_to_is_refused_with_what_can(world: World, asked: str, words: str):
    world.worse_offline.add(THIRD)
    world.run_until(lambda w: THIRD in w.versions)
    world.rows_per_second = 0
    go_back(world, asked)
    settle(world)
    reason, message = condition(world, "Progressing")
    assert (reason, words in message) == ("RollbackRefused", True), message
    assert f"name one of {FIRST}, {SECOND}" in message
    assert condition(world, "Stalled")[0] == "ActionNeeded"
    assert champion(world) == SECOND
    assert world.status.phase in ("Serving", "Training", "Preflight", "Canary")


def test_a_version_whose_files_are_gone_is_refused_until_they_are_back(world: World):
    card = world.cards.pop(FIRST)
    go_back(world)
    settle(world)
    assert "its card is gone from" in condition(world, "Progressing")[1]
    assert champion(world) == SECOND
    world.cards[FIRST] = card
    world.run_until(lambda w: champion(w) == FIRST)


def test_a_version_whose_files_were_exchanged_does_not_pass_its_trial(world: World):
    world.exchanged.add(FIRST)
    go_back(world)
    settle(world)
    reason, message = condition(world, "Progressing")
    assert (reason, "its files hash to sha256:other" in message) == ("RollbackRefused", True)
    assert champion(world) == SECOND
    world.exchanged.clear()
    world.run_until(lambda w: champion(w) == FIRST, passes=900)


def test_a_version_whose_card_was_exchanged_is_refused(world: World):
    world.cards[FIRST] = world.cards[FIRST].model_copy(update={"digest": "sha256:other"})
    go_back(world)
    settle(world)
    assert "it was exchanged" in condition(world, "Progressing")[1]


def test_a_version_that_a_replica_cannot_map_leaves_users_where_they_are(world: World):
    world.refuses_to_load.add(FIRST)
    go_back(world)
    world.run_until(lambda w: f"{FIRST}-again-1" in w.rollouts and str(w.rollouts[f"{FIRST}-again-1"].status.phase) == "RolledBack")
    assert champion(world) == SECOND


def test_going_back_waits_for_the_store_and_the_cluster(world: World):
    world.unreachable.add("store")
    go_back(world)
    settle(world)
    assert condition(world, "Progressing")[0] == "RollbackWaits"
    world.unreachable.clear()
    world.run_until(lambda w: champion(w) == FIRST)


@pytest.mark.parametrize("seed", range(6))
def test_an_operator_that_dies_between_any_two_actions_still_goes_back_once(world: World, seed: int):
    world.chance = random.Random(seed)
    go_back(world)
    for _ in range(200):
        world.step(survive=world.chance.choice([0, 1, 2, None]))
        world.tick()
        if champion(world) == FIRST:
            break
    settle(world)
    assert champion(world) == FIRST
    assert [name for name in world.rollouts if "again" in name] == [f"{FIRST}-again-1"]


def test_files_of_versions_beyond_the_limit_go_and_what_is_needed_stays():
    world = World(chance=random.Random(7), spec=spec(revisionHistoryLimit=1))
    world.run_until(lambda w: champion(w) == "movies-000004", passes=1500)
    removed = 0
    for _ in range(600):
        world.step()
        world.tick(300)
        removed += world.report.versions_removed if world.report else 0
        if removed:
            break
    observed = world.observe()
    assert FIRST not in world.cards
    assert shares.retained(observed) <= set(world.cards)
    jobs = [action.job for action in world.submitted.values() if isinstance(action.job, UpkeepJob)]
    assert all(job.keep_versions for job in jobs[1:])


def test_the_version_before_the_champion_stays_however_many_fail_after_it():
    world = World(chance=random.Random(7), spec=spec(revisionHistoryLimit=1), worse_offline={THIRD, "movies-000004", "movies-000005"})
    world.run_until(lambda w: champion(w) == SECOND)
    world.run_until(lambda w: "movies-000006" in w.versions, passes=1500)
    assert FIRST in world.versions
    go_back(world)
    world.run_until(lambda w: champion(w) == FIRST, passes=900)


def test_a_twin_that_goes_back_without_a_trial_is_caught(world: World, monkeypatch: pytest.MonkeyPatch):
    def ready(observed: object, version: object) -> rollback.Rollback:
        del observed, version
        return rollback.Rollback.READY

    monkeypatch.setattr(rollback, "_judge_trial", ready)
    world.exchanged.add(FIRST)
    world.preflights[FIRST] = world.preflights[FIRST].model_copy(update={"digest": "sha256:other"})
    go_back(world)
    with pytest.raises(AssertionError, match="I3: an arm whose files are others"):
        settle(world)


def test_asking_for_nothing_does_nothing(world: World):
    assert rollback.judge(world.observe()) is rollback.Rollback.NOT_ASKED
    assert not [a for a in world.step().actions if isinstance(a, SubmitJob) and isinstance(a.job, PreflightJob) and a.job.run]
