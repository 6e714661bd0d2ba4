"""kill -9 of the operator, the ingest actor, the training job and one broker at random moments of the line: the end is the same.

    python tests/chaos/line_kill.py --kills 20 --seed 1 [--twin]

Every part is killed so many times, in random order. Then everything comes to rest, and what is there is compared with what was
promised. With --twin broken operators are run instead, and each must be caught. Ends with 0 when that is so, and prints a table.
"""

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from line_scene import Scene, begin_traffic, kill, open_scene, say, wait_for

from recsys_dev import runs
from recsys_dev.claims import Claims
from recsys_dev.eyes import Seen
from recsys_dev.figures import tell
from recsys_dev.processes import stop_all
from recsys_dev.story import ENDED, walk
from recsys_schemas.v1alpha1.version import VersionPhase

HERE = Path(__file__).resolve().parent
RUNS = HERE.parents[1] / "build" / "run" / "tests"
TARGETS = ("operator", "ingest", "training", "broker")
FIND_S = 400.0
REST_S = 600.0
STUCK_S = 60.0
MOST_RUNS_LOST = 2
COME_TO_END = "every version came to its end"
WALK = [5, 25, 50, 100]
UNDERWAY = frozenset({VersionPhase.PENDING, VersionPhase.TRAINING, VersionPhase.PREFLIGHT, VersionPhase.CANDIDATE})


@dataclass(slots=True, kw_only=True)
class Fire:
    """Kills parts of a scene."""

    scene: Scene
    chance: random.Random
    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TARGETS, 0))

    def strike(self, target: str) -> None:
        """Kill one part at a random moment, and bring back what nobody else would."""
        {"operator": self.operator, "ingest": self.ingest, "training": self.training, "broker": self.broker}[target]()
        self.kills[target] += 1

    def _moment(self, longest_s: float) -> None:
        time.sleep(self.chance.uniform(0, longest_s))  # a kill has no condition to wait on: this is its moment

    def operator(self) -> None:
        """Kubernetes would start it again, so we do."""
        self._moment(5)
        child = self.scene.line.operator
        assert child is not None
        assert kill(child.pid)
        wait_for(lambda: not child.is_alive(), "the operator's end", 30)
        self._moment(2)
        self.scene.line.start_operator()

    def ingest(self) -> None:
        """Ray starts the actor again."""
        self._struck(lambda: self.scene.workers("Consuming"), "the ingest actor", 4)

    def training(self) -> None:
        """The driver or its worker, whichever there is; the operator tries again, after longer and longer pauses.

        A version that has lost several runs is let be: its pauses would be all that is left to watch.
        """
        self._struck(lambda: self.scene.training() if self._fresh() else [], "a training job", 8)

    def _fresh(self) -> bool:
        seen = self.scene.look()
        return seen is not None and bool(seen.versions) and seen.versions[-1].status.attempt < MOST_RUNS_LOST

    def _struck(self, find: Callable[[], list[int]], what: str, longest_s: float) -> None:
        end = time.monotonic() + FIND_S
        while True:
            wait_for(lambda: bool(find()), what, max(1.0, end - time.monotonic()))
            self._moment(longest_s)
            found = find()
            # It may have ended by itself meanwhile; then the next one is waited for.
            if found and kill(self.chance.choice(found)):
                return

    def broker(self) -> None:
        """A broker comes back after a while; the next one is killed only when all replicas are in sync again."""
        brokers = self.scene.line.brokers
        self._moment(4)
        victim = self.chance.choice(brokers.ids)
        brokers.kill(victim)
        self._moment(6)
        brokers.restart(victim)
        wait_for(self._in_sync, "all replicas in sync", FIND_S)

    def _in_sync(self) -> bool:
        seen = self.scene.look()
        return seen is not None and seen.holds("ReplicationHealthy")


