"""Triggers: each fires once for one cause, whatever dies in between; and nothing is trained when nothing is due."""

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_operator.plan import due, plan, triggers
from recsys_operator.plan.shares import champion
from recsys_operator.state.actions import CreateVersion
from recsys_operator.state.observed import Observed, VersionState
from recsys_schemas.v1alpha1.version import Cause
from worlds.simulated import World, spec

NEVER = 10**9
FAST = {"analysis": {"minimumSeconds": 1, "minimumRequests": 20, "attributionSeconds": 1}, "onFailure": {"cooldownSeconds": 1}}


def world_with(*listed: dict[str, object], seed: int = 7, **training: object) -> World:
    asked = {"initialRecords": 100, "cooldownSeconds": 1, "backoffLimit": 2, "triggers": list(listed)} | training
    return World(chance=random.Random(seed), spec=spec(training=asked, rollout=FAST))


def first_serves(world: World) -> World:
    world.run_until(lambda w: champion(w.observe()) is not None and w.status.phase == "Serving")
    return world


def go_on(world: World, seconds: float, step: float = 5.0) -> None:
    end = world.now + timedelta(seconds=seconds)
    while world.now < end:
        world.step()
        world.tick(step)


def at_rest(world: World) -> World:
    """Nothing comes in, and nothing has since the newest version's snapshot."""
    world.rows_per_second, world.rows = 0, world.versions[max(world.versions)].spec.snapshot.rows
    return world


def causes(world: World) -> list[str]:
    return [str(version.spec.cause.trigger) for version in world.versions.values()]


NIGHTLY: dict[str, object] = {"type": "Schedule", "cron": "0 3 * * *", "timeZone": "Europe/Paris"}
DRIFT: dict[str, object] = {"type": "Drift", "metric": "psi", "above": 0.2}


def rate(below: float, seconds: int = 60) -> dict[str, object]:
    return {"type": "Quality", "metric": "rewardRate", "below": below, "forSeconds": seconds, "minimumSamples": 100}


def test_a_schedule_fires_once_at_its_time_on_its_own_clock():
    world = first_serves(world_with(NIGHTLY))
    world.tick(3600 * 1.8)
    go_on(world, 300, step=30)
    assert causes(world) == ["Initial"], "it is not yet three in Paris, two in UTC"
    go_on(world, 3600, step=30)
    assert causes(world) == ["Initial", "Schedule"]
    cause = world.versions["movies-000002"].spec.cause
    assert cause.detail == "0 3 * * * (Europe/Paris) was due at 2026-01-01T02:00:00Z, after movies-000001"
    assert cause.key == "Schedule 0 3 * * * Europe/Paris at 2026-01-01T02:00:00Z"


def test_times_that_were_missed_while_nobody_looked_fire_once():
    world = first_serves(world_with(NIGHTLY))
    world.tick(5 * 86_400)
    go_on(world, 900)
    assert causes(world) == ["Initial", "Schedule"]
    assert "2026-01-06T02:00:00Z" not in str(world.versions["movies-000002"].spec.cause.key), "it is past midnight, not past three"
    assert "2026-01-05T02:00:00Z" in str(world.versions["movies-000002"].spec.cause.key)


def test_a_schedule_that_was_added_after_its_time_waits_for_the_next():
    world = first_serves(world_with())
    world.tick(6 * 3600)
    world.spec = world_with(NIGHTLY).spec
    go_on(world, 600, step=30)
    assert causes(world) == ["Initial"]
    world.tick(24 * 3600)
    go_on(world, 600, step=30)
    assert causes(world) == ["Initial", "Schedule"]


def test_a_schedule_without_new_events_has_nothing_to_learn_from():
    world = at_rest(first_serves(world_with(NIGHTLY)))
    world.tick(86_400)
    go_on(world, 300)
    assert causes(world) == ["Initial"]
    world.rows_per_second = 10
    world.run_until(lambda w: "Schedule" in causes(w))


def test_a_reward_rate_that_stays_under_its_threshold_fires_once_for_each_span():
    world = first_serves(world_with(rate(below=0.2)))
    go_on(world, 300)
    assert causes(world) == ["Initial"], "users like 30 % of what they get"
    world.reward_rate["movies-000001"] = 0.1
    world.reward_rate["movies-000002"] = 0.3
    world.run_until(lambda w: "Quality" in causes(w), passes=900)
    cause = world.versions["movies-000002"].spec.cause
    assert cause.detail.startswith("rewardRate of movies-000001 ")
    assert cause.detail.endswith("under 0.2")
    go_on(world, 900)
    assert causes(world) == ["Initial", "Quality"], "the new champion is good"
    assert world.status.champion is not None
    assert world.status.champion.version == "movies-000002"


