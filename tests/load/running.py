"""Load on real serving while a training job runs and a canary is under way, and what came of it by route."""

import json
import shlex
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from load.mix import mix
from load.scene import APPS, VERSIONS, Scene
from recsys_dev.loadgen import Asked, Seen, Told, start, write_requests
from recsys_dev.ray import RayHead

WALK = (5, 25, 50, 100)
SUCCESS = 0.999
P99_MS = 25.0
PERCENTILES = (50.0, 95.0, 99.0, 99.9)
LATEST_S = 240.0
"""How much longer than it was given a canary may take."""
RECORDED = 20_000
"""Requests that are drawn; sent in order, again and again."""


@dataclass
class Canary:
    """Walks a candidate's share up while load runs, and notes when each step was in effect."""

    scene: Scene
    seconds: float
    steps: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    failed: str = ""

    def walk(self, stop: threading.Event) -> None:
        """The steps, spread over the time."""
        for share in WALK:
            if stop.wait(self.seconds / (len(WALK) + 1)):
                return
            began = time.monotonic()
            try:
                self.scene.movies.serve((VERSIONS[0], 100 - share), (VERSIONS[1], share))
            except Exception as error:  # noqa: BLE001 - told with the figures
                self.failed = f"{type(error).__name__}: {error}"
                return
            self.steps.append((share, time.monotonic() - began))


@contextmanager
def training(head: RayHead) -> Generator[None]:
    """A training job on the head."""
    name = f"fitting-{time.time_ns()}"
    with head.client(timeout_s=60) as rest:
        entrypoint = f"{shlex.quote(sys.executable)} {shlex.quote(str(APPS / 'fitting.py'))}"
        rest.post("/api/jobs/", json={"entrypoint": entrypoint, "submission_id": name}).raise_for_status()
        try:
            yield
        finally:
            rest.post(f"/api/jobs/{name}/stop").raise_for_status()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a run."""

    told: Told
    canary: Canary

    @property
    def success(self) -> float:
        """Part of the requests that were answered or refused for load: what is neither has failed."""
        whole = self.told.all
        return 1 - whole.failed / max(whole.asked, 1)


def under_load(scene: Scene, *, rate: float, seconds: float, answers: Path | None = None, seed: int = 1) -> Result:
    """The mix at a rate in open loop, with training and a canary beside it; every answer is written down where a file is named."""
    requests = write_requests(scene.folder / "mix.jsonl", mix(RECORDED, users=scene.users, items=scene.items, seed=seed))
    canary, stop = Canary(scene, seconds), threading.Event()
    walking = threading.Thread(target=canary.walk, args=(stop,), daemon=True)
    with training(scene.head):
        longest, end = seconds + LATEST_S, time.monotonic() + seconds
        generator = start(scene.url, requests, token_file=scene.token_file, rate=rate, seconds=longest, answers=answers, seed=seed)
        walking.start()
        # On a slow machine the canary may take longer than it was given: users go on asking until it is over.
        walking.join(timeout=longest)
        stop.wait(max(0.0, end - time.monotonic()))
        stop.set()
        told = generator.stop()
        walking.join(timeout=LATEST_S)
    return Result(told=told, canary=canary)


def flooded(scene: Scene, *, clients: int, seconds: float, answers: Path) -> Told:
    """As many clients as leave the replicas no rest, each asking again as soon as it is answered."""
    users = (f"user-{user:06d}" for user in range(scene.users))
    asked = (
        Asked(route="recommendations", path="/movies/v1/recommendations", body=json.dumps({"user_id": user}).encode()) for user in users
    )
    requests = write_requests(scene.folder / "flood.jsonl", asked)
    return start(scene.url, requests, token_file=scene.token_file, clients=clients, seconds=seconds, answers=answers).wait()


def figures(told: Told) -> dict[str, dict[str, Any]]:
    """By route and in all."""
    return {name: _row(seen) for name, seen in (*sorted(told.routes.items()), ("all", told.all))}


def _row(seen: Seen) -> dict[str, Any]:
    times = {f"p{percent:g}_ms": round(seen.percentile(percent), 2) for percent in PERCENTILES}
    return times | {
        "asked": seen.asked,
        "shed": seen.shed,
        "failed": seen.failed,
        "success": round(1 - seen.failed / max(seen.asked, 1), 5),
    }
