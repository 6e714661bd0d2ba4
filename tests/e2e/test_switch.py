"""A switch through the API of a real line: asked at one replica, decided by the operator, in force in every replica, and it stays."""

import base64
import hashlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import yaml

from e2e.sight import Sight, until
from e2e.small import small_model
from recsys_dev.audience import SimulatedAudience
from recsys_dev.events import Event
from recsys_dev.line import NAMESPACE, REPOSITORY, apply_model, manifest_of
from recsys_dev.producer import EventProducer
from recsys_dev.tastes import World
from recsys_dev.traffic import Traffic

MODEL = "shows"
FIRST, SECOND = f"{MODEL}-000001", f"{MODEL}-000002"
ADMIN = "an admin's key of this test"
WITHIN_S = 400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shows:
    """A model whose second version has replaced its first, and who asks it."""

    sight: Sight
    url: str
    traffic: Traffic

    def post(self, version: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {ADMIN}"}
        body = {"version": version, "reason": "of this test"}
        return httpx.post(f"{self.url}/v1/model:switch", json=body, headers=headers, timeout=60, trust_env=False)

    def reports(self) -> list[dict[str, Any]]:
        """Of the replicas that live; none where no answer comes, as while one of them is replaced."""
        headers = {"Authorization": f"Bearer {ADMIN}"}
        try:
            found = httpx.get(f"{self.url}/v1/evidence", headers=headers, timeout=60, trust_env=False).raise_for_status().json()
        except httpx.HTTPError:
            return []
        return [report for report in found["replicas"] if report["age_seconds"] < 3]

    def model(self) -> dict[str, Any]:
        """What the replica that answers says; of no arm where none does."""
        headers = {"Authorization": f"Bearer {ADMIN}"}
        try:
            return httpx.get(f"{self.url}/v1/model", headers=headers, timeout=60, trust_env=False).raise_for_status().json()
        except httpx.HTTPError:
            return {"arms": [], "retained": []}

    def serves(self, version: str) -> bool:
        """Whether the status says so, and so does the replica that answers."""
        seen = self.sight.ready(MODEL)
        champion = seen.status.champion if seen else None
        stable = [arm["version"] for arm in self.model()["arms"] if arm["variant"] == "stable"]
        return champion is not None and champion.version == version and stable == [version]

    def switches(self) -> list[str]:
        seen = self.sight.eyes.look(MODEL)
        return [walk.name for walk in seen.rollouts if "-switch-" in walk.name] if seen else []


def send(producer: EventProducer, events: Iterable[Event]) -> None:
    """Events onto topics of this model's own; acknowledged when this returns."""
    for event in events:
        producer.send_raw(f"{MODEL}.{event.event_type}", event.user_id.encode(), event.record())
    producer.flush()


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
        send(producer, audience.history())
        until(lambda: sight.ready(MODEL), what="the first version", within_s=WITHIN_S, or_tell=lambda: sight.words(MODEL))
        url, token = sight.api(MODEL)
        traffic = Traffic(url, token, audience, rate=20).start()
        again = SimulatedAudience(World(users=150, items=150, mean_history=20, seed=2), now_ms=time.time_ns() // 1_000_000)
        send(producer, again.history())
        made = Shows(sight=sight, url=url, traffic=traffic)
        until(lambda: made.serves(SECOND), what="the second version", within_s=WITHIN_S, or_tell=lambda: sight.words(MODEL))
        until(lambda: made.model()["retained"] == [FIRST], what="the first kept loaded", within_s=240, or_tell=made.model)
        yield made
    finally:
        if traffic is not None:
            traffic.stop()
        line.cluster.kubectl("delete", "rm", MODEL, "--ignore-not-found", "--wait=false")


def posted(shows: Shows, version: str) -> int:
    """The status of an ask for a switch; 0 where no answer comes, as while a replica is replaced."""
    try:
        return shows.post(version).status_code
    except httpx.HTTPError:
        return 0


def test_a_version_that_is_not_retained_is_refused_with_those_that_are(shows: Shows):
    answered = shows.post(f"{MODEL}-000099")
    assert (answered.status_code, answered.headers["content-type"]) == (409, "application/problem+json")
    assert f"retained are: {FIRST}" in answered.json()["detail"]


def test_a_switch_reaches_every_replica_and_no_request_fails(shows: Shows):
    failed = shows.traffic.tally.failed
    answered = [shows.post(FIRST) for _ in range(3)]
    assert answered[0].status_code == 202, answered[0].text
    until(lambda: shows.serves(FIRST), what="the switch", within_s=240, or_tell=lambda: shows.sight.words(MODEL))
    reports = until(lambda: found if len(found := shows.reports()) == 2 else None, what="a fresh report of each replica", within_s=240)
    print("record to answers, ms:", [report["record_ms"] for report in reports])  # noqa: T201 - a figure for whoever looks
    assert len(shows.switches()) == 1
    assert shows.traffic.tally.failed == failed, list(shows.traffic.tally.faults)
    before = shows.traffic.tally.of(FIRST).answers
    until(lambda: shows.traffic.tally.of(FIRST).answers > before + 20, what="answers by the first version", within_s=240)


def test_asking_for_what_serves_changes_nothing(shows: Shows):
    # A replica that the switch has not reached yet would pass the ask on, which changes nothing either.
    until(lambda: posted(shows, FIRST) == 200, what="an answer of who serves it", within_s=240, or_tell=shows.model)
    answered = shows.post(FIRST)
    assert (answered.status_code, answered.json()["state"]) == (200, "Serving")
    assert len(shows.switches()) == 1


def test_it_stays_when_a_replica_and_the_operator_are_killed(shows: Shows):
    line = shows.sight.line
    application = shows.sight.app(f"{NAMESPACE}.{MODEL}")
    assert application is not None
    pids = [replica["pid"] for deployment in application["deployments"].values() for replica in deployment["replicas"]]
    operator = line.operator
    assert operator is not None
    os.kill(operator.pid, signal.SIGKILL)
    os.kill(pids[0], signal.SIGKILL)
    until(lambda: not operator.is_alive(), what="the operator's end", within_s=240)
    line.start_operator()

    def replaced() -> bool:
        reports = shows.reports()
        return len(reports) == 2 and all(report["ready"].keys() >= {FIRST, SECOND} for report in reports)

    until(replaced, what="two replicas with both versions", within_s=240, or_tell=shows.reports)
    until(lambda: shows.serves(FIRST), what="the first version still", within_s=240, or_tell=lambda: shows.sight.words(MODEL))
    assert len(shows.switches()) == 1


def test_the_way_there_again_is_another_switch(shows: Shows):
    until(lambda: posted(shows, SECOND) == 202, what="an ask", within_s=240, or_tell=shows.model)
    until(lambda: shows.serves(SECOND), what="the switch there", within_s=240, or_tell=lambda: shows.sight.words(MODEL))
    assert len(shows.switches()) == 2
    told = shows.sight.eyes.look(MODEL)
    assert told is not None
    assert [entry.outcome for entry in told.status.history[:2]] == ["ReturnedTo", "ReturnedTo"]