def at_rest(scene: Scene) -> bool:
    """Whether nothing is under way any more, and every record is in a snapshot; each answer is a record, so only where nobody asks."""
    seen = scene.look()
    return seen is not None and idle(scene) and seen.status.ingestion is not None and seen.status.ingestion.lag_records == 0


def idle(scene: Scene) -> bool:
    """Whether no version is trained or rolled out, and none is due."""
    seen = scene.look()
    if seen is None or seen.status.ingestion is None or not seen.versions:
        return False
    busy = [v for v in seen.versions if v.status.phase in UNDERWAY]
    rolling = [r for r in seen.rollouts if r.status.phase not in ENDED]
    # A version that is due begins within a pass of the operator.
    rows = seen.status.ingestion.rows - seen.versions[-1].spec.snapshot.rows
    return not busy and not rolling and rows < seen.spec.training.new_records


def judge(scene: Scene, seen: Seen, claims: Claims) -> None:
    """Compare the end with what was promised."""
    judge_runs(scene, seen, claims)
    judge_shares(scene, seen, claims)
    found = scene.verified()
    words = f"{found.rows} rows, {found.dead_letters} dead letters of {found.records} records; missing {found.missing}, repeated "
    words += f"{found.repeated}, altered {found.altered}, unknown {found.unknown}, uncovered {found.uncovered}"
    claims.check("snapshot ∪ dead letters = the topics, exactly once", found.exact and found.uncovered == 0, words)
    assert scene.traffic is not None
    tally = scene.traffic.tally
    claims.check("no recommendation request failed", tally.failed == 0, tally.failures)


def judge_runs(scene: Scene, seen: Seen, claims: Claims) -> None:
    """One version for each snapshot and trigger, one successful run for each version, and only derived ids."""
    causes = [(version.spec.snapshot.sequence, version.spec.cause.trigger) for version in seen.versions]
    claims.check("one version for each snapshot and trigger", len(set(causes)) == len(causes), f"{len(causes)} versions: {causes}")
    jobs = {str(job["submission_id"]): str(job["status"]) for job in scene.jobs() if str(job["submission_id"]).startswith("train-")}
    wrong: list[str] = []
    for version in seen.versions:
        uid8 = version.spec.model_ref.uid[:8]
        prefix = f"train-{version.name}-{uid8}-"
        mine = {job_id: status for job_id, status in jobs.items() if job_id.startswith(f"train-{version.name}-")}
        derived = {f"{prefix}{attempt}" for attempt in range(version.status.attempt + 1)}
        good = [job_id for job_id, status in mine.items() if status == "SUCCEEDED"]
        if set(mine) - derived or len(good) > 1:
            wrong.append(f"{version.name}: {mine}, attempt {version.status.attempt}")
    claims.check("one training run for each version, under derived ids", not wrong, f"{len(jobs)} runs; {'; '.join(wrong) or 'all right'}")
    stuck = [f"{v.name} {v.status.phase}: {v.status.message}" for v in seen.versions if v.status.phase in UNDERWAY | {VersionPhase.FAILED}]
    claims.check(COME_TO_END, not stuck, "; ".join(stuck) or f"{len(seen.versions)} versions")


def judge_shares(scene: Scene, seen: Seen, claims: Claims) -> None:
    """Shares sum to 100 and follow the steps; at the end the champion has all."""
    odd = [shares for shares in scene.shares if sum(shares.values()) not in {0, 100} or set(shares.values()) - {0, 5, 25, 50, 75, 95, 100}]
    claims.check("shares sum to 100 and are shares of the plan", not odd, f"{len(scene.shares)} records seen; {odd or 'none odd'}")
    promoted = [rollout for rollout in seen.rollouts if rollout.spec.stable is not None and rollout.status.phase == "Successful"]
    walks = {rollout.name: walk(seen, rollout.name) for rollout in promoted}
    claims.check("every promotion walked 5, 25, 50, 100", all(steps == WALK for steps in walks.values()), str(walks))
    champion = seen.status.champion
    last = scene.shares[-1] if scene.shares else {}
    alone = champion is not None and last == {champion.version: 100}
    claims.check("at the end the champion has all users", alone, f"{champion.version if champion else 'none'}: {last}")


