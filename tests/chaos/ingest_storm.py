"""A storm over ingest: kills at every system call of a commit and at random, stops, lanes that come and go, a failing store, failing
brokers, clocks that step.

    python tests/chaos/ingest_storm.py [--kills 200] [--seed 1] [--twins | --twin NAME]

After each blow snapshot ∪ dead letters must be the topics' committed records as a multiset by (topic, partition, offset, hash of
the payload). Starts three brokers of its own. Prints a table; ends with 0 when everything was exact and every broken twin that
was asked for was caught.
"""

import argparse
import itertools
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import ingest_child
import ingest_syscalls
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions
from ingest_rebalances import Rebalances, rebalance, rebalancing, wake_late
from ingest_stage import NotExactError, Stage, stage, wait_until
from ingest_syscalls import Point
from ingest_twins import TWINS

from recsys_dev import kafka, runs
from recsys_dev.figures import tell

RUNS = Path(__file__).resolve().parents[2] / "build" / "run" / "tests"  # what stands there, `make down` spares while its owner lives
PER_STAGE = 40
"""Kills on one stage: the comparison after each reads its topics from the beginning."""
KILL_S = 3.0
HOLD_US = {"openat": 8_000, "write": 3_000}
"""How long a call is held at its entry; these two come by the hundred, on pipes and on files that are only read."""
HOLD_OTHERS_US = 40_000
MOST_PASSED = 2
STOP_S = 60.0
FENCE_S = 180.0
TWIN_FENCE_S = 45.0
"""A twin that is not fenced goes on for ever."""
OUTAGE_S = 1.5
TRIES = 8
"""Stages for a twin: chance decides where a writer is stopped, and what a lane has in hand; the first that shows the fault ends it."""


@dataclass(slots=True)
class Storm:
    """What was done and found."""

    servers: str
    folder: Path
    seed: int
    twin: str
    chance: random.Random
    brokers: kafka.Brokers | None = None
    stages: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    counting: threading.Lock = field(default_factory=threading.Lock)
    executed: Counter[str] = field(default_factory=Counter[str])
    effective: Counter[str] = field(default_factory=Counter[str])
    known: dict[str, Point] = field(default_factory=dict[str, Point])
    """Every kind of point that was seen, with one of them."""
    often: Counter[str] = field(default_factory=Counter[str])
    """How often each came while a consumer went on with a store that was there."""
    once: list[str] = field(default_factory=list[str])
    """Kinds that come only while a store is made."""
    hit: Counter[str] = field(default_factory=Counter[str])
    tried: Counter[str] = field(default_factory=Counter[str])
    verified: int = 0
    records: int = 0

    def least_hit(self) -> str:
        """The kind of point to aim at next; one that never comes must not take all the tries."""
        weights = {kind: self.hit[kind] + self.tried[kind] / 4 for kind in self.often}
        fewest = min(weights.values())
        return self.chance.choice(sorted(kind for kind, weight in weights.items() if weight == fewest))

    def on_stage(self, act: Callable[[Stage], None], *, twin: str | None = None) -> None:
        """Do something on a fresh stage, and compare everything at its end."""
        number = next(self.stages)
        broken = self.twin if twin is None else twin
        with stage(self.servers, self.folder / f"stage-{number}", number, self.seed, twin=broken) as there:
            act(there)
            found = there.finish(act.__name__)
        with self.counting:
            self.verified += there.verified
            self.records += found.records


# --- kills -------------------------------------------------------------------------------------------------------


def watch_a_cycle(storm: Storm, there: Stage) -> None:
    """Trace undisturbed commits: which points there are, and whether anything is named before it is durable."""
    lives: list[Counter[str]] = []
    for _ in range(2):
        child, before = there.start(gated=True), there.sequence()
        tracer = ingest_syscalls.attach(child.pid, there.folder / "cycle.trace")
        os.kill(child.pid, signal.SIGCONT)
        there.commit_after(before + 3, "while watched")
        child.kill()
        child.join()
        tracer.wait()
        seen = learn(storm, there, "cycle.trace")
        if loose := ingest_syscalls.unsynced(seen):
            raise NotExactError(f"a power failure could lose what is published: {loose[0]} (and {len(loose) - 1} more)")
        lives.append(Counter(point.kind for point in seen))
    storm.often, storm.once = lives[1], sorted(lives[0].keys() - lives[1].keys())


def learn(storm: Storm, there: Stage, trace: str) -> list[Point]:
    found = list(ingest_syscalls.points(there.folder / trace, there.store_path))
    storm.known |= {point.kind: point for point in found}
    return found