def test_a_span_that_was_good_again_before_a_run_could_begin_takes_the_alarm_back():
    world = first_serves(world_with(rate(below=0.2)))
    world.reward_rate["movies-000001"] = 0.1
    world.out_of_sync = True
    world.run_until(lambda w: any(each.breached for each in w.status.triggers), passes=900)
    world.reward_rate["movies-000001"] = 0.3
    world.run_until(lambda w: not any(each.breached for each in w.status.triggers), passes=900)
    world.out_of_sync = False
    go_on(world, 50, step=1)
    assert causes(world) == ["Initial"]


def test_too_few_answers_say_nothing_of_quality():
    world = first_serves(world_with(rate(below=0.9) | {"minimumSamples": 100_000}))
    world.requests_per_second = 20
    go_on(world, 3600, step=30)
    assert causes(world) == ["Initial"]


def test_a_held_out_metric_of_the_champion_under_its_threshold_fires_when_it_has_lasted():
    world = first_serves(world_with({"type": "Quality", "metric": "ndcg@10", "below": 0.5, "forSeconds": 600}))
    go_on(world, 500)
    assert causes(world) == ["Initial"]
    go_on(world, 300)
    assert causes(world)[:2] == ["Initial", "Quality"]
    assert (
        "ndcg@10 of movies-000001 0.2000 on 500, as measured by movies-000001, under 0.5"
        in world.versions["movies-000002"].spec.cause.detail
    )


def test_other_tastes_than_those_that_were_learnt_fire_drift_once():
    world = copy.deepcopy(served((DRIFT,)))
    go_on(world, 900, step=10)
    assert causes(world) == ["Initial"], "users ask for what they asked for"
    world.tastes = 16
    go_on(world, 1800, step=10)
    assert causes(world) == ["Initial", "Drift"]
    detail = world.versions["movies-000002"].spec.cause.detail
    assert detail.startswith("psi ")
    assert detail.endswith("above 0.2")


def test_never_more_runs_in_a_day_than_allowed_and_who_waits_is_told():
    world = first_serves(world_with({"type": "NewData", "records": 10}, maxRunsPerDay=5))
    world.spec = world.spec.model_copy(update={"revision_history_limit": 1})
    go_on(world, 3600, step=15)
    assert len(world.versions) == 5
    trained = next(c for c in world.status.conditions if c.type == "Trained")
    assert "5 runs began within 24 hours, at most spec.training.maxRunsPerDay 5; the next may at 2026-01-02T" in trained.message
    go_on(world, 24 * 3600, step=200)
    began = sorted(made_at(world))
    assert all(later - earlier >= timedelta(days=1) for earlier, later in zip(began, began[5:], strict=False))
    assert len(began) > 5


def made_at(world: World) -> list[datetime]:
    told = [event for event in world.events if event.reason == "TrainingDue"]
    return [world.first_seen[event.message.split()[0]] for event in told]


def test_new_records_alone_make_the_trigger_of_a_spec_without_triggers():
    world = World(chance=random.Random(7), spec=spec(training={"initialRecords": 100, "newRecords": 300, "cooldownSeconds": 1}))
    first_serves(world)
    world.run_until(lambda w: len(w.versions) > 1)
    assert causes(world) == ["Initial", "NewData"]
    assert "at least spec.training.newRecords 300" in world.versions["movies-000002"].spec.cause.detail


def test_a_time_zone_that_does_not_exist_is_told_and_stalls_the_model():
    world = first_serves(world_with({"type": "Schedule", "cron": "0 3 * * *", "timeZone": "Europe/Atlantis"}))
    world.step()
    said = {c.type: c for c in world.status.conditions}
    assert (said["TriggersArmed"].status, said["TriggersArmed"].reason) == ("False", "Unreadable")
    assert "timeZone 'Europe/Atlantis' is unknown; use a name such as Europe/Paris" in said["Stalled"].message
    assert said["Ready"].status == "True"


def test_an_empty_list_of_triggers_trains_only_for_a_changed_spec():
    world = first_serves(world_with())
    go_on(world, 3600, step=30)
    assert causes(world) == ["Initial"]
    world.spec = world.spec.model_copy(update={"model": world.spec.model.model_copy(update={"seed": 7})})
    go_on(world, 300)
    assert causes(world) == ["Initial", "SpecChanged"]


ALL: tuple[dict[str, object], ...] = (NIGHTLY, DRIFT, rate(below=0.2), {"type": "NewData", "records": 5000})
FAULTS = st.sampled_from(["none", "crash", "crash", "kafka", "ray", "store", "restart_ray", "bad", "drift", "long"])


KNOWN: dict[str, World] = {}


def served(listed: tuple[dict[str, object], ...]) -> World:
    """A world in which the first version serves and upkeep has run; made once."""
    key = repr(listed)
    if key not in KNOWN:
        world = first_serves(world_with(*listed))
        world.rows += 2000
        world.run_until(lambda w: w.report is not None)
        KNOWN[key] = world
    return KNOWN[key]


