"""How soon a rollout is decided, and how often wrongly: the operator's evidence beside documented threshold rules, on the same seeded logs.

`make bench-rollout` prints tables, and writes build/reports/rollout.json and docs/images/rollout.svg.
"""

import argparse
import multiprocessing
import sys
import time
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np

from bench.rollout import ours, replayed
from bench.rollout.logs import REQUESTS_PER_SECOND, SHARE, Candidate, draw
from bench.rollout.picture import Line, picture
from bench.rollout.tables import OURS, Times, harmed, over_the_least, sooner, times
from bench.rollout.thresholds import EXAMPLES, RULES, Threshold
from recsys_dev.errors import told
from recsys_dev.figures import tell
from recsys_schemas.v1alpha1.analysis import Analysis

SEED = 20261130
IMAGE = Path("docs/images/rollout.svg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A candidate, how many rollouts of it, and for how long."""

    candidate: Candidate
    rollouts: int
    seconds: int

    @property
    def seed(self) -> list[int]:
        """Each scenario has its own stream."""
        return [SEED, *self.candidate.name.encode()]


SCENARIOS = (
    Scenario(candidate=Candidate(name="half of its answers fail", errors=50), rollouts=200, seconds=600),
    Scenario(candidate=Candidate(name="errors x10", errors=10), rollouts=200, seconds=1200),
    Scenario(candidate=Candidate(name="errors x5", errors=5), rollouts=2000, seconds=600),
    Scenario(candidate=Candidate(name="errors x2", errors=2), rollouts=400, seconds=1800),
    Scenario(candidate=Candidate(name="errors x1.5", errors=1.5), rollouts=60, seconds=1800),
    Scenario(candidate=Candidate(name="latency +100 %", latency=2.0), rollouts=100, seconds=600),
    Scenario(candidate=Candidate(name="latency +20 %", latency=1.2), rollouts=40, seconds=1200),
    Scenario(candidate=Candidate(name="reward -20 %", reward=0.8), rollouts=200, seconds=1800),
    Scenario(candidate=Candidate(name="reward -5 %", reward=0.95), rollouts=60, seconds=7200),
)


def scenario(asked: Scenario, rules: tuple[Threshold, ...]) -> tuple[str, dict[str, dict[str, str]], Times]:
    """One row of the table for each rule, and the times themselves."""
    chance = np.random.default_rng(asked.seed)
    log, analysis = draw(chance, asked.candidate, rollouts=asked.rollouts, seconds=asked.seconds), Analysis()
    if asked.candidate.latency != 1.0:
        decided = ours.decide_latency(log, analysis, chance, asked.candidate.latency)
    else:
        decided = ours.decide(log, analysis, chance)
    found: Times = {OURS: [each.worse for each in decided]}
    if asked.candidate.errors != 1.0:  # they watch nothing else here
        found |= {rule.name: rule.aborts(log) for rule in rules}
    rows = {name: times(seconds) | {"failed answers": harmed(log, seconds)} for name, seconds in found.items()}
    return asked.candidate.name, rows, found


@dataclass(frozen=True, slots=True, kw_only=True)
class Equals:
    """What became of some equal versions."""

    certified: list[int | None]
    """When each is shown to err less than twice as often."""
    wrong: dict[str, int]
    """Rule → how many it aborts."""
    worst: dict[str, list[float]]
    """Example → the rate of failures that it must put up with not to abort each."""
    looked: tuple[int, int]
    """Seconds that were passed over and looked at, and those that decide."""
    words: list[str]
    """What was said of those that the operator aborts."""


def equal(number: int, rollouts: int) -> Equals:
    """Equal versions: when they are certified, who aborts them, and the check of seconds that were passed over."""
    chance = np.random.default_rng([SEED, 77, number])
    log, analysis = draw(chance, Candidate(name="equal"), rollouts=rollouts, seconds=1800), Analysis()
    decided = ours.decide(log, analysis, chance, always=range(299, 1800, 300))
    wrong = {OURS: sum(each.worse is not None for each in decided)}
    return Equals(
        certified=[each.not_worse for each in decided],
        wrong=wrong | {rule.name: sum(second is not None for second in rule.aborts(log)) for rule in RULES},
        worst={rule.name: rule.worst(log) for rule in EXAMPLES},
        looked=ours.check(log, analysis, chance, looks=20),
        words=[each.words for each in decided if each.words],
    )


def equals(pool: Pool, rollouts: int) -> tuple[tuple[Threshold, ...], float]:
    """False aborts of equal versions, in every second of half an hour; the examples at no more of them, and what part of all that is."""
    found = pool.starmap(equal, [(number, 100) for number in range(rollouts // 100)], chunksize=1)
    wrong = {name: sum(each.wrong[name] for each in found) for name in found[0].wrong}
    fair = tuple(rule.putting_up_with([rate for each in found for rate in each.worst[rule.name]], wrong[OURS]) for rule in EXAMPLES)
    sys.stdout.writelines(f"false abort: {word}\n" for each in found for word in each.words)
    part = f"{rollouts:,} equal versions, each looked at for 1,800 s: rolled back by mistake"
    tell("rollout", part, {name: {"rolled back": count, "percent": round(100 * count / rollouts, 3)} for name, count in wrong.items()})
    tell("rollout", "an equal version is shown to err less than twice as often", times([one for each in found for one in each.certified]))
    looked = {"looked at": sum(each.looked[0] for each in found), "decided": sum(each.looked[1] for each in found)}
    tell("rollout", "seconds passed over, drawn at random, that decide after all", looked)
    return fair, max(1, wrong[OURS]) / rollouts


def worst_of(number: int, rollouts: int) -> dict[str, list[float]]:
    """Of the same equal versions, what each example must put up with not to abort them."""
    log = draw(np.random.default_rng([SEED, 77, number]), Candidate(name="equal"), rollouts=rollouts, seconds=1800)
    return {rule.name: rule.worst(log) for rule in EXAMPLES}


def aborted(asked: Scenario, rules: tuple[Threshold, ...]) -> Times:
    """When the rules abort the rollouts of the same log."""
    log = draw(np.random.default_rng(asked.seed), asked.candidate, rollouts=asked.rollouts, seconds=asked.seconds)
    return {rule.name: rule.aborts(log) for rule in rules}


def rules_alone(pool: Pool, rollouts: int, most: int) -> None:
    """The examples, and at no more false aborts than `most`, on the logs of the whole benchmark; in a minute."""
    found = pool.starmap(worst_of, [(number, 100) for number in range(rollouts // 100)], chunksize=1)
    fair = tuple(rule.putting_up_with([rate for each in found for rate in each[rule.name]], most) for rule in EXAMPLES)
    for asked in (each for each in SCENARIOS if each.candidate.errors != 1.0):
        tell("rollout", f"{asked.candidate.name}, the examples alone", {k: times(v) for k, v in aborted(asked, (*EXAMPLES, *fair)).items()})


def show() -> None:
    """Print the tables and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--equals", type=int, default=10_000, help="equal versions to look at")
    parser.add_argument("--rules-alone", type=int, metavar="N", help="only the examples, and at no more than N false aborts")
    parser.add_argument("--recorded", type=Path, metavar="FILE", help="on the log of a demo (build/reports/demo-answers.parquet)")
    parser.add_argument("--recorded-equals", type=int, default=500, help="equal versions to look at there")
    asked = parser.parse_args()
    started = time.perf_counter()
    sys.stdout.write(
        f"{REQUESTS_PER_SECOND} requests/s, the candidate has {SHARE:.0%} of the users; 1 % of requests fail, 20 % are rewarded\n"
    )
    lines: list[Line] = []
    found: dict[str, Times] = {}
    with multiprocessing.Pool(2) as pool:
        if asked.rules_alone is not None:
            rules_alone(pool, asked.equals, asked.rules_alone)
            return
        if asked.recorded is not None:
            replayed.show(pool, asked.recorded, asked.recorded_equals)
            return
        fair, alpha = equals(pool, asked.equals)
        rules = (*RULES, *fair)
        for name, rows, times_of in pool.starmap(scenario, [(each, rules) for each in SCENARIOS], chunksize=1):
            tell("rollout", name, rows)
            found[name] = times_of
            lines += [Line(scenario=name, rule=rule, seconds=seconds) for rule, seconds in times_of.items()]
    seconds = {each.candidate.name: each.seconds for each in SCENARIOS}
    tell("rollout", "times sooner than each example at no more false aborts (median)", sooner(found, seconds, fair))
    tell("rollout", "times sooner than each example as documented (median)", sooner(found, seconds, EXAMPLES))
    errors = {each.candidate.name: each.candidate.errors for each in SCENARIOS if each.candidate.errors != 1.0}
    least = over_the_least(found, errors, alpha, REQUESTS_PER_SECOND * SHARE)
    tell("rollout", f"beside the least mean time that any rule needs at {alpha:.2%} false aborts", least)
    IMAGE.write_text(picture(lines))
    sys.stdout.write(f"{time.perf_counter() - started:.0f} s; {IMAGE}\n")


def main() -> int:
    """For the command line."""
    show()
    return 0


if __name__ == "__main__":
    sys.exit(told(main))
