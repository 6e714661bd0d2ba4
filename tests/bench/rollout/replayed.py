"""The tables of rollouts on a recorded log."""

import sys
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path

import numpy as np

from bench.rollout.logs import SHARE, Candidate, Log
from bench.rollout.ours import Decided
from bench.rollout.recorded import Recording, Replay, counted, decide
from bench.rollout.tables import OURS, Times, harmed, over_the_least, sooner, times
from bench.rollout.thresholds import EXAMPLES, Threshold
from recsys_dev.figures import tell
from recsys_schemas.v1alpha1.analysis import Analysis

SEED = 20261201
SECONDS = 1800
EQUAL = Candidate(name="equal")
HARMS = (
    (Candidate(name="half of its answers fail", errors=50), 60),
    (Candidate(name="errors x10", errors=10), 60),
    (Candidate(name="errors x5", errors=5), 200),
    (Candidate(name="errors x2", errors=2), 100),
    (Candidate(name="errors x1.5", errors=1.5), 40),
    (Candidate(name="latency +100 %", latency=2.0), 40),
    (Candidate(name="latency +20 %", latency=1.2), 40),
    (Candidate(name="reward -20 %", reward=0.8), 40),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """Some rollouts of one candidate: what was decided of them, and what they counted."""

    candidate: Candidate
    decided: list[Decided]
    log: Log


def play(path: Path, candidate: Candidate, numbers: range) -> Played:
    """Play some of them; each has a stream of its own."""
    recording = Recording.of(path)
    seeds = [[SEED, number, *candidate.name.encode()] for number in numbers]
    replays = [Replay(recording, candidate, np.random.default_rng(seed), SECONDS) for seed in seeds]
    return Played(candidate=candidate, decided=[decide(replay, Analysis()) for replay in replays], log=counted(replays))


def equals(pool: Pool, path: Path, number: int) -> tuple[Threshold, ...]:
    """Equal versions: by whom they are rolled back; the examples at no more of that than the operator's."""
    found = pool.map(partial(play, path, EQUAL), [range(first, min(first + 10, number)) for first in range(0, number, 10)], chunksize=1)
    aborted = {OURS: sum(one.worse is not None for each in found for one in each.decided)}
    aborted |= {rule.name: sum(second is not None for each in found for second in rule.aborts(each.log)) for rule in EXAMPLES}
    fair = tuple(rule.putting_up_with([rate for each in found for rate in rule.worst(each.log)], aborted[OURS]) for rule in EXAMPLES)
    sys.stdout.writelines(f"false abort: {one.words}\n" for each in found for one in each.decided if one.words)
    rows = {name: {"rolled back": count, "percent": round(100 * count / number, 2)} for name, count in aborted.items()}
    tell("rollout", f"recorded: {number:,} equal versions, each looked at for {SECONDS:,} s: rolled back by mistake", rows)
    certified = times([one.not_worse for each in found for one in each.decided])
    tell("rollout", "recorded: an equal version is shown to err less than twice as often", certified)
    return fair


def show(pool: Pool, path: Path, number: int) -> None:
    """All tables.

    Raises:
        Unmet: there is no recording.
    """
    recording = Recording.of(path)
    sys.stdout.write(
        f"{path}: {recording.at.size:,} answers to {recording.users:,} users in {recording.seconds:.0f} s, "
        f"{recording.watched.mean():.0%} rewarded, p50 {np.median(recording.ms):.0f} ms;\n"
        f"the candidate has {SHARE:.0%} of the users; that 1 % of requests fail is added\n"
    )
    fair = equals(pool, path, number)
    found: dict[str, Times] = {}
    for candidate, rollouts in HARMS:
        parts = pool.map(partial(play, path, candidate), [range(first, first + 5) for first in range(0, rollouts, 5)], chunksize=1)
        seen: Times = {OURS: [one.worse for each in parts for one in each.decided]}
        log = Log.joined([each.log for each in parts])
        if candidate.errors != 1.0:  # they watch nothing else here
            seen |= {rule.name: rule.aborts(log) for rule in (*EXAMPLES, *fair)}
        rows = {name: times(seconds) | {"failed answers": harmed(log, seconds)} for name, seconds in seen.items()}
        tell("rollout", f"recorded: {candidate.name}", rows)
        found[candidate.name] = seen
    errors = {candidate.name: candidate.errors for candidate, _ in HARMS if candidate.errors != 1.0}
    least = over_the_least(found, errors, 1 / number, SHARE * recording.at.size / recording.seconds)
    tell("rollout", f"recorded: beside the least mean time that any rule needs at {1 / number:.2%} false aborts", least)
    lengths = dict.fromkeys(found, SECONDS)
    tell("rollout", "recorded: times sooner than each example at no more false aborts (median)", sooner(found, lengths, fair))
    tell("rollout", "recorded: times sooner than each example as documented (median)", sooner(found, lengths, EXAMPLES))
