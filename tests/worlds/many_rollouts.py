"""Many versions, bad ones and good ones, each through a whole rollout in the simulated world: `make chaos-rollout`.

The plan, its evidence, its budget and its least times are the operator's own defaults; time is a clock that is handed in, a second a pass.
Every version errs in one request of a hundred and earns a reward with three answers of ten, unless it is bad. What is claimed:

- no bad version has more than a tenth of the users for longer than the time in which its harm is shown at that share (`worlds.detection`),
- fewer than one good version in a hundred is sent back,
- where the spec demands NotWorse, versions at the very margin (twice the errors) get past a share no more often than `alphaNotWorse`
  allows, chance aside: that bound holds whatever the traffic and the least time are. Under the default demand, NoHarm, there is none: what
  keeps small harm back is then that a step lasts long enough to make it likely. `--least 30` shows what half of that time lets through.
"""

import argparse
import multiprocessing
import random
import sys
import time
from dataclasses import dataclass
from math import ceil
from typing import Any

from recsys_dev.figures import tell
from recsys_operator.plan import shares
from recsys_operator.plan.weighing import level_of
from recsys_schemas.v1alpha1.analysis import Analysis
from recsys_schemas.v1alpha1.rollout import RolloutPhase
from worlds.detection import MISSED, Events, errors_within, losses_within
from worlds.simulated import World, spec

ERRORS, REWARD, ASKED = 0.01, 0.3, 200
"""Of a good version; and questions a second."""
STEPS = (10, 50)
TURN = 5
"""Seconds within which the replicas take over a record."""
PARTS = 10
"""Worlds, of bad and of good versions each: a world slows down as its history grows."""
_MOST_SECONDS = 2000
"""For each version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One sort of version."""

    name: str
    errors: float = ERRORS
    reward: float = REWARD

    @property
    def bad(self) -> bool:
        """Whether it errs more often or earns less than the others."""
        return self.errors > ERRORS or self.reward < REWARD

    @property
    def bound(self) -> int | None:
        """A bad one: for so many seconds it may have more than 10 % of the users. None: a good one."""
        if not self.bad:
            return None
        half, place, analysis = ASKED / 2, STEPS.index(50), Analysis()
        errors = Events(stable=half * ERRORS, candidate=half * self.errors, odds=1.0)
        rewards = Events(stable=half * REWARD, candidate=half * self.reward, odds=1.0)
        return ceil(min(errors_within(analysis, errors, place), losses_within(analysis, rewards, place))) + TURN