def disturb(world: World, fault: str) -> None:
    world.unreachable.clear()
    match fault:
        case "kafka" | "ray" | "store":
            world.unreachable.add(fault)
        case "restart_ray":
            world.restart_ray()
        case "bad":
            world.reward_rate.update(dict.fromkeys(world.versions, 0.1))
        case "drift":
            world.tastes = (world.tastes + 11) % 64
        case "long":
            world.tick(7 * 3600)
        case _:
            pass


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(FAULTS, st.integers(0, 5)), max_size=30), st.integers(0, 2**16))
def test_whatever_happens_each_cause_makes_one_version_and_no_day_has_too_many(history: list[tuple[str, int]], seed: int):
    world = world_with(*ALL, seed=seed, maxRunsPerDay=4)
    for fault, survive in history:
        disturb(world, fault)
        for _ in range(4):
            world.step(survive=survive if fault == "crash" else None)
            world.tick(20.0)
        no_cause_twice(world)


def no_cause_twice(world: World) -> None:
    keys = list(world.causes.values())
    assert len(set(keys)) == len(keys), f"a cause made two versions: {keys}"
    began = sorted(world.first_seen.values())
    assert all(later - earlier >= timedelta(days=1) for earlier, later in zip(began, began[4:], strict=False)), "too many in a day"


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["none", "crash", "kafka", "ray", "store", "restart_ray", "bad", "long"]), st.integers(0, 5)), max_size=30
    )
)
def test_nothing_is_trained_while_there_is_nothing_new_whatever_else_happens(history: list[tuple[str, int]]):
    world = at_rest(copy.deepcopy(served(ALL)))
    versions = set(world.versions)
    for fault, survive in history:
        disturb(world, fault)
        for _ in range(3):
            world.step(survive=survive if fault == "crash" else None)
            world.tick(20.0)
    assert set(world.versions) == versions


@pytest.mark.parametrize("survive", range(7))
@pytest.mark.parametrize(
    ("trigger", "provoke"),
    [
        (NIGHTLY, lambda w: w.tick(86_400)),
        (rate(below=0.2), lambda w: w.reward_rate.update({"movies-000001": 0.05, "movies-000002": 0.4})),
        (DRIFT, lambda w: setattr(w, "tastes", 20)),
        ({"type": "NewData", "records": 20_000}, lambda w: setattr(w, "rows", w.rows + 20_000)),
    ],
    ids=["Schedule", "Quality", "Drift", "NewData"],
)
def test_a_trigger_fires_exactly_once_though_every_other_pass_dies(
    trigger: dict[str, object], provoke: Callable[[World], None], survive: int
):
    world = copy.deepcopy(served((trigger,)))
    provoke(world)
    for _ in range(70):
        world.step(survive=survive)
        world.step()
        world.tick(10.0)
    assert causes(world) == ["Initial", trigger["type"]]
    no_cause_twice(world)


def forgetful(observed: Observed, last: VersionState, rows: int) -> Cause | None:
    """A trigger that looks at the clock alone, and not at what it has made."""
    long_ago = replace(last, created_at=last.created_at - timedelta(days=9), spec=last.spec.model_copy(update={"cause": NOBODYS}))
    return ORIGINAL(replace(observed, versions=(long_ago,)), long_ago, rows)


def greedy(observed: Observed, last: VersionState, rows: int) -> Cause | None:
    """A trigger that fires though there is nothing new to learn from."""
    return next((heard.cause for heard in triggers.hear(observed, last, rows) if heard.cause is not None), None)


ORIGINAL, NOBODYS = triggers.fired, Cause(trigger="Initial", detail="nobody's")

TWINS: dict[str, tuple[object, str, object, Callable[[], None]]] = {
    "a schedule that does not look at what it made": (
        triggers,
        "fired",
        forgetful,
        test_times_that_were_missed_while_nobody_looked_fire_once,
    ),
    "a trigger that learns from nothing new": (
        triggers,
        "fired",
        greedy,
        test_a_schedule_without_new_events_has_nothing_to_learn_from,
    ),
    "a day without end": (
        due,
        "_enough_for_a_day",
        lambda _: None,
        test_never_more_runs_in_a_day_than_allowed_and_who_waits_is_told,
    ),
    "a day that forgets what was pruned": (
        plan,
        "DAY",
        timedelta(0),
        test_never_more_runs_in_a_day_than_allowed_and_who_waits_is_told,
    ),
}


@pytest.mark.parametrize("twin", TWINS, ids=lambda name: name.replace(" ", "-"))
def test_a_broken_twin_of_triggers_is_caught(twin: str, monkeypatch: pytest.MonkeyPatch):
    where, name, broken, story = TWINS[twin]
    assert hasattr(where, name)
    monkeypatch.setattr(where, name, broken)
    with pytest.raises(AssertionError):
        story()


def test_the_version_carries_its_cause():
    world = first_serves(world_with(NIGHTLY))
    world.tick(86_400)
    made = [action for action in world.step().actions if isinstance(action, CreateVersion)]
    assert [action.spec.cause.trigger for action in made] == ["Schedule"]
