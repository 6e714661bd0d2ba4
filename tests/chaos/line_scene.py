"""The whole line under fire: parts, a model that trains and promotes all the time, users, and the pids that may be killed."""

import contextlib
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from ray_apps.ingest.verify import Verification, verify
from ray_apps.stores.objects import open_store
from recsys_dev.audience import SimulatedAudience
from recsys_dev.eyes import Eyes, Seen, open_eyes
from recsys_dev.line import REPOSITORY, Line, apply_model, install_chart, make_ray_secret, manifest_of, start_parts
from recsys_dev.process_table import marked
from recsys_dev.producer import EventProducer
from recsys_dev.story import Story
from recsys_dev.tastes import World
from recsys_dev.traffic import Traffic
from recsys_schemas.train_job import IngestJob

MODEL = "movies"
WORLD = World(users=300, items=300, mean_history=30)
EVENTS_PER_S = 120
VISITS_PER_S = 25.0
START_S = 300.0
CHANGES: dict[str, Any] = {
    "spec.data.snapshot.roll": {"maxSeconds": 1},
    "spec.training": {"initialRecords": 3000, "newRecords": 1500, "cooldownSeconds": 0, "backoffLimit": 10},
    "spec.model": {"algorithm": "ALS", "baselines": []},
    # Good models are not the point here: versions must come and go.
    "spec.gates": [{"name": "seen", "metric": "ndcg@10", "atLeast": 0, "enforcement": "Observe"}],
    "spec.rollout.analysis": {"minimumSeconds": 1, "minimumRequests": 10, "attributionSeconds": 1, "maxRewardDecrease": 0.9},
    "spec.rollout.onFailure": {"cooldownSeconds": 0},
}


def say(words: str) -> None:
    """One line, at once."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


@dataclass(slots=True, kw_only=True)
class Scene:
    """A line at work."""

    line: Line
    eyes: Eyes
    story: Story
    audience: SimulatedAudience
    producer: EventProducer
    traffic: Traffic | None = None
    shares: list[dict[str, int]] = field(default_factory=list[dict[str, int]])
    """Every record of shares that Serve was asked for, as seen: version → percent."""
    _ending: threading.Event = field(default_factory=threading.Event)
    _silent: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list[threading.Thread])

    def flow(self) -> None:
        """Send events at a steady rate, and note every change of shares, until `quiet`."""
        for work in (self._send, self._watch_shares):
            self._threads.append(threading.Thread(target=work, daemon=True))
            self._threads[-1].start()

    def stop_events(self) -> None:
        """Send no more events; users go on coming, so that a rollout under way can end."""
        self._silent.set()

    def quiet(self) -> None:
        """Stop sending and asking."""
        self._ending.set()
        for thread in self._threads:
            thread.join(30)
        if self.traffic is not None:
            self.traffic.stop()

    def _send(self) -> None:
        while not self._silent.is_set() and not self._ending.wait(0.25):
            self.producer.send(self.audience.live(EVENTS_PER_S // 4, time.time_ns() // 1_000_000))

    def _watch_shares(self) -> None:
        with self.line.head.client(timeout_s=5) as client:
            while not self._ending.wait(0.1):
                with contextlib.suppress(httpx.HTTPError, KeyError, ValueError):
                    for app in client.get("/api/serve/applications/").json()["applications"].values():
                        record = app["deployed_app_config"]["deployments"][0]["user_config"]
                        shares = {arm["version"]: int(arm["share"]) for arm in record["arms"]}
                        if not self.shares or self.shares[-1] != shares:
                            self.shares.append(shares)

    def look(self) -> Seen | None:
        """One look at the model; None while the API server does not answer."""
        return self.story.look()

    def jobs(self) -> list[dict[str, Any]]:
        """Ray's jobs."""
        with self.line.head.client() as client:
            return client.get("/api/jobs/").raise_for_status().json()

    def ingest_job(self) -> IngestJob:
        """The arguments of the running ingest job."""
        entry = next(job["entrypoint"] for job in self.jobs() if job["submission_id"].startswith("ingest-"))
        return IngestJob.model_validate_json(shlex.split(entry)[-1])

    def verified(self) -> Verification:
        """Snapshot and dead letters against the topics."""
        job = self.ingest_job()
        return verify(open_store(job.storage_uri), job)

    def workers(self, title: str) -> list[int]:
        """Pids of Ray's workers with this title, of this head only: Ray's workers are children of its raylet."""
        ours = set(marked(self.line.run_dir / "ray"))
        return [pid for pid, parent, words in _processes() if parent in ours and words.startswith(f"ray::{title}")]

    def training(self) -> list[int]:
        """Pids of the training job: its driver, and its worker once there is one."""
        fault = str(self.line.fault.file)
        drivers = [pid for pid, _, words in _processes() if "recsys_dev.trainer" in words and fault in words and "/bin/sh" not in words]
        return drivers + self.workers("RayTrainWorker")


def _processes() -> list[tuple[int, int, str]]:
    """(pid, parent, command line) of every process."""
    found: list[tuple[int, int, str]] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                words = entry.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                parent = int(entry.joinpath("stat").read_text().rpartition(")")[2].split()[1])
                found.append((int(entry.name), parent, words))
    return found


def kill(pid: int) -> bool:
    """SIGKILL; whether it was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition: Callable[[], bool], what: str, limit_s: float) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it did not come.
    """
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {limit_s:.0f} s")
        time.sleep(0.1)


def open_scene(run_dir: Path, operator: Sequence[str] = ("-m", "recsys_operator"), changes: Mapping[str, Any] = CHANGES) -> Scene:
    """Bring the line up with the model applied and its history on Kafka."""
    line = start_parts(run_dir, say)
    install_chart(line)
    make_ray_secret(line)
    line.start_operator(operator)
    eyes = open_eyes(line)
    audience = SimulatedAudience(WORLD, now_ms=time.time_ns() // 1_000_000)
    scene = Scene(
        line=line,
        eyes=eyes,
        story=Story(eyes=eyes, model=MODEL, tell=lambda words: say(f"   {words}")),
        audience=audience,
        producer=EventProducer(line.brokers.bootstrap_servers),
    )
    apply_model(line, manifest_of(REPOSITORY / "examples" / "movies.yaml", line, changes))
    scene.story.wait(lambda seen: seen.holds("TopicsReady"), what="topics", deadline_s=START_S)
    scene.producer.send(audience.history())
    scene.producer.send_raw("watch", b"broken", b"{not json")
    scene.producer.flush()
    return scene


def begin_traffic(scene: Scene) -> None:
    """Wait for the first version, then let users come."""
    seen = scene.story.wait(lambda seen: seen.holds("Ready") and seen.holds("Serving"), what="a first version", deadline_s=START_S)
    token = scene.eyes.secret(f"{MODEL}-api", "token")
    assert token is not None
    assert seen.status.serving is not None
    scene.traffic = Traffic(seen.status.serving.url, token, scene.audience, rate=VISITS_PER_S).start()
    scene.flow()
