"""A switch through the API of a real line: asked at one replica, decided by the operator, in force in every replica, and it stays."""

import base64
import hashlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import yaml

from e2e.sight import Sight, until
from e2e.small import small_model
from recsys_dev.audience import SimulatedAudience
from recsys_dev.line import NAMESPACE, REPOSITORY, apply_model, manifest_of
from recsys_dev.producer import EventProducer
from recsys_dev.tastes import World
from recsys_dev.traffic import Traffic

MODEL = "shows"
FIRST, SECOND = f"{MODEL}-000001", f"{MODEL}-000002"
ADMIN = "an admin's key of this test"
WITHIN_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shows:
    """A model whose second version has replaced its first, and who asks it."""

    sight: Sight
    url: str
    traffic: Traffic

    def post(self, version: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {ADMIN}"}
        body = {"version": version, "reason": "of this test"}
        return httpx.post(f"{self.url}/v1/model:switch", json=body, headers=headers, timeout=10, trust_env=False)

    def state(self) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {ADMIN}"}
        return httpx.get(f"{self.url}/v1/evidence", headers=headers, timeout=10, trust_env=False).raise_for_status().json()

    def model(self) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {ADMIN}"}
        return httpx.get(f"{self.url}/v1/model", headers=headers, timeout=10, trust_env=False).raise_for_status().json()

    def serves(self, version: str) -> bool:
        """Whether the status says so, and so does the replica that answers."""
        seen = self.sight.ready(MODEL)
        champion = seen.status.champion if seen else None
        stable = [arm["version"] for arm in self.model()["arms"] if arm["variant"] == "stable"]
        return champion is not None and champion.version == version and stable == [version]

    def switches(self) -> list[str]:
        seen = self.sight.eyes.look(MODEL)
        return [walk.name for walk in seen.rollouts if "-switch-" in walk.name] if seen else []


@pytest.fixture(scope="module")
def shows(sight: Sight) -> Iterator[Shows]:
    line = sight.line
    hashed = base64.b64encode(hashlib.sha256(ADMIN.encode()).hexdigest().encode()).decode()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shows-clients"}, "data": {"person.admin": hashed}}
    line.cluster.kubectl("apply", "--namespace", NAMESPACE, "-f", "-", input=yaml.safe_dump(secret))
    changes = small_model(MODEL, "Popularity", watch="shows.watch", rate="shows.rate")
    changes["spec.rollout.strategy"] = "BlueGreen"
    changes["spec.rollout.keepLoaded"] = 1
    changes["spec.serving"] |= {"replicas": 2, "access": {"apiKeysSecretRef": "shows-clients"}}
    changes["spec.training"] = {"initialRecords": 1500, "newRecords": 1500, "cooldownSeconds": 1}
    apply_model(line, manifest_of(REPOSITORY / "examples" / "movies.yaml", line, changes))
    sight.told(MODEL, "TopicsReady", "True", "Verified", within_s=WITHIN_S)
    audience = SimulatedAudience(World(users=150, items=150, mean_history=20), now_ms=time.time_ns() // 1_000_000)
    producer = EventProducer(line.brokers.bootstrap_servers)
    traffic: Traffic | None = None
    try:
        topics = {"watch": "shows.watch", "rate": "shows.rate"}
        history = list(audience.history())
        send(producer, topics, history)
        until(lambda: sight.ready(MODEL), what="the first version", within_s=WITHIN_S, or_tell=lambda: sight.words(MODEL))
        url, token = sight.api(MODEL)
        traffic = Traffic(url, token, audience, rate=20).start()
        again = SimulatedAudience(World(users=150, items=150, mean_history=20, seed=2), now_ms=time.time_ns() // 1_000_000)
        send(producer, topics, list(again.history()))
        made = Shows(sight=sight, url=url, traffic=traffic)
        until(lambda: made.serves(SECOND), what="the second version", within_s=WITHIN_S, or_tell=lambda: sight.words(MODEL))
        until(lambda: made.model()["retained"] == [FIRST], what="the first kept loaded", within_s=60, or_tell=made.model)
        yield made
    finally:
        if traffic is not None:
            traffic.stop()
        line.cluster.kubectl("delete", "rm", MODEL, "--ignore-not-found", "--wait=false")
