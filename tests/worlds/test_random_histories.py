"""Random histories with crashes between any two actions: SAFETY inside the world, LIVENESS once the faults stop."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_operator.plan import shares
from worlds.simulated import World, spec

FAULTS = (
    "none",
    "crash",
    "kafka",
    "ray",
    "store",
    "evidence",
    "restart_ray",
    "restart_replica",
    "out_of_sync",
    "bad_candidate",
    "train_fails",
    "quiet",
    "job_killed",
    "upkeep_fails",
    "minutes",
    "no_replica_starts",
    "go_back",
    "let_go",
)
histories = st.lists(st.tuples(st.sampled_from(FAULTS), st.integers(0, 6), st.sampled_from([1.0, 1.0, 3.0, 20.0])), max_size=80)


def disturb(world: World, fault: str) -> None:
    """Begin a fault; a fault that lasts ends with the next entry."""
    world.unreachable.clear()
    world.out_of_sync = fault == "out_of_sync"
    world.requests_per_second = 0 if fault == "quiet" else 200
    world.fails_serving = "a Secret is not mounted yet" if fault == "no_replica_starts" else ""
    newest = max(world.versions, default="movies-000001")
    match fault:
        case "kafka" | "ray" | "store" | "evidence":
            world.unreachable.add(fault)
        case "restart_ray" | "no_replica_starts":
            world.restart_ray()
        case "restart_replica":
            world.restart_replica()
        case "bad_candidate" if newest in world.rollouts and world.rollouts[newest].status.phase not in shares.ENDED:
            world.error_rate[newest] = 0.5
        case "train_fails":
            world.fails_training[newest] = 1
        case "upkeep_fails":
            world.fails_upkeep += 1
        case "minutes":
            world.tick(300.0)
        case "go_back":
            pin(world, world.chance.choice(sorted(world.versions) or ["movies-000001"]))
        case "let_go":
            pin(world, None)
        case "job_killed":
            for id_ in world.jobs:
                world.kill_job(id_)
        case _:
            pass


def pin(world: World, version: str | None) -> None:
    """Ask for a version that served before; None: for none any more."""
    world.spec = world.spec.model_copy(update={"rollout": world.spec.rollout.model_copy(update={"rollback_to": version})})


def rested(world: World) -> bool:
    """A champion serves, no rollout is under way, and every version says how it ended."""
    observed = world.observe()
    open_ = [v for v in world.versions.values() if v.status.phase == "Candidate"]
    return shares.champion(observed) is not None and shares.active(observed) is None and not open_


def survives(world: World, history: list[tuple[str, int, float]]) -> None:
    """Play a history, then let the faults stop: a champion must serve, and nothing may be left half done."""
    for fault, crash_after, seconds in history:
        disturb(world, fault)
        world.step(survive=crash_after if fault == "crash" else None)
        world.tick(seconds)
    disturb(world, "none")
    pin(world, None)
    world.rows = max(world.rows, 200)
    world.run_until(rested, passes=900)


@settings(max_examples=100, deadline=None)
@given(histories, st.integers(0, 2**16))
def test_whatever_happens_the_rules_hold_and_a_champion_serves_in_the_end(history: list[tuple[str, int, float]], seed: int):
    survives(World(chance=random.Random(seed), spec=spec(data={"snapshot": {"retentionDays": 1}})), history)


def test_a_crash_after_every_single_action_changes_nothing_in_the_end():
    for survive in range(1, 4):
        world = World(chance=random.Random(survive))
        for _ in range(400):
            world.step(survive=survive)
            world.step(survive=0)
            world.tick()
        assert shares.champion(world.observe()) is not None
        runs = [id_ for id_ in world.submitted if id_.startswith("train-")]
        assert len(runs) == len(world.versions)
