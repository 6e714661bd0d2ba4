"""The operator replaced by its next release and by its last one, in the middle of training and of canaries, under users.

    python tests/chaos/line_upgrade.py [--seconds-of-a-step 10]

A real API server, three brokers, Ray. The release before is an earlier commit of this repository (tests/kube/previous_operator.py); with
the next one come definitions that have fields which the other has never heard of. Five changes of operator: to the next one while the
first version is trained, back while the second is trained, on in its canary, back in the canary of the third, on at the end. What must
hold is what must hold without any: each version trained once, shares along their steps, all records exactly once, no request failed, no
replica begun anew.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from line_kill import FIND_S, REST_S, at_rest, idle, judge
from line_scene import CHANGES, MODEL, Scene, begin_traffic, open_scene, say, wait_for

from kube.previous_operator import next_definitions, previous
from recsys_dev import processes, runs
from recsys_dev.claims import Claims
from recsys_dev.errors import Unmet, told
from recsys_dev.eyes import Seen
from recsys_dev.figures import tell
from recsys_dev.processes import stop_all
from recsys_dev.story import ENDED
from recsys_schemas.v1alpha1.version import VersionPhase

RUNS = Path(__file__).resolve().parents[2] / "build" / "run" / "tests"
NEXT = ("-m", "recsys_operator")
TRAINED_S, CANARY_S = 300.0, 300.0


@dataclass(slots=True, kw_only=True)
class Upgrades:
    """Changes of operator, and what was under way at each."""

    scene: Scene
    claims: Claims
    away_s: list[float] = field(default_factory=list[float])

    def change(self, program: Sequence[str], words: str) -> None:
        """End the operator as Kubernetes does, and start another one."""
        say(f"   -> {words}")
        child = self.scene.line.operator
        assert child is not None
        began = time.monotonic()
        processes.stop(child)
        self.scene.line.start_operator(program)
        self.away_s.append(time.monotonic() - began)

    def in_training(self, number: int, program: Sequence[str], words: str) -> None:
        """Change operators while a version is trained: its run must go on and be found."""
        self.scene.story.wait(
            lambda seen: _phase(seen, number) is VersionPhase.TRAINING, what=f"version {number} trained", deadline_s=FIND_S
        )
        wait_for(lambda: bool(self.scene.training()), "a training process", TRAINED_S)
        before = self.scene.training()
        self.change(program, f"{words}, while version {number} is trained")
        still = sorted(set(before) & set(self.scene.training()))
        self.claims.check(f"{words}: version {number} was being trained before and after", bool(still), f"processes {before}, then {still}")

    def in_canary(self, least: int, program: Sequence[str], words: str) -> None:
        """Change operators while a version numbered so or higher has some of the users: its rollout must go on."""

        def under_way(seen: Seen) -> bool:
            newest = max(self.scene.shares[-1], default="") if self.scene.shares else ""
            share = self.scene.shares[-1].get(newest, 0) if newest else 0
            return newest >= f"{MODEL}-{least:06}" and 0 < share < 100 and newest in _rolling(seen)

        seen = self.scene.story.wait(under_way, what=f"a canary of version {least} or a later one", deadline_s=CANARY_S)
        (before,) = _rolling(seen)
        self.change(program, f"{words}, while users have {self.scene.shares[-1]}")
        after = _rolling(seen) if (seen := self.scene.look()) is not None else set[str]()
        self.claims.check(f"{words}: a canary was under way before and after", before in after, f"{before}, then {sorted(after)}")


def _phase(seen: Seen, number: int) -> VersionPhase | None:
    version = seen.version(number)
    return version.status.phase if version is not None else None


def _rolling(seen: Seen) -> set[str]:
    """Candidates of rollouts that have not ended."""
    return {rollout.spec.candidate.name for rollout in seen.rollouts if rollout.status.phase not in ENDED}


def replicas(scene: Scene) -> set[str]:
    """Ids of the replicas that serve."""
    with scene.line.head.client() as client:
        apps = client.get("/api/serve/applications/").raise_for_status().json()["applications"]
    return {each["replica_id"] for app in apps.values() for part in app["deployments"].values() for each in part["replicas"]}


def run(folder: Path, step_s: float) -> tuple[Claims, list[float]]:
    """The line, and five changes of its operator."""
    before = previous(folder / "previous").program
    changes = CHANGES | {"spec.rollout.analysis": CHANGES["spec.rollout.analysis"] | {"minimumSeconds": step_s}}
    claims, scene = Claims(), open_scene(folder, operator=before, changes=changes)
    upgrades = Upgrades(scene=scene, claims=claims)
    try:
        # As helm does: definitions first, so that for a moment the old operator works under the new ones.
        scene.line.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=next_definitions())
        upgrades.in_training(1, NEXT, "up")
        begin_traffic(scene)
        began_with = replicas(scene)
        upgrades.in_training(2, before, "down")
        upgrades.in_canary(2, NEXT, "up")
        upgrades.in_canary(3, before, "down")
        scene.producer.flush()
        scene.stop_events()
        wait_for(lambda: idle(scene), "rest", REST_S)
        upgrades.change(NEXT, "up, at rest")
        scene.quiet()
        wait_for(lambda: at_rest(scene) and scene.verified().uncovered == 0, "the last events in a snapshot", FIND_S)
        seen = scene.look()
        assert seen is not None
        judge(scene, seen, claims)
        ended_with = replicas(scene)
        claims.check("no replica was begun anew", began_with == ended_with, f"{sorted(began_with)}, then {sorted(ended_with)}")
        claims.check("the model is ready, and nobody must act", seen.holds("Ready") and not seen.holds("Stalled"), str(seen.status.phase))
    finally:
        scene.quiet()
        scene.eyes.close()
        scene.line.stop()
    return claims, upgrades.away_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds-of-a-step", type=float, default=10.0, help="how long each share is held at least")
    asked = parser.parse_args()
    folder = RUNS / f"upgrade-{os.getpid()}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    try:
        claims, away_s = run(runs.claim(folder), asked.seconds_of_a_step)
    except (Unmet, TimeoutError) as error:
        say(f"{error}\nlogs: {folder}/log")
        return 1
    finally:
        stop_all(folder)
    figures = {
        "changes of operator": len(away_s),
        "longest without one s": round(max(away_s), 1),
        "seconds": round(time.monotonic() - began),
    }
    tell("e2e-upgrade", "operators", figures)
    tell("e2e-upgrade", "operators: claims", claims.told())
    if not claims.broken:
        runs.discard(folder)
    return 1 if claims.broken else 0


if __name__ == "__main__":
    sys.exit(told(main))
