"""Version switches and kill -9 of replicas under load: no request fails, and every answer is what the version that it names gives.

    python tests/chaos/serving_storm.py --switches 1000 --kills 50 [--twins]

With --twins two broken ones are run as well, and each must be caught: an API that names another version than the one that answered, and an
ingress that does not try another replica when one dies under a request. Ends with 0 when all claims hold, and prints a table.
"""

import argparse
import json
import os
import random
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.serving_line import EVEN
from chaos.serving_checking import Checked, Truth, checked
from chaos.serving_switches import Switches
from load.scene import VERSIONS, Parts, Scene, served
from recsys_dev import ray
from recsys_dev.claims import Claims
from recsys_dev.figures import tell
from recsys_dev.loadgen import Asked, start, write_requests

RATE = 60.0
SWITCH_S = 0.2
"""Until a record that has come to a replica is in force there."""
ITEMS, FACTORS, USERS = 2000, 32, 500
MOST_SHED = 0.01
"""Part of the requests that may be refused for load while one replica does the work of two."""
MIXING = "mixing_app:build"
NO_RETRY = {"RAY_SERVE_HAPROXY_RETRY_ON": "none"}
APPS = Path(__file__).resolve().parents[1] / "load" / "apps"


@dataclass(slots=True)
class Storm:
    """Blows that fell, and how long each took to be over."""

    switches: list[float] = field(default_factory=list[float])
    kills: list[float] = field(default_factory=list[float])
    checked: Checked = field(default_factory=Checked)
    in_time: tuple[int, int] = (0, 0)
    """Switches of single replicas that took no longer than SWITCH_S, and all that were seen."""
    inside: dict[str, int] = field(default_factory=dict[str, int])
    """Those by upper bound, seconds."""

    def figures(self) -> dict[str, Any]:
        """For the table."""
        found = self.checked
        return {
            "switches": len(self.switches),
            "switch_p50_s": round(median(self.switches), 2) if self.switches else 0.0,
            "switch_longest_s": round(max(self.switches, default=0.0), 2),
            "in_replicas_by_s": self.inside,
            "kills": len(self.kills),
            "whole_again_p50_s": round(median(self.kills), 1) if self.kills else 0.0,
            "answers": found.answers,
            "by_version": dict(found.by_version),
            "reasons": dict(found.reasons),
            "failed": dict(found.failed),
            "refused_for_load": found.shed,
            "mixed": len(found.mixed),
        }


def storm(scene: Scene, *, switches: int, kills: int, seed: int = 1) -> Storm:
    """Switch and kill in random order while requests come, then look at every answer."""
    users = [f"user-{user:06d}" for user in random.Random(seed).sample(range(scene.users), scene.users)]
    bodies = (Asked(route="storm", path="/movies/v1/recommendations", body=json.dumps({"user_id": user}).encode()) for user in users)
    requests = write_requests(scene.folder / "storm.jsonl", bodies)
    answers = scene.folder / "storm-answers.jsonl"
    blows = ["switch"] * switches + ["kill"] * kills
    chance = random.Random(seed)
    chance.shuffle(blows)
    generator = start(scene.url, requests, token_file=scene.token_file, rate=RATE, seconds=24 * 3600, answers=answers, seed=seed)
    happened, switches_seen = Storm(), Switches(scene)
    switches_seen.find()
    try:
        stable = 0
        for blow in blows:
            began = time.monotonic()
            if blow == "switch":
                stable = 1 - stable
                scene.movies.serve((VERSIONS[stable], 100), (VERSIONS[1 - stable], 0))
                happened.switches.append(time.monotonic() - began)
                switches_seen.look()
            else:
                hit = chance.choice(scene.replica_pids())
                with suppress(ProcessLookupError):
                    os.kill(hit, signal.SIGKILL)
                scene.wait_whole(without=hit)
                happened.kills.append(time.monotonic() - began)
                switches_seen.find()
    finally:
        generator.stop()
    happened.in_time, happened.inside = switches_seen.within(SWITCH_S), dict(switches_seen.counts)
    truth = Truth(scene.movies.arguments.storage_uri, scene.movies.digests, scene.folder / "truth")
    with answers.open() as lines:
        happened.checked = checked(truth, lines)
    return happened


def judge(claims: Claims, happened: Storm) -> None:
    """What must hold."""
    found = happened.checked
    claims.check("no request failed", not found.failed, f"{sum(found.failed.values())} of {found.answers}: {dict(found.failed)}")
    few = found.shed <= MOST_SHED * found.answers
    claims.check(f"refused for load were at most {MOST_SHED:.0%}, told when to come again", few, f"{found.shed} of {found.answers}")
    claims.check("every answer is what its version gives", not found.mixed, "; ".join(found.mixed[:3]) or f"{found.answers} answers")
    quick, seen = happened.in_time
    claims.check(f"a replica switches within {SWITCH_S:g} s of being told", quick == seen > 0, f"{quick} of {seen}")
    claims.check("both versions answered", len(found.by_version) == len(VERSIONS), f"{dict(found.by_version)}")


def run(folder: Path, *, switches: int, kills: int, import_path: str | None = None, settings: dict[str, str] | None = None) -> Storm:
    """A storm on parts of its own."""
    parts = Parts(folder)
    if settings:
        parts.head = ray.start(folder / "ray", python_path=[APPS], settings=EVEN | settings)
        parts.ours.append(parts.head.stop)
    with parts, served(parts, items=ITEMS, factors=FACTORS, users=USERS, follows=False, import_path=import_path) as scene:
        return storm(scene, switches=switches, kills=kills)


def main() -> int:
    """Run the storm, and its twins when asked."""
    parser = argparse.ArgumentParser(prog="serving_storm", description=__doc__)
    parser.add_argument("--switches", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--twins", action="store_true")
    words = parser.parse_args()
    claims = Claims()
    with tempfile.TemporaryDirectory(prefix="serving-storm-") as folder:
        happened = run(Path(folder) / "right", switches=words.switches, kills=words.kills)
        tell("chaos-serving", "storm", happened.figures())
        judge(claims, happened)
        if words.twins:
            mixing = run(Path(folder) / "mixing", switches=10, kills=0, import_path=MIXING)
            claims.check("an API that mixes versions is caught", bool(mixing.checked.mixed), f"{len(mixing.checked.mixed)} answers")
            alone = run(Path(folder) / "alone", switches=0, kills=6, settings=NO_RETRY)
            claims.check("an ingress that does not try again is caught", bool(alone.checked.failed), f"{dict(alone.checked.failed)}")
    tell("chaos-serving", "claims", {claim.name: f"{'holds' if claim.held else 'NOT SO'}: {claim.seen}" for claim in claims.all})
    return 1 if claims.broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