def kill_at_a_call(storm: Storm, there: Stage) -> None:
    """Kill a consumer as it enters a call, at its start or in a cycle; the kinds that were hit least often come first."""
    kind = storm.least_hit()
    kill_at(storm, there, kind, storm.chance.randrange(min(storm.often[kind], MOST_PASSED)))


def kill_at(storm: Storm, there: Stage, kind: str, passing: int = 0) -> None:
    """Kill a consumer as it enters a call of a kind, after some that it is let pass."""
    call = storm.known[kind].call
    storm.tried[kind] += 1
    storm.executed["kill -9 at a system call"] += 1
    child = there.start(gated=True)
    # Held at the entry of each such call for a moment, of whichever thread: long enough to be seen, and killed, there.
    tracer = ingest_syscalls.attach(child.pid, there.folder / "kill.trace", f"{call}:delay_enter={HOLD_US.get(call, HOLD_OTHERS_US)}")
    os.kill(child.pid, signal.SIGCONT)
    before = there.sequence()
    ingest_syscalls.wait_for(there.folder / "kill.trace", there.store_path, (kind, passing), KILL_S, lambda: there.sequence() > before)
    child.kill()
    child.join()
    tracer.wait()
    hit = {point.kind for point in learn(storm, there, "kill.trace") if point.killed}
    storm.hit.update(hit)
    storm.effective["kill -9 at a system call"] += kind in hit


def kill_as_a_store_is_made(storm: Storm, there: Stage, kind: str) -> None:
    wait_until(lambda: there.traffic.sent.committed > 0, "something to read", FENCE_S)
    kill_at(storm, there, kind)


def kill_at_random(storm: Storm, there: Stage) -> None:
    child = there.start()
    time.sleep(storm.chance.choice([storm.chance.uniform(0.0, 0.4), storm.chance.uniform(0.15, 0.5), storm.chance.uniform(0.2, 0.8)]))
    child.kill()
    child.join()
    storm.executed["kill -9 at random"] += 1
    storm.effective["kill -9 at random"] += child.exitcode == -signal.SIGKILL


def kills(storm: Storm, there: Stage, count: int, blow: Callable[[Storm, Stage], None]) -> None:
    child, before = there.start(), there.sequence()
    there.commit_after(before, "before the kills")  # from here on there is something to compare
    child.kill()
    child.join()
    for _ in range(count):
        blow(storm, there)
        there.check(blow.__name__)


# --- stops -------------------------------------------------------------------------------------------------------


