"""Random histories of one rollout: crashes, lost watches, edits, people, clocks that jump, bad versions. SAFETY inside, LIVENESS after.

`python -m worlds.random_walks --number 100000` plays them on all processors, for `--seconds` at most.
"""

import argparse
import os
import pickle
import random
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import cache

from recsys_dev.figures import tell
from recsys_operator.plan import shares
from recsys_operator.state.observed import RolloutState
from recsys_schemas.v1alpha1.rollout import Control, RolloutPhase
from recsys_schemas.v1alpha1.version import VersionPhase
from worlds.simulated import World, spec

STRATEGIES: dict[str, dict[str, object]] = {
    "Canary": {},
    "Canary after a shadow": {"steps": [{"shadow": {"seconds": 5, "minRequests": 50}}, {"setWeight": 20}]},
    "Canary with an approval": {"steps": [{"setWeight": 10}, {"pause": {"approval": True}}, {"pause": {"seconds": 5}}, {"setWeight": 50}]},
    "BlueGreen": {"strategy": "BlueGreen", "holdSeconds": 30},
    "ABTest": {"strategy": "ABTest"},
    "ABTest of several": {"strategy": "ABTest", "arms": [{"version": "movies-000003"}, {"version": "movies-000004"}], "holdSeconds": 20},
    "Shadow": {"strategy": "Shadow"},
    "Interleave": {"strategy": "Interleave"},
    "Canary held back": {"holdback": 10, "holdSeconds": 20},
    "Canary with versions kept": {"keepLoaded": 2, "holdSeconds": 20},
    "Canary that may be superseded": {"newerVersion": "Supersede", "steps": [{"setWeight": 5}, {"setWeight": 60}]},
}
FAULTS = (
    *("none",) * 6,
    *("crash",) * 4,
    *("approve",) * 3,
    *("kafka", "ray", "store", "evidence", "restart_ray", "restart_replica", "out_of_sync", "quiet", "no_replica_starts"),
    *("errs", "disliked", "liked", "unloadable", "newer", "watch_lost", "clock_on", "clock_back"),
    *(
        "edit",
        "pause",
        "resume",
        "freeze",
        "thaw",
        "next",
        "next_of_another",
        "next_of_another",
        "full",
        "abort",
        "go_back",
        "let_go",
        "switch",
    ),
)
MOST_PASSES = 250


def rollout_of(name: str) -> dict[str, object]:
    """What the spec says of a rollout, with short times."""
    base = {"analysis": {"minimumSeconds": 5, "minimumRequests": 20, "attributionSeconds": 1}, "onFailure": {"cooldownSeconds": 30}}
    return base | {"progressDeadlineSeconds": 300} | STRATEGIES[name]


@cache
def begun(name: str) -> bytes:
    """A world in which one version serves and another is about to be tried."""
    world = World(chance=random.Random(7), spec=spec(rollout=rollout_of(name)))
    world.run_until(
        lambda w: (
            sum(v.status.phase == VersionPhase.CANDIDATE for v in w.versions.values()) > len(w.spec.rollout.arms)
            and shares.champion(w.observe()) is not None
        )
    )
    world.rows_per_second = 0
    return pickle.dumps(world)


def edit(world: World, **changes: object) -> None:
    """A person applies the model with another rollout."""
    told = world.spec.rollout.model_dump(by_alias=True, mode="json", exclude_none=True) | changes
    world.spec = world.spec.model_copy(update={"rollout": type(world.spec.rollout).model_validate(told)})


def ask(world: World, **control: object) -> None:
    """A person patches the control of the rollout under way."""
    walk = under_way(world)
    if walk is not None:
        wanted = Control.model_validate({"requestedBy": "anna"} | control)
        world.rollouts[walk.name] = RolloutState(
            name=walk.name, spec=walk.spec.model_copy(update={"control": wanted}), status=world.rollouts[walk.name].status
        )


def under_way(world: World) -> RolloutState | None:
    return next((walk for walk in world.rollouts.values() if walk.status.phase not in shares.ENDED), None)


def present_step(world: World) -> int:
    walk = under_way(world)
    return walk.status.step if walk else 0


def disturb(world: World, fault: str) -> None:  # noqa: PLR0912 - one case for each fault
    """Begin a fault; one that lasts ends with the next."""
    world.unreachable.clear()
    world.out_of_sync = fault == "out_of_sync"
    world.requests_per_second = 0 if fault == "quiet" else 200
    world.fails_serving = "a Secret is not mounted yet" if fault == "no_replica_starts" else ""
    walk = under_way(world)
    candidate = walk.spec.candidate.name if walk else max(world.versions, default="movies-000002")
    candidate = world.chance.choice(walk.spec.tried).name if walk and walk.spec.arms else candidate
    walking = (
        walk is not None and walk.spec.purpose == "Promote" and walk.status.phase not in (RolloutPhase.PROMOTING, RolloutPhase.HOLDING)
    )
    match fault:
        case "kafka" | "ray" | "store" | "evidence":
            world.unreachable.add(fault)
        case "restart_ray" | "no_replica_starts":
            world.restart_ray()
        case "restart_replica":
            world.restart_replica()
        case "errs" if walking:
            world.error_rate[candidate] = 0.5
        case "disliked" if walking:
            world.reward_rate[candidate] = 0.05
        case "liked" if walking:
            world.reward_rate[candidate] = 0.6
        case "unloadable":
            world.refuses_to_load.add(candidate)
        case "newer":
            world.rows += 200
        case "watch_lost":
            for _ in range(20):
                world.tick()
        case "clock_on":
            world.tick(400.0)
        case "clock_back":
            world.now -= timedelta(seconds=world.chance.choice([2, 30]))
        case _:
            steer(world, fault)


