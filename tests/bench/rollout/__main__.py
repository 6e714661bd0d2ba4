"""How soon a rollout is decided, and how often wrongly: the operator's evidence beside documented threshold rules, on the same seeded logs.

`make bench-rollout` prints tables, and writes build/reports/rollout.json and docs/images/rollout.svg.
"""

import argparse
import multiprocessing
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.rollout import ours
from bench.rollout.logs import REQUESTS_PER_SECOND, SHARE, Candidate, Log, draw
from bench.rollout.picture import Line, picture
from bench.rollout.thresholds import RULES
from recsys_dev.figures import tell
from recsys_schemas.v1alpha1.analysis import Analysis

SEED = 20261130
OURS = "this operator"
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


def times(seconds: list[int | None]) -> dict[str, str]:
    """Median and 95th percentile, and how many were decided at all."""
    known = np.array([np.inf if second is None else float(second) for second in seconds])
    median, late = (float(np.quantile(known, part, method="higher")) for part in (0.5, 0.95))
    decided = int(np.isfinite(known).sum())
    told = {"median s": f"{median:.0f}" if np.isfinite(median) else "never", "p95 s": f"{late:.0f}" if np.isfinite(late) else "never"}
    return told | {"decided": f"{decided} of {known.size}"}


def harmed(log: Log, seconds: list[int | None]) -> str:
    """The median number of failed answers that users of the candidate had until then."""
    at = [log.seconds if second is None else second for second in seconds]
    met = [int(log.candidate.errors[number, second - 1]) for number, second in enumerate(at)]
    return f"{'' if None not in seconds else '>= '}{np.median(met):.0f}"


def scenario(asked: Scenario) -> tuple[str, dict[str, dict[str, str]], dict[str, list[int | None]]]:
    """One row of the table for each rule, and the times themselves."""
    chance = np.random.default_rng(asked.seed)
    log, analysis = draw(chance, asked.candidate, rollouts=asked.rollouts, seconds=asked.seconds), Analysis()
    if asked.candidate.latency != 1.0:
        decided = ours.decide_latency(log, analysis, chance, asked.candidate.latency)
    else:
        decided = ours.decide(log, analysis, chance)
    found: dict[str, list[int | None]] = {OURS: [each.worse for each in decided]}
    if asked.candidate.errors != 1.0:  # they watch nothing else here
        found |= {rule.name: rule.aborts(log) for rule in RULES}
    rows = {name: times(seconds) | {"failed answers": harmed(log, seconds)} for name, seconds in found.items()}
    return asked.candidate.name, rows, found


def equal(asked: tuple[int, int]) -> tuple[list[int | None], dict[str, int], tuple[int, int], list[str]]:
    """Equal versions: when they are certified, who aborts them, and the check of seconds that were passed over."""
    number, rollouts = asked
    chance = np.random.default_rng([SEED, 77, number])
    log, analysis = draw(chance, Candidate(name="equal"), rollouts=rollouts, seconds=1800), Analysis()
    decided = ours.decide(log, analysis, chance, always=range(299, 1800, 300))
    wrong = {OURS: sum(each.worse is not None for each in decided)}
    wrong |= {rule.name: sum(second is not None for second in rule.aborts(log)) for rule in RULES}
    looked = ours.check(log, analysis, chance, looks=20)
    return [each.not_worse for each in decided], wrong, looked, [each.words for each in decided if each.words]


def equals(pool: Any, rollouts: int) -> None:
    """False aborts of equal versions, looked at in every second of half an hour."""
    parts = [(number, 100) for number in range(rollouts // 100)]
    certified: list[int | None] = []
    wrong: dict[str, int] = {}
    looked = decided = 0
    for seconds, alarms, (looks, all_the_same), words in pool.imap_unordered(equal, parts):
        certified += seconds
        wrong = {name: wrong.get(name, 0) + count for name, count in alarms.items()}
        looked, decided = looked + looks, decided + all_the_same
        for word in words:
            sys.stdout.write(f"false abort: {word}\n")
    part = f"{rollouts:,} equal versions, each looked at for 1,800 s: rolled back by mistake"
    tell("rollout", part, {name: {"rolled back": count, "percent": round(100 * count / rollouts, 3)} for name, count in wrong.items()})
    tell("rollout", "an equal version is shown to err less than twice as often", times(certified))
    tell("rollout", "seconds passed over, drawn at random, that decide after all", {"looked at": looked, "decided": decided})


def main() -> None:
    """Print the tables and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--equals", type=int, default=10_000, help="equal versions to look at")
    asked = parser.parse_args()
    started = time.perf_counter()
    sys.stdout.write(
        f"{REQUESTS_PER_SECOND} requests/s, the candidate has {SHARE:.0%} of the users; 1 % of requests fail, 20 % are rewarded\n"
    )
    lines: list[Line] = []
    with multiprocessing.Pool(2) as pool:
        for name, rows, found in pool.imap(scenario, SCENARIOS):
            tell("rollout", name, rows)
            lines += [Line(scenario=name, rule=rule, seconds=seconds) for rule, seconds in found.items()]
        equals(pool, asked.equals)
    IMAGE.write_text(picture(lines))
    sys.stdout.write(f"{time.perf_counter() - started:.0f} s; {IMAGE}\n")


if __name__ == "__main__":
    main()
