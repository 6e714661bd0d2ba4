"""What exactly-once ingest costs: a bare drain, ours, and Spark Structured Streaming, in one run on the same topic.

    python -m bench.ingest [--events 2000000] [--rounds 3] [--peer-rounds 2] [--seconds 20] [--no-peer]

- catch-up: each reads the same topic (3 partitions, lz4, one record of 1,000 broken) from its beginning, in a process of its own, one
  after the other in rounds; the fastest round of each counts. Bare: `consume(10000)` and nothing else. Floor: that, native decoding
  and Parquet, without a check, a flush or a commit. Ours: read, judge, dead letters in a transaction, Parquet, flushed files, a commit
  with the offsets for each 50,000 records, manifest. Spark: the same schema and rules, broken records dropped, Parquet, its checkpoint.
- steady: 20,000 events/s; from an event's own time to the moment at which the commit that covers it is in place.
- restart: kill -9 under that flow, and a new process at once.

A missed target is told and fails nothing. Uses the broker at KAFKA_BOOTSTRAP_SERVERS, else starts one.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bench.ingest import bare, floor, ours, peer, topics
from bench.ingest.measured import Cost
from bench.ingest.steady import RATE, Steady, folder_of, steady
from recsys_dev import kafka, runs
from recsys_dev.errors import Unmet
from recsys_dev.figures import tell

RUNS = Path(__file__).resolve().parents[3] / "build" / "run" / "tests"
REPORT = "bench-ingest"
RESTARTS = 3
Rounds = dict[str, list[Cost]]


def catch_ups(servers: str, folder: Path, asked: argparse.Namespace, spark: peer.Spark | None) -> Rounds:
    """Read one topic by every subject in turn, some rounds."""
    topic, events = f"backlog-{os.getpid()}", asked.events
    topics.make(servers, topic)
    _say(f"Writing {events:,} events.")
    topics.fill(servers, topic, events)
    bare.catch_up(servers, topic, events, folder_of(folder, "cache"))  # so that whoever reads first finds the page cache warm, too
    rounds: Rounds = {"bare": [], "floor": [], "ours": []}
    for number in range(asked.rounds):
        _say(f"Catch-up, round {number + 1} of {asked.rounds}.")
        rounds["bare"].append(bare.catch_up(servers, topic, events, folder_of(folder, f"bare-{number}")))
        rounds["floor"].append(floor.catch_up(servers, topic, events, folder_of(folder, f"floor-{number}")))
        rounds["ours"].append(ours.catch_up(servers, topic, events, folder_of(folder, f"ours-{number}")))
        if spark and number < asked.peer_rounds:
            rounds.setdefault("spark", []).append(spark.catch_up(servers, topic, events, folder_of(folder, f"spark-{number}")))
    return rounds


def flows(servers: str, folder: Path, seconds: float, spark: peer.Spark | None) -> dict[str, Steady]:
    """Read a steady flow by ours, then by the peer."""
    found: dict[str, Steady] = {}
    topic, here = f"flow-{os.getpid()}", folder_of(folder, "flow-ours")
    topics.make(servers, topic)
    _say(f"A steady flow of {RATE:,} events/s.")
    asked = ours.job(servers, topic, here, ours.SHORTEST_ROLL_S)
    found["ours"] = steady(servers, topic, partial(ours.start, asked, folder / "flow.log"), partial(ours.publications, here), seconds)
    if spark:
        topic, there = f"flow-spark-{os.getpid()}", folder_of(folder, "flow-spark")
        topics.make(servers, topic)
        start = partial(spark.start, servers, topic, there, int(ours.SHORTEST_ROLL_S * 1000))
        try:
            found["spark"] = steady(servers, topic, start, partial(peer.publications, there), seconds)
        except RuntimeError as error:
            _say(f"Spark does not keep up with the flow here: {error}")
    return found


def restarts(servers: str, folder: Path) -> list[float]:
    """Kill it some times."""
    found: list[float] = []
    for number in range(RESTARTS):
        _say(f"kill -9, {number + 1} of {RESTARTS}.")
        topic = f"restart-{number}-{os.getpid()}"
        topics.make(servers, topic)
        found.append(ours.restart(servers, topic, RATE, folder_of(folder, f"restart-{number}"), folder / f"restart-{number}.log"))
    return found


def catch_up_figures(rounds: Rounds, events: int) -> dict[str, dict[str, Any]]:
    """The fastest round of each subject, its least CPU and its highest memory."""
    return {
        name: {
            "events_per_s": min(costs, key=lambda cost: cost.seconds).rate(events),
            "cpu_s_per_million": min(cost.a_million(events) for cost in costs),
            "peak_mib": max(cost.peak_mib for cost in costs),
            "rounds": len(costs),
        }
        for name, costs in rounds.items()
    }


def flow_figures(found: Mapping[str, Steady]) -> dict[str, dict[str, Any]]:
    """Delays in seconds, and what a million events cost a warm process."""
    return {
        name: {
            "events": each.delays.events,
            "visible_p50_s": each.delays.p50,
            "visible_p99_s": each.delays.p99,
            "longest_s": each.delays.longest,
            "cpu_s_per_million": each.cpu_s_per_million,
            "commits_per_s": each.commits_per_s,
        }
        for name, each in found.items()
    }


def verdicts(
    full: Mapping[str, Mapping[str, Any]], flow: Mapping[str, Mapping[str, Any]], restart_s: list[float]
) -> dict[str, dict[str, Any]]:
    """Each target, what was seen, and whether it holds."""
    seen: dict[str, tuple[float, str, float]] = {
        "ours / bare, events/s": (full["ours"]["events_per_s"] / full["bare"]["events_per_s"], "≥", 0.6),
        "event to visible p99, s": (flow["ours"]["visible_p99_s"], "≤", 1.5),
        "kill -9 to first new commit, s (worst)": (max(restart_s), "≤", 3.0),
        "peak memory, MiB": (full["ours"]["peak_mib"], "≤", 600.0),
    }
    if "spark" in full:
        seen["spark / ours, CPU-s a million, catch-up"] = (full["spark"]["cpu_s_per_million"] / full["ours"]["cpu_s_per_million"], "≥", 8.0)
    if "spark" in flow:
        seen["spark / ours, CPU-s a million, warm"] = (flow["spark"]["cpu_s_per_million"] / flow["ours"]["cpu_s_per_million"], "≥", 8.0)
    return {
        name: {
            "seen": value,
            "target": f"{sign} {limit:g}",
            "holds": "yes" if (value >= limit if sign == "≥" else value <= limit) else "NO",
        }
        for name, (value, sign, limit) in seen.items()
    }


def run(servers: str, folder: Path, asked: argparse.Namespace) -> None:
    """Measure on a broker that is there, and tell."""
    spark = None if asked.no_peer else _spark(folder)
    full = catch_up_figures(catch_ups(servers, folder, asked, spark), asked.events)
    tell(REPORT, "catch-up", full)
    flow = flow_figures(flows(servers, folder, asked.seconds, spark))
    tell(REPORT, "steady", flow)
    seen = restarts(servers, folder)
    tell(REPORT, "restart", {"median_s": statistics.median(seen), "worst_s": max(seen), "kills": len(seen)})
    tell(REPORT, "targets", verdicts(full, flow, seen))


def _spark(folder: Path) -> peer.Spark | None:
    try:
        jars = peer.ensure(_say)
        return peer.Spark(jars, peer.compiled(jars, folder_of(folder, "classes")))
    except Unmet as error:
        _say(f"Without the peer: {error}")
        return None


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.ingest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the steady flow is measured")
    parser.add_argument("--no-peer", action="store_true", help="leave Spark out")
    asked = parser.parse_args()
    folder = runs.claim(RUNS / f"ingest-bench-{os.getpid()}")
    existing = kafka.existing()
    brokers = existing or kafka.start(folder / "kafka", 1, progress=_say)
    try:
        run(brokers.bootstrap_servers, folder, asked)
    finally:
        if existing is None:
            brokers.stop()
        runs.discard(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