def run(kills: int, seed: int, folder: Path) -> tuple[Claims, dict[str, int]]:
    """The product under fire."""
    chance, claims, scene = random.Random(seed), Claims(), open_scene(folder)
    fire = Fire(scene=scene, chance=chance)
    try:
        begin_traffic(scene)
        for number in range(kills):
            for target in chance.sample(TARGETS, len(TARGETS)):
                say(f"kill {number + 1} of {kills}: {target}")
                fire.strike(target)
        scene.producer.flush()
        scene.stop_events()
        wait_for(lambda: idle(scene), "rest", REST_S)
        # Users who came on meanwhile have watched: their events belong in a snapshot too.
        scene.quiet()
        wait_for(lambda: at_rest(scene) and scene.verified().uncovered == 0, "the last events in a snapshot", FIND_S)
        seen = scene.look()
        assert seen is not None
        judge(scene, seen, claims)
    finally:
        scene.quiet()
        scene.eyes.close()
        scene.line.stop()
    return claims, fire.kills


def run_twin(name: str, folder: Path) -> bool:
    """A broken operator: whether it is caught."""
    scene = open_scene(folder, operator=(str(HERE / "line_twin.py"), name))
    try:
        wait_for(lambda: (seen := scene.look()) is not None and bool(seen.versions), "a first version", FIND_S)
        child = scene.line.operator
        assert child is not None
        kill(child.pid)  # at once: the version is there, its run may not be
        wait_for(lambda: not child.is_alive(), "the operator's end", 30)
        scene.line.start_operator((str(HERE / "line_twin.py"), name))
        with suppress(TimeoutError):
            wait_for(lambda: (seen := scene.look()) is not None and seen.holds("Ready"), "a version that serves", STUCK_S)
        claims, seen = Claims(), scene.look()
        assert seen is not None
        judge_runs(scene, seen, claims)
        submitted = [job for job in scene.jobs() if str(job["submission_id"]).startswith("train-")]
        claims.check(
            "a version that is due is trained", bool(submitted), f"{len(submitted)} runs {STUCK_S:.0f} s after the operator began again"
        )
        # That a run has not ended says only how busy the machine is.
        wrong = [claim for claim in claims.broken if claim.name != COME_TO_END]
        say("".join(f"   caught: {name}: {claim.name}: {claim.seen}\n" for claim in wrong))
        return bool(wrong)
    finally:
        scene.eyes.close()
        scene.line.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each part")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--twin", action="store_true", help="run the broken twins instead; each must be caught")
    asked = parser.parse_args()
    folder = RUNS / f"chaos-line-{os.getpid()}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return try_twins(folder) if asked.twin else try_product(asked.kills, asked.seed, folder)
    finally:
        stop_all(folder)


def try_twins(folder: Path) -> int:
    """Run each broken operator; 0 when all are caught."""
    caught: dict[str, bool] = {}
    for name in ("random-ids", "edge-triggered"):
        runs.discard(folder)
        caught[name] = run_twin(name, runs.claim(folder))
    runs.discard(folder)
    tell("chaos-line", "line: broken twins caught", caught)
    return 0 if all(caught.values()) else 1


def try_product(kills: int, seed: int, folder: Path) -> int:
    """Run the product under fire, print and write what was found; 0 when every claim holds."""
    began = time.monotonic()
    claims, done = run(kills, seed, runs.claim(folder))
    kills_told = {f"kills of {target}": count for target, count in done.items()} | {
        "seed": seed,
        "seconds": round(time.monotonic() - began),
    }
    tell("chaos-line", "line", kills_told)
    tell("chaos-line", "line: claims", claims.told())
    if not claims.broken:
        runs.discard(folder)
    return 1 if claims.broken else 0


if __name__ == "__main__":
    sys.exit(main())
