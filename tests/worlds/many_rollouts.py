"""Many versions, bad ones and good ones, each through a whole rollout in the simulated world: `make chaos-rollout`.

The plan, its evidence and its budget are the operator's own; time is a clock that is handed in, a second a pass. Every version errs in one
request of a hundred and earns a reward with three answers of ten, unless it is bad.
"""

import argparse
import multiprocessing
import random
import sys
import time
from dataclasses import dataclass
from typing import Any

from recsys_dev.figures import tell
from recsys_operator.plan import shares
from recsys_schemas.v1alpha1.rollout import RolloutPhase
from worlds.simulated import World, spec

ERRORS, REWARD = 0.01, 0.3
PARTS = 10
"""Worlds, of bad and of good versions each: a world slows down as its history grows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One sort of version."""

    name: str
    errors: float = ERRORS
    reward: float = REWARD
    bound: int | None = None
    """A bad one: for so many seconds it may have more than 10 % of the users. None: a good one."""


GOOD = (Kind(name="equal"), Kind(name="better", reward=REWARD * 1.1), Kind(name="fewer errors", errors=ERRORS / 2))
BAD = (
    Kind(name="half of its answers fail", errors=0.5, bound=10),
    Kind(name="errors x10", errors=0.1, bound=15),
    Kind(name="errors x5", errors=0.05, bound=30),
    Kind(name="errors x2", errors=0.02, bound=150),
    Kind(name="reward -50 %", reward=0.15, bound=60),
)


@dataclass(slots=True, kw_only=True)
class Walked:
    """What became of one version."""

    version: str
    kind: Kind
    promoted: bool = False
    ended: bool = False
    seconds: int = 0
    seconds_above_10: int = 0
    words: str = ""

    @property
    def wrong(self) -> bool:
        """A bad one that had too many users for too long or was promoted, or a good one that was sent back."""
        if self.kind.bound is None:
            return not self.promoted
        return self.promoted or self.seconds_above_10 > self.kind.bound


def world_of(kinds: dict[str, Kind], seed: int) -> World:
    """A world whose versions are of these kinds."""
    analysis = {"minimumSeconds": 30, "minimumRequests": 100, "attributionSeconds": 1}
    rollout = {"steps": [{"setWeight": 10}, {"setWeight": 50}], "analysis": analysis, "onFailure": {"cooldownSeconds": 1}}
    world = World(chance=random.Random(seed), spec=spec(rollout=rollout), rows_per_second=100)
    world.error_rate = {version: kind.errors for version, kind in kinds.items()}
    world.reward_rate = {version: kind.reward for version, kind in kinds.items()}
    return world


def walk(count: int, seed: int, bad: bool) -> list[Walked]:
    """Put so many versions, all bad or all good ones, through their rollouts, one after another."""
    sorts = BAD if bad else GOOD
    kinds = {f"movies-{number:06d}": sorts[number % len(sorts)] for number in range(2, 2 * count + 40)}
    kinds["movies-000001"] = Kind(name="the first")
    world = world_of(kinds, seed)
    found: dict[str, Walked] = {}
    for _ in range(600 * count):
        world.step()
        world.tick()
        observed = world.observe()
        champion = shares.champion(observed)
        for version, rollout in world.rollouts.items():
            if rollout.spec.stable is None:
                continue
            one = found.setdefault(version, Walked(version=version, kind=kinds[version]))
            if one.ended:
                continue
            one.seconds += 1
            one.seconds_above_10 += rollout.status.weight > 10 and rollout.status.phase is RolloutPhase.PROGRESSING
            one.words = rollout.status.message
            one.ended = rollout.status.phase in shares.ENDED
            one.promoted = rollout.status.phase is RolloutPhase.SUCCESSFUL
            if one.ended and one.promoted and champion is not None:
                # Compared are always a version and one that is as good as the first: else ten better ones make each other look bad.
                world.error_rate[version], world.reward_rate[version] = ERRORS, REWARD
        if sum(one.ended for one in found.values()) >= count:
            return [one for one in found.values() if one.ended][:count]
    ended = sum(one.ended for one in found.values())
    raise AssertionError(
        f"LIVENESS: {ended} of {count} rollouts ended; {world.status.phase}; {[c.message for c in world.status.conditions]}"
    )


def figures(walked: list[Walked]) -> dict[str, dict[str, Any]]:
    """One row for each kind."""
    rows: dict[str, dict[str, Any]] = {}
    for kind in dict.fromkeys(one.kind for one in walked):
        these = [one for one in walked if one.kind == kind]
        seconds = sorted(one.seconds for one in these)
        above = sorted(one.seconds_above_10 for one in these)
        rows[kind.name] = {
            "versions": len(these),
            "promoted": sum(one.promoted for one in these),
            "median s to its end": seconds[len(seconds) // 2],
            "longest s above 10 %": above[-1],
            "bound": kind.bound if kind.bound is not None else "",
        }
    return rows


def main() -> int:
    """Print the table; 1 when a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=200, help="bad versions, and as many good ones")
    asked = parser.parse_args()
    started = time.perf_counter()
    with multiprocessing.Pool(2) as pool:
        parts = [(max(1, asked.each // PARTS), seed, seed % 2 == 1) for seed in range(1, 2 * PARTS + 1)]
        walked = pool.starmap(walk, parts)
    bad = [one for part in walked[0::2] for one in part]
    good = [one for part in walked[1::2] for one in part]
    tell("rollout", f"{len(bad)} bad and {len(good)} good versions through whole rollouts, steps 10 and 50 %", figures(bad + good))
    wrong_bad, wrong_good = [one for one in bad if one.wrong], [one for one in good if one.wrong]
    for one in wrong_bad + wrong_good:
        sys.stdout.write(f"NOT SO: {one.version} ({one.kind.name}), {one.seconds_above_10} s above 10 %: {one.words}\n")
    sys.stdout.write(
        f"{time.perf_counter() - started:.0f} s; bad beyond their bound: {len(wrong_bad)}; good sent back: {len(wrong_good)}\n"
    )
    return int(bool(wrong_bad) or len(wrong_good) >= 0.01 * len(good))


if __name__ == "__main__":
    sys.exit(main())
