"""What is said of freshness, as the replicas come to know of events, fall behind, and lose the brokers."""

import random

import pytest

from recsys_schemas.serving_evidence import OnlineState
from recsys_schemas.v1alpha1.conditions import Condition
from worlds.simulated import World, spec
from worlds.test_stories import serves

FRESH = OnlineState(caught_up=True, applied=500, unreadable=0, users=30, events=400, p50_ms=35.0, p99_ms=200.0)


@pytest.fixture
def world() -> World:
    training = {"initialRecords": 100, "newRecords": 10**9, "cooldownSeconds": 1, "backoffLimit": 2}
    made = World(chance=random.Random(7), spec=spec(training=training))
    made.run_until(serves("movies-000001"))
    return made


def told(world: World, *states: OnlineState | None) -> Condition:
    """The condition after a pass in which each replica reports one of these."""
    for replica, state in zip(world.replicas, states, strict=True):
        replica.online = {} if state is None else {"movies-000001": state, "movies-000000": FRESH.model_copy(update={"p99_ms": None})}
    world.step()
    return next(c for c in world.status.conditions if c.type == "FreshnessMet")


def test_nothing_is_said_before_a_replica_has_measured_an_event(world: World):
    assert told(world, None, None).status == "Unknown"
    quiet = FRESH.model_copy(update={"events": 0, "p50_ms": 0.0, "p99_ms": 0.0})
    seen = told(world, quiet, quiet)
    assert (seen.status, seen.reason) == ("Unknown", "NotMeasured")
    assert world.status.freshness is None


def test_the_slowest_replica_decides(world: World):
    seen = told(world, FRESH, FRESH.model_copy(update={"p99_ms": 900.0, "events": 300}))
    assert (seen.status, seen.reason) == ("True", "Fresh")
    assert world.status.freshness is not None
    assert (world.status.freshness.p50_milliseconds, world.status.freshness.p99_milliseconds) == (35, 900)
    seen = told(world, FRESH, FRESH.model_copy(update={"p99_ms": 1500.0}))
    assert (seen.status, seen.reason) == ("False", "Stale")
    assert "1500 ms (99 %)" in seen.message
    assert "the target is 1000 ms" in seen.message


def test_what_is_beyond_measure_is_stale_and_not_passed_over(world: World):
    seen = told(world, FRESH, FRESH.model_copy(update={"p99_ms": None}))
    assert (seen.status, seen.reason) == ("False", "Stale")


def test_a_replica_that_reads_the_past_is_catching_up_and_one_without_brokers_says_why(world: World):
    assert told(world, FRESH, FRESH.model_copy(update={"caught_up": False})).reason == "CatchingUp"
    seen = told(world, FRESH, FRESH.model_copy(update={"trouble": "all brokers are down"}))
    assert (seen.status, seen.reason) == ("False", "NotFollowing")
    assert "all brokers are down" in seen.message


def test_skipped_records_reach_the_replicas_in_the_record(world: World):
    skip = {"topic": "watch", "partition": 0, "first": 10, "last": 20}
    world.spec = spec(serving={"online": {"skip": [skip]}})
    world.run_until(lambda one: one.app is not None and bool(one.app.record.skips))
    assert world.app is not None
    assert world.app.record.skips[0].model_dump() == skip