def stop_past_a_takeover(storm: Storm, there: Stage) -> None:
    """Stop a writer at a call of its commit, let another take over, wake it: it must end as fenced and change nothing."""
    data = [point for point in storm.known.values() if point.call in ("openat", "link", "write") and "events.parquet" in point.kind]
    log = [point for point in storm.known.values() if point.call in ("linkat", "write") and "_delta_log" in point.kind]
    partial = [point for point in storm.known.values() if point.call == "openat" and "{type}/{day}" in point.kind]
    first, before = there.start(), there.sequence()
    there.commit_after(before, "of the first writer")
    call = storm.chance.choice((data + partial) or log).call if storm.chance.randrange(3) else "linkat"
    tracer = ingest_syscalls.attach(first.pid, there.folder / "stop.trace", f"{call}:signal=STOP:when=1")
    storm.executed["SIGSTOP past a takeover"] += 1
    deadline = time.monotonic() + KILL_S
    while "T" not in _states(first.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    tracer.detach()
    os.kill(first.pid, signal.SIGSTOP)  # again: the tracer may have taken the other one with it
    wait_until(lambda: ingest_child.state_of(first.pid) == "T", "the first writer stopped", STOP_S)
    at_stop = there.sequence()
    second = there.start()
    there.commit_after(at_stop + 1, "of the second writer")
    os.kill(first.pid, signal.SIGCONT)
    first.join(TWIN_FENCE_S if there.twin else FENCE_S)
    fenced = first.exitcode == 3
    storm.effective["SIGSTOP past a takeover"] += fenced
    second.kill()
    second.join()
    there.check("stop_past_a_takeover")
    if not fenced:
        raise NotExactError(f"a woken writer was not fenced: it ended with {first.exitcode}")


def stops(storm: Storm, there: Stage, count: int) -> None:
    for _ in range(count):
        stop_past_a_takeover(storm, there)


def _states(pid: int) -> str:
    states = ""
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            states += task.read_text().rpartition(")")[2].split()[0].upper()
        except OSError:
            continue
    return states


def lanes(storm: Storm, there: Stage, act: Callable[[Rebalances], None]) -> None:
    with rebalancing(there, storm.chance, storm.executed, storm.effective) as work:
        act(work)


# --- a store that fails -----------------------------------------------------------------------------------------


OUTAGES = {
    "disk full": ("fsync:error=ENOSPC", "link:error=ENOSPC", "linkat:error=ENOSPC", "rename:error=ENOSPC", "mkdir:error=ENOSPC"),
    "store returns errors": ("fsync:error=EIO:when=1+2", "linkat:error=EIO:when=1+2", "rename:error=EIO:when=1+3"),
    "store slow": ("fsync:delay_exit=150000", "linkat:delay_exit=150000", "rename:delay_exit=150000"),
    "store read-only": ("openat:error=EROFS:when=1+2", "mkdir:error=EROFS", "unlink:error=EROFS", "rename:error=EROFS"),
}


def fail_the_store(storm: Storm, there: Stage) -> None:
    """Let calls fail for a while in a consumer that runs, and then no more: it must go on by itself."""
    for what, inject in OUTAGES.items():
        child, before = there.start(), there.sequence()
        there.commit_after(before, "before the outage")
        failed = there.said("session failed")
        tracer = ingest_syscalls.attach(child.pid, there.folder / "outage.trace", *inject)
        time.sleep(OUTAGE_S)
        storm.executed[what] += 1
        tracer.detach()
        traced = (there.folder / "outage.trace").read_text(errors="replace")
        storm.effective[what] += "(INJECTED)" in traced or "(DELAYED)" in traced
        if child.exitcode is not None:
            raise NotExactError(f"{what}: the consumer ended with {child.exitcode} instead of waiting")
        there.commit_after(there.sequence(), f"after: {what} ({there.said('session failed') - failed} sessions failed)")
        child.kill()
        child.join()
        there.check(what)


# --- clocks, partitions, brokers ----------------------------------------------------------------------------------


def step_clocks(storm: Storm, there: Stage) -> None:
    for clock in ("ahead", "behind", "stepping", "behind", "stepping", "ahead"):
        before = there.sequence()
        child = there.start(clock=clock)
        storm.executed["clock steps"] += 1
        there.commit_after(before + 3, f"with a clock {clock}")
        storm.effective["clock steps"] += 1
        child.kill()
        child.join()
        there.check(f"clock {clock}")


def grow_topics(storm: Storm, there: Stage) -> None:
    """More partitions while a consumer runs: the traffic's client finds them within its metadata's age, the consumer by itself."""
    child, before = there.start(), there.sequence()
    there.commit_after(before, "before the topics grow")
    admin = AdminClient({"bootstrap.servers": storm.servers})
    for made in admin.create_partitions([NewPartitions(each.topic, 5) for each in there.job.topics]).values():
        made.result(timeout=60)
    storm.executed["partitions added"] += 1
    there.commit_after(there.sequence() + 3, "after the topics grew")
    storm.effective["partitions added"] += 1
    child.kill()
    child.join()
    there.check("grow_topics")


def kill_brokers(storm: Storm, there: Stage) -> None:
    """Each broker in turn, then two of three at once: what is acknowledged waits, and nothing is lost."""
    assert storm.brokers is not None
    ids = storm.brokers.ids
    child, before = there.start(), there.sequence()
    there.commit_after(before, "before the brokers fail")
    for broker in ids:
        storm.brokers.kill(broker)
        storm.executed["broker killed"] += 1
        there.commit_after(there.sequence() + 1, f"without broker {broker}")
        storm.brokers.restart(broker)
        storm.brokers.wait_in_sync()  # two that miss what the third has are two failures, not one
        storm.effective["broker killed"] += 1
    for broker in ids[1:]:
        storm.brokers.kill(broker)
    storm.executed["two of three brokers down"] += 1
    time.sleep(3 * OUTAGE_S)
    for broker in ids[1:]:
        storm.brokers.restart(broker)
    there.commit_after(there.sequence() + 1, "after two of three brokers came back")
    storm.effective["two of three brokers down"] += 1
    if child.exitcode is not None:
        raise NotExactError(f"brokers: the consumer ended with {child.exitcode} instead of waiting")
    there.check("kill_brokers")
    child.kill()
    child.join()


# --- the whole ----------------------------------------------------------------------------------------------------


def many_kills(storm: Storm, blow: Callable[[Storm, Stage], None], left: int) -> None:
    while left > 0:
        now = min(left, PER_STAGE)
        storm.on_stage(lambda there, now=now: kills(storm, there, now, blow))
        left -= now
        sys.stdout.write(f"{blow.__name__}: {left} to go\n")


def run(storm: Storm, count: int) -> None:
    """The whole storm: `count` kills, three in ten of them at system calls."""
    storm.on_stage(lambda there: watch_a_cycle(storm, there))
    for kind in storm.once:
        storm.on_stage(lambda there, kind=kind: kill_as_a_store_is_made(storm, there, kind))
    parts: list[Callable[[], None]] = [
        lambda: many_kills(storm, kill_at_a_call, round(count * 0.3) - len(storm.once)),
        lambda: many_kills(storm, kill_at_random, round(count * 0.7)),
        lambda: storm.on_stage(lambda there: lanes(storm, there, rebalance)),
    ]
    with ThreadPoolExecutor(len(parts)) as side_by_side:  # each of them is mostly waiting
        list(side_by_side.map(lambda part: part(), parts))
    storm.on_stage(lambda there: stops(storm, there, max(3, count // 40)))
    for act in (fail_the_store, step_clocks, grow_topics):
        storm.on_stage(lambda there, act=act: act(storm, there))
    if storm.brokers is not None:
        storm.on_stage(lambda there: kill_brokers(storm, there))


ALONE: dict[str, Callable[[Storm, Stage], None]] = {
    "published before it is synced": watch_a_cycle,
    "late offers are taken": lambda storm, there: lanes(storm, there, wake_late),
}
"""The one blow that catches a twin, where there is one."""


def provoke(storm: Storm) -> None:
    """What catches a broken twin: a watched cycle, kills at system calls, writers that are stopped and woken, lanes that wake late."""
    if storm.twin in ALONE:
        for _ in range(TRIES):
            storm.on_stage(lambda there: ALONE[storm.twin](storm, there))
        return
    storm.on_stage(lambda there: watch_a_cycle(storm, there), twin="")
    for _ in range(TRIES):
        if storm.twin == "offsets outside the commit":
            storm.on_stage(lambda there: kills(storm, there, 12, kill_at_a_call))
        storm.on_stage(lambda there: stops(storm, there, 6))


def figures(storm: Storm) -> dict[str, dict[str, object]]:
    told: dict[str, dict[str, object]] = {
        what: {"executed": count, "took effect": storm.effective[what]} for what, count in sorted(storm.executed.items())
    }
    told["kinds of points: there, hit"] = {"executed": len(storm.known), "took effect": sum(storm.hit[kind] > 0 for kind in storm.known)}
    told["comparisons, and records in the last of them"] = {"executed": storm.verified, "took effect": storm.records}
    return told


def weather(storm: Storm, act: Callable[[Storm], None]) -> str:
    """Let a storm pass; returns what was wrong, or nothing."""
    try:
        act(storm)
    except (NotExactError, TimeoutError) as error:
        return f"{error}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--twin", choices=sorted(TWINS), action="append", default=[], help="run a broken twin instead; may be repeated")
    parser.add_argument("--twins", action="store_true", help="and then every broken twin")
    asked = parser.parse_args()
    ingest_syscalls.require_strace()
    folder = runs.claim(RUNS / f"ingest-storm-{os.getpid()}")
    existing = kafka.existing()
    brokers = existing or kafka.start(folder / "kafka", progress=print)
    good = True

    def blow(twin: str) -> None:
        nonlocal good
        began, ours = time.monotonic(), None if existing else brokers
        storm = Storm(
            brokers.bootstrap_servers, folder / (twin.replace(" ", "-") or "ingest"), asked.seed, twin, random.Random(asked.seed), ours
        )
        wrong = weather(storm, provoke if twin else lambda storm: run(storm, asked.kills))
        tell("chaos-ingest", f"broken twin: {twin}" if twin else "ingest", figures(storm))
        if not twin:
            sys.stdout.write("".join(f"not hit: {kind}\n" for kind in sorted(storm.known) if not storm.hit[kind]))
        sys.stdout.write(f"{time.monotonic() - began:.0f} s; {('caught: ' if twin else '') + wrong if wrong else 'exact'}\n")
        good &= bool(wrong) is bool(twin)

    try:
        for twin in asked.twin or ["", *(TWINS if asked.twins else ())]:
            blow(twin)
    finally:
        if existing is None:
            brokers.stop()
    if good:
        runs.discard(folder)
    else:
        sys.stdout.write(f"left to look at: {folder}\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
