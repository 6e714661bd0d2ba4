"""Deliberately broken twins of the plan: the simulated world must catch each of them."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from recsys_operator.plan import (
    due,
    gates,
    moves,
    names,
    plan,
    reports,
    rollout,
    runs,
    serving,
    shares,
    steps,
    topics,
    training,
    upkeep,
    weighing,
)
from recsys_operator.plan.evidence import Grouped
from recsys_operator.state.actions import Action, SubmitJob, ThrottleReplication
from recsys_operator.state.observed import Observed, RolloutState, VersionState
from recsys_schemas.serving_evidence import GROUPS
from recsys_schemas.serving_record import Arm, ServingRecord
from recsys_schemas.train_job import UpkeepJob
from recsys_schemas.v1alpha1.rollout import RolloutStatus
from recsys_schemas.v1alpha1.topics import Topic
from worlds.simulated import World, spec


def story(seed: int) -> None:
    """A bad candidate, a good one, a rejected one, crashes, a lost cluster: enough to trip over any of the twins."""
    world = World(chance=random.Random(seed))
    world.error_rate["movies-000002"] = 0.5
    world.worse_offline.add("movies-000003")
    for number in range(420):
        if number == 200:
            world.restart_ray()
        world.requests_per_second = 0 if number % 50 < 8 else 200
        world.out_of_sync = 4 <= number < 30
        began = len(world.versions)
        world.step(survive=1 if number % 3 == 0 else None)
        assert not (world.out_of_sync and len(world.versions) > began), "trained while replicas were out of sync"
        world.tick()
    assert shares.champion(world.observe()) is not None, "LIVENESS: no champion"
    assert len(world.versions) > 3, "LIVENESS: a bad version barred the next"
    again = World(chance=random.Random(seed), uid="ffffffff-1", cards=dict(world.cards), preflights=dict(world.preflights), rows=200)
    again.run_until(lambda w: shares.champion(w.observe()) is not None)


def always(value: object) -> Callable[..., object]:
    return lambda *_args, **_kwargs: value


def drawn(kind: str, _model: object, version: str) -> str:
    """A random job id."""
    return f"{kind}-{version}-{random.getrandbits(32):08x}-"


def frozen_epoch(observed: Observed, status: RolloutStatus | None = None) -> ServingRecord:
    return ORIGINAL_RECORD(observed, status).model_copy(update={"epoch": 1})


def lopsided(observed: Observed, status: RolloutStatus | None = None) -> list[Arm]:
    found = ORIGINAL_ARMS(observed, status)
    return [arm.model_copy(update={"share": 100}) if arm.variant == "stable" else arm for arm in found]


def first_free(observed: Observed) -> str:
    return f"{observed.model.key.name}-{len(observed.versions) + 1:06d}"


def timer_only(walk: RolloutState, _trial: object, now: datetime) -> bool:
    assert walk.status.step_since is not None
    return now >= walk.status.step_since + timedelta(seconds=5)


def skip_a_step(now: moves.Walk, step: int, words: str, by: str = "") -> tuple[Action, ...]:
    return ORIGINAL_ENTER(now, min(step + 1, len(now.rollout.spec.steps) - 1), words, by)


def only_on_creation(observed: Observed, version: VersionState) -> tuple[Action, ...]:
    """An edge-triggered handler: the run is started by the event of creation, which was lost."""
    return tuple(action for action in runs.submit(observed, version) if not isinstance(action, SubmitJob))


def named_only(observed: Observed) -> list[Topic]:
    """The topics of the spec, whether ingest may run or not."""
    return list(observed.model.spec.kafka.topics)


ORIGINAL_RECORD, ORIGINAL_ARMS, ORIGINAL_ENTER = serving.record, shares.arms, moves.enter

EACH = [20] * GROUPS
FINE = reports.Counted(errors=Grouped(hits=[0] * GROUPS, trials=EACH), rewards=Grouped(hits=[6] * GROUPS, trials=EACH))

TWINS: dict[str, tuple[object, str, object]] = {
    "steps are earned by a timer": (steps, "earned", timer_only),
    "harm is never seen": (weighing.Weighing, "failing", property(always(False))),
    "shares count as changed when asked": (rollout, "verified", always(True)),
    "gates always pass": (gates, "passed", always(True)),
    "an epoch that does not grow": (serving, "record", frozen_epoch),
    "shares that do not sum to 100": (shares, "arms", lopsided),
    "a version takes the first free number": (due, "version_name", first_free),
    "a step is skipped": (moves, "enter", skip_a_step),
    "a job is begun for a model that nothing holds": (plan, "TAKEN_BACK", ThrottleReplication),
    "ingest begins without a topic for dead letters": (topics, "wanted", named_only),
    "random job ids": (runs, "run_prefix", drawn),
    "replicas out of sync hold nothing": (due, "HOLDING", frozenset()),
    "a trigger fires for ever": (training, "in_progress", always(None)),
    "an edge-triggered handler": (training, "_STEPS", training._STEPS | {training.Training.SUBMITTING: only_on_creation}),
    "counters that go missing count as success": (
        reports.Reports,
        "counted",
        always(FINE),
    ),
}


def test_the_story_itself_holds():
    story(1)


@pytest.mark.parametrize("twin", TWINS, ids=lambda name: name.replace(" ", "-"))
def test_a_broken_twin_is_caught(twin: str, monkeypatch: pytest.MonkeyPatch):
    where, name, broken = TWINS[twin]
    monkeypatch.setattr(where, name, broken)
    with pytest.raises((AssertionError, StopIteration)):
        for seed in range(3):
            story(seed)


def keeps_nothing(observed: Observed, number: int) -> UpkeepJob:
    """Upkeep that does not know what versions were trained on."""
    return ORIGINAL_UPKEEP(observed, number).model_copy(update={"keep_sequences": []})


def restless(observed: Observed) -> upkeep.Upkeep:
    """Upkeep that does not look whether a run is under way."""
    found = ORIGINAL_JUDGE(observed)
    return upkeep.Upkeep.DUE if found is upkeep.Upkeep.RUNNING else found


ORIGINAL_UPKEEP, ORIGINAL_JUDGE = upkeep.wanted, upkeep.judge

UPKEEP_TWINS: dict[str, tuple[str, object]] = {
    "what versions were trained on is removed": ("wanted", keeps_nothing),
    "two runs": ("judge", restless),
}


def keep_up(seed: int) -> None:
    """Versions are made and snapshots go past their time, for half an hour."""
    world = World(chance=random.Random(seed), spec=spec(data={"snapshot": {"retentionDays": 1}}))
    for _ in range(600):
        world.step()
        world.tick(3)
    assert world.report is not None, "LIVENESS: no upkeep"
    assert world.report.run >= 2


def test_the_story_of_upkeep_itself_holds():
    keep_up(1)


@pytest.mark.parametrize("twin", UPKEEP_TWINS, ids=lambda name: name.replace(" ", "-"))
def test_a_broken_twin_of_upkeep_is_caught(twin: str, monkeypatch: pytest.MonkeyPatch):
    name, broken = UPKEEP_TWINS[twin]
    monkeypatch.setattr(upkeep, name, broken)
    with pytest.raises(AssertionError):
        keep_up(1)


def test_the_twins_break_what_exists():
    assert all(hasattr(where, name) for where, name, _ in TWINS.values())
    assert plan.plan is not None
    assert topics.HOLDING
    assert names.version_name is due.version_name
