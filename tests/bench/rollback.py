"""From the operator's verdict to the last answer of the bad version: N rollbacks by evidence, under a steady stream of requests.

`PYTHONPATH=tests python -m bench.rollback` starts a real API server, a broker, a Ray head with two replicas behind its ingress, and the
operator as a process. Training and preflight are stood in for, so that versions come as fast as they are judged; what is measured is real:
the operator reads the replicas' counters, decides, writes its verdict and then the record, and the replicas take it over. Each bad version
fails for every second user and answers the others, who are the ones that must be got off it. The clock starts with the time that the
verdict carries, which is when the operator began to look, and ends with the last answer that names the bad version.
"""

import argparse
import base64
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from bench.rollback_ray import ITEMS, USERS, HalfReal
from chaos.operator_calls import Director
from chaos.operator_scene import MODEL, Parts, Stage, open_parts, open_stage, wait_for
from recsys_dev import loadgen, ray, runs
from recsys_dev.figures import tell
from recsys_dev.line import api_path
from recsys_dev.loadgen import Asked, write_requests
from recsys_dev.ports import LOOPBACK
from recsys_dev.processes import stop_all
from recsys_dev.terminal import picture, show
from recsys_schemas.v1alpha1 import API_VERSION

RUNS = Path(__file__).resolve().parents[2] / "build" / "run" / "tests"
NAME = "rollback"
OVER = frozenset({"Successful", "RolledBack", "Aborted", "Inconclusive", "Superseded"})
TARGET_S = 1.0
LIMIT_S = 300.0
SHARE = 50
COLUMNS = 130
Verdicts: TypeAlias = dict[str, tuple[float, float, float]]
"""Version → when its verdict fell, when Ray had the record without it, and when every replica was seen to serve without it."""


@dataclass(slots=True, kw_only=True)
class Seen:
    """What the answers say."""

    asked: int = 0
    failed: Counter[str] = field(default_factory=Counter[str])
    named: Counter[str] = field(default_factory=Counter[str])
    last: dict[str, float] = field(default_factory=dict[str, float])
    """Version → when the last answer came that names it, in seconds of the wall clock."""


def read(lines: Iterable[str]) -> Seen:
    """Go through the load generator's answers."""
    seen = Seen()
    for line in lines:
        answer = json.loads(line)
        seen.asked += 1
        if why := loadgen.trouble(answer):
            seen.failed[why] += 1
            continue
        version = json.loads(answer["body"])["model_version"]
        seen.named[version] += 1
        seen.last[version] = max(seen.last.get(version, 0.0), answer["at"])
    return seen


def apply_model(stage: Stage, serving_url: str) -> None:
    """A model whose candidates get half of the users at once, and no further share before harm would have shown."""
    topics = [
        {"name": f"{stage.name}.{role.lower()}", "role": role, "partitions": 1, "replicas": 1, "minInsyncReplicas": 1}
        for role in ("Watch", "Requests", "Responses")
    ]
    spec: dict[str, Any] = {
        "ray": {"dashboardURL": stage.ray_proxy.url, "servingURL": serving_url},
        "kafka": {"bootstrapServers": [f"{LOOPBACK}:{stage.parts.kafka_proxy.port}"], "topics": topics},
        "data": {"snapshot": {"storageURI": stage.ray.storage.as_uri()}},
        "model": {"algorithm": "ALS", "baselines": []},
        "training": {"initialRecords": 200, "newRecords": 200, "cooldownSeconds": 0},
        "serving": {"replicas": 2},
        "rollout": {
            "steps": [{"setWeight": SHARE}],
            "analysis": {"minimumSeconds": 120, "minimumRequests": 10_000, "attributionSeconds": 1},
            "onFailure": {"cooldownSeconds": 0},
        },
    }
    body = {"apiVersion": API_VERSION, "kind": "RecommenderModel", "metadata": {"name": MODEL, "namespace": stage.name}, "spec": spec}
    stage.parts.cluster.kubectl("apply", "-f", "-", input=json.dumps(body))


def rolled_back(stage: Stage, version: str) -> tuple[float, float, float]:
    """Let a bad version come and be judged; see `Verdicts`."""
    stage.ray.rows += 200
    stage.parts.loop.loop.call_soon_threadsafe(stage.ray.publish)
    wait_for(lambda: stage.phase_of(version) in OVER, f"the end of rollout {version}", LIMIT_S)
    status = (stage.parts.get(api_path(stage.name, "recommenderrollouts", version)) or {})["status"]
    if status["phase"] != "RolledBack":
        raise TimeoutError(f"rollout {version} came to {status['phase']}, not RolledBack: {status.get('message')}")
    verdict = next(each for each in reversed(status["decisions"]) if each["verdict"] == "RolledBack")
    fell = _seconds(verdict["time"])
    assert isinstance(stage.ray, HalfReal)
    return fell, stage.ray.handed_over(version, fell), _seconds(status["endedAt"])