def steer(world: World, wish: str) -> None:  # noqa: PLR0912 - one case for each wish
    """What people do."""
    match wish:
        case "edit":
            edit(
                world,
                **{"strategy": "Canary", "steps": [], "holdback": 0, "holdSeconds": 0, "arms": []}
                | STRATEGIES[world.chance.choice(list(STRATEGIES))],
            )
        case "pause":
            edit(world, paused=True)
        case "resume":
            edit(world, paused=False)
        case "freeze":
            edit(world, freezeWindows=[{"firstDate": "2026-01-01", "lastDate": "2026-01-02"}])
        case "thaw":
            edit(world, freezeWindows=[])
        case "next" | "approve":
            ask(world, promote="Next", step=present_step(world), paused=False)
        case "next_of_another":
            ask(world, promote="Next", step=max(0, present_step(world) - 1))
        case "full":
            ask(world, promote="Full")
        case "abort":
            ask(world, abort=True)
        case "go_back":
            pin(world, world.chance.choice(sorted(world.versions) or ["movies-000001"]))
        case "let_go":
            pin(world, None)
        case "switch" if world.replicas:
            world.ask_for(world.chance.choice(sorted(world.versions) or ["movies-000001"]))
        case _:
            pass


def pin(world: World, version: str | None) -> None:
    """Ask for a version that served before; None: for none any more."""
    world.spec = world.spec.model_copy(update={"rollout": world.spec.rollout.model_copy(update={"rollback_to": version})})


def heal(world: World) -> None:
    """All faults stop, and people let go."""
    disturb(world, "none")
    world.refuses_to_load.clear()
    pin(world, None)
    edit(world, paused=False, freezeWindows=[], arms=[])


def rested(world: World) -> bool:
    """A champion serves, no rollout is under way, and every version says how it ended."""
    waits = any(version.status.phase == VersionPhase.CANDIDATE for version in world.versions.values())
    return under_way(world) is None and not waits and shares.champion(world.observe()) is not None


def play(name: str, seed: int) -> str:
    """One history; how the last rollout ended."""
    ended = [walk for walk in played(name, seed).rollouts.values() if walk.spec.purpose == "Promote"]
    return str(ended[-1].status.phase) if ended else "None"


def played(name: str, seed: int) -> World:
    """The world after one history, at rest.

    Raises:
        AssertionError: a rule was broken, or the world never came to rest.
    """
    chance = random.Random(seed)
    world: World = pickle.loads(begun(name))  # noqa: S301 - our own bytes, of this process
    world.chance = chance
    for _ in range(chance.randrange(4, 16)):
        fault = chance.choice(FAULTS)
        disturb(world, fault)
        world.step(survive=chance.randrange(5) if fault == "crash" else None)
        world.tick(chance.choice([1.0, 1.0, 2.0, 6.0]))
    heal(world)
    for number in range(MOST_PASSES):
        if rested(world):
            return world
        ask(world, paused=False)  # nobody asks for anything any more
        world.step()
        world.tick(1.0 if number < 30 else 10.0)
    stand = [(walk.name, walk.status.phase, walk.status.message) for walk in world.rollouts.values()]
    raise AssertionError(f"LIVENESS: not at rest after {MOST_PASSES} passes; {stand}")


def batch(seeds: range, until: float) -> tuple[Counter[str], list[str]]:
    """Histories one after another; how they ended, and what broke."""
    ended: Counter[str] = Counter()
    broken: list[str] = []
    names = list(STRATEGIES)
    for seed in seeds:
        if time.time() > until or len(broken) > 2:
            break
        name = names[seed % len(names)]
        try:
            ended[play(name, seed)] += 1
        except AssertionError as error:
            broken.append(f"seed {seed}, {name}: {error}\n{''.join(traceback.format_exc(limit=-3))}")
    return ended, broken


def main() -> int:
    """Play them on all processors."""
    parser = argparse.ArgumentParser(prog="random_walks")
    parser.add_argument("--number", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=7200.0, help="no history begins after so long")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    asked = parser.parse_args()
    began, cores, size = time.time(), os.cpu_count() or 1, 50
    seeds = range(asked.first, asked.first + asked.number)
    parts = [seeds[at : at + size] for at in range(0, asked.number, size)]
    ended: Counter[str] = Counter()
    broken: list[str] = []
    with ProcessPoolExecutor(cores) as pool:
        for found, faults in pool.map(batch, parts, [began + asked.seconds] * len(parts)):
            ended += found
            broken += faults
    played, took = sum(ended.values()) + len(broken), time.time() - began
    figures = {"asked": asked.number, "played": played, "seconds": round(took, 1), "broken": len(broken)}
    kinds = Counter(fault.partition(": ")[2].partition("\n")[0][:100] for fault in broken)
    figures |= {f"broken: {kind}": count for kind, count in kinds.most_common(20)}
    tell("chaos-world", "random histories", figures | {f"ended {how}": count for how, count in ended.most_common()})
    for fault in broken[:3]:
        print(fault, file=sys.stderr)  # noqa: T201 - a command for people
    return 1 if broken or not played else 0


if __name__ == "__main__":
    sys.exit(main())