GOOD = (Kind(name="equal"), Kind(name="better", reward=REWARD * 1.1), Kind(name="fewer errors", errors=ERRORS / 2))
BAD = (
    Kind(name="half of its answers fail", errors=0.5),
    Kind(name="errors x10", errors=0.1),
    Kind(name="errors x5", errors=0.05),
    Kind(name="errors x2", errors=0.02),
    Kind(name="reward -50 %", reward=0.15),
)
AT_THE_MARGIN = (Kind(name="errors x2", errors=0.02),)
EQUAL = (Kind(name="equal"),)


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
        bound = self.kind.bound
        if bound is None:
            return not self.promoted
        return self.promoted or self.seconds_above_10 > bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Versions that walk in one world, one after another."""

    count: int
    seed: int
    kinds: tuple[Kind, ...]
    demand: str = "NoHarm"
    least: int = Analysis().minimum_seconds


def world_of(kinds: dict[str, Kind], part: Part) -> World:
    """A world whose versions are of these kinds."""
    analysis = {"minimumSeconds": part.least, "attributionSeconds": 1, "demand": part.demand}
    rollout = {"steps": [{"setWeight": weight} for weight in STEPS], "analysis": analysis, "onFailure": {"cooldownSeconds": 1}}
    world = World(chance=random.Random(part.seed), spec=spec(rollout=rollout), rows_per_second=100, requests_per_second=ASKED)
    world.timed = part.demand == "NotWorse"
    world.error_rate = {version: kind.errors for version, kind in kinds.items()}
    world.reward_rate = {version: kind.reward for version, kind in kinds.items()}
    return world


def walk(part: Part) -> list[Walked]:
    """Put so many versions through their rollouts, one after another."""
    count, sorts = part.count, part.kinds
    kinds = {f"movies-{number:06d}": sorts[number % len(sorts)] for number in range(2, 2 * count + 40)}
    kinds["movies-000001"] = Kind(name="the first")
    world = world_of(kinds, part)
    found: dict[str, Walked] = {}
    for _ in range(_MOST_SECONDS * count):
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
            one.seconds_above_10 += rollout.status.weight > 10 and rollout.status.phase not in shares.ENDED
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
        rows[kind.name] = {
            "versions": len(these),
            "above 10 %": sum(one.seconds_above_10 > 0 for one in these),
            "promoted": sum(one.promoted for one in these),
            "median s to its end": seconds[len(seconds) // 2],
            "longest s above 10 %": max(one.seconds_above_10 for one in these) if kind.bad else "",
            "bound": kind.bound or "",
        }
    return rows


def at_most(count: int, chance: float) -> int:
    """So many of `count` that happen with this chance each are passed once in a thousand times.

    >>> at_most(40, 0.006), at_most(40, 0.04)
    (3, 7)
    """
    passed, number, there = 0.0, -1, (1 - chance) ** count
    while passed < 1 - MISSED:
        number += 1
        passed += there
        there *= (count - number) / (number + 1) * chance / (1 - chance)
    return number


def margin_kept(walked: list[Walked]) -> bool:
    """Whether versions at the margin got past each share no more often than the budget allows; says what it allows."""
    kept = True
    for place, (share, passed) in enumerate(
        ((STEPS[0], sum(one.seconds_above_10 > 0 for one in walked)), (STEPS[1], sum(one.promoted for one in walked)))
    ):
        chance = level_of(Analysis(), place)["errors"].not_worse
        most = at_most(len(walked), chance)
        kept &= passed <= most
        words = f"{passed} of {len(walked)} past {share} %: {chance:.2%} allowed each, so at most {most} but for once in a thousand"
        sys.stdout.write(f"{'' if passed <= most else 'NOT SO: '}twice the errors, demand NotWorse: {words}\n")
    return kept


def main() -> int:
    """Print the tables; 1 when a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=200, help="bad versions, and as many good ones")
    parser.add_argument("--least", type=int, default=Analysis().minimum_seconds, help="seconds at a share (the default of the spec)")
    asked = parser.parse_args()
    started, size = time.perf_counter(), max(1, asked.each // PARTS)
    sorts = ((BAD, "NoHarm"), (GOOD, "NoHarm"), (AT_THE_MARGIN, "NotWorse"), (EQUAL, "NotWorse"))
    parts: list[Part] = []
    for number in range(PARTS):
        for place, (kinds, demand) in enumerate(sorts):
            count = size if demand == "NoHarm" else max(1, size // 4)
            parts.append(Part(count=count, seed=len(sorts) * number + place + 1, kinds=kinds, demand=demand, least=asked.least))
    with multiprocessing.Pool(2) as pool:
        walks = pool.map(walk, parts, chunksize=1)
    bad, good, margin, equal = ([one for walked in walks[place :: len(sorts)] for one in walked] for place in range(len(sorts)))
    tell("chaos-rollout", f"demand NoHarm (the default), steps 10 and 50 %, {asked.least} s at least", figures(bad + good))
    tell("chaos-rollout", "demand NotWorse", figures(margin + equal))
    wrong_bad, wrong_good = [one for one in bad if one.wrong], [one for one in good + equal if one.wrong]
    for one in wrong_bad + wrong_good:
        sys.stdout.write(f"NOT SO: {one.version} ({one.kind.name}), {one.seconds_above_10} s above 10 %: {one.words}\n")
    kept = margin_kept(margin)
    sys.stdout.write(
        f"{time.perf_counter() - started:.0f} s; bad beyond their bound: {len(wrong_bad)}; good sent back: {len(wrong_good)}\n"
    )
    return int(bool(wrong_bad) or len(wrong_good) >= 0.01 * len(good + equal) or not kept)


if __name__ == "__main__":
    sys.exit(main())