@contextmanager
def watched(stage: Stage, drawn: Path | None) -> Generator[None]:
    """Let `kubectl recsys watch` look on in a terminal, and keep what it drew last as a picture."""
    if drawn is None:
        yield
        return
    argv = [sys.executable, "-m", "kubectl_recsys", "--namespace", NAME, "watch", MODEL]
    there = show(argv, env=stage.parts.cluster.environment, columns=COLUMNS)
    try:
        yield
        wait_for(lambda: "RolledBack" in "".join(there.screens()[-1:]), "a screen with the end")
    finally:
        screens = there.stop()
    picture(screens[-1], drawn, title=f"kubectl recsys watch {MODEL}", columns=COLUMNS)


def _seconds(time_: str) -> float:
    return datetime.fromisoformat(time_).timestamp()


def play(parts: Parts, folder: Path, *, number: int, rate: float, delay_s: float, drawn: Path | None) -> tuple[Verdicts, Seen]:
    """All rollbacks under one stream of requests; the verdicts, and what the answers say."""
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray runs workers at nice 15, and beside everything else they would starve
    head = ray.start(folder / "ray")
    try:
        stage = open_stage(parts, NAME, Director(), ray=HalfReal(storage=folder / NAME / "storage" / "model"))
        assert isinstance(stage.ray, HalfReal)
        stage.ray.head, stage.ray.delay_s = head, delay_s
        try:
            stage.keeper.start()
            apply_model(stage, head.serve_url)
            stage.ray.rows = 200
            wait_for(lambda: stage.phase_of("movies-000001") == "Successful", "a first version that serves", LIMIT_S)
            return _under_load(stage, head.serve_url, folder, number=number, rate=rate, drawn=drawn)
        finally:
            stage.close()
    finally:
        head.stop()


def _under_load(stage: Stage, url: str, folder: Path, *, number: int, rate: float, drawn: Path | None) -> tuple[Verdicts, Seen]:
    secret = stage.parts.get(f"/api/v1/namespaces/{NAME}/secrets/{MODEL}-api") or {}
    token_file = folder / "token"
    with os.fdopen(os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(base64.b64decode(secret["data"]["token"]))
    path, answers = f"/{MODEL}/v1/recommendations", folder / "answers.jsonl"
    bodies = (Asked(route="rollback", path=path, body=json.dumps({"user_id": f"user-{user:06d}"}).encode()) for user in range(USERS))
    requests = write_requests(folder / "requests.jsonl", bodies)
    generator = loadgen.start(url, requests, token_file=token_file, rate=rate, connections=64, seconds=24 * 3600, answers=answers)
    told: Verdicts = {}
    try:
        for place in range(2, number + 2):
            version = f"movies-{place:06d}"
            with watched(stage, drawn if place == 3 else None):
                told[version] = rolled_back(stage, version)
        time.sleep(2 * TARGET_S)  # whatever still names the last one is to be seen
    finally:
        generator.stop()
    with answers.open() as lines:
        return told, read(lines)


def figures(told: Verdicts, seen: Seen) -> dict[str, Any]:
    """Seconds from a verdict to the last answer of its version, and what came of all requests."""
    judged = [version for version in told if version in seen.last]
    last_user = [max(0.0, seen.last[version] - told[version][0]) for version in judged]
    handed = [taken - fell for fell, taken, _ in told.values()]
    over = [ended - fell for fell, _, ended in told.values()]
    p50, p99 = (round(float(np.percentile(last_user, part)), 2) for part in (50, 99))
    return {
        "rollbacks": len(told),
        "verdict to the last answer, p50 s": p50,
        "p99 s": p99,
        "longest s": round(max(last_user), 2),
        "target s": TARGET_S,
        "verdict to the record at Ray, p50 s": round(float(np.percentile(handed, 50)), 2),
        "verdict to every replica seen without it, p50 s": round(float(np.percentile(over, 50)), 2),
        "requests": seen.asked,
        "failed requests": sum(seen.failed.values()),
        "failed how": dict(seen.failed),
        "answers that name a bad version": sum(seen.named[version] for version in told),
        "answers of each bad version, least": min((seen.named[version] for version in told), default=0),
        "items": ITEMS,
        "users": USERS,
    }


def main() -> int:
    """Measure, tell, and say by the exit status whether the targets hold."""
    parser = argparse.ArgumentParser(prog="python -m bench.rollback", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--number", type=int, default=30, help="rollbacks (30)")
    parser.add_argument("--rate", type=float, default=80.0, help="requests a second (80)")
    parser.add_argument("--twin", action="store_true", help="hold each record back for 2 s: the bench must say so")
    parser.add_argument("--picture", type=Path, help="where to keep what `kubectl recsys watch` draws meanwhile, as an SVG")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = runs.claim(RUNS / f"bench-rollback-{os.getpid()}")
    try:
        parts = open_parts(folder)
        try:
            told, seen = play(parts, folder, number=asked.number, rate=asked.rate, delay_s=2.0 if asked.twin else 0.0, drawn=asked.picture)
        finally:
            parts.stop()
    finally:
        stop_all(folder)
    found = figures(told, seen)
    late, failed = found["p99 s"] > TARGET_S, bool(seen.failed)
    tell("rollback", "held back" if asked.twin else "rollback", found)
    runs.discard(folder)
    return int(not late) if asked.twin else int(late or failed)


if __name__ == "__main__":
    sys.exit(main())
