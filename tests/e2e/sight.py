"""What anyone can see of a line, and waiting for it: conditions, Ray's jobs and applications, records on topics."""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import httpx
from confluent_kafka import Consumer, TopicPartition

from recsys_dev.eyes import Eyes, Seen
from recsys_dev.line import NAMESPACE, Line, api_path

LOOK_EVERY_S = 0.2
TOLD_WITHIN_S = 120.0
"""A deadline, not a figure: how soon the operator answers is what `make fuzz-resources` reports."""

Json = dict[str, Any]
T = TypeVar("T")


def until(look: Callable[[], T | None], *, what: str, within_s: float, or_tell: Callable[[], object] = lambda: "") -> T:
    """Look until there is something to see, and return it.

    Raises:
        TimeoutError: there was not; carries what `or_tell` sees then.
    """
    end = time.monotonic() + within_s
    while True:
        # An API server or a Ray head that was late is asked again.
        with contextlib.suppress(httpx.HTTPError):
            if found := look():
                return found
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {within_s:.0f} s; {or_tell()}")
        time.sleep(LOOK_EVERY_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """Looks at a line from outside."""

    line: Line
    eyes: Eyes

    def eyes_on(self, namespace: str) -> Eyes:
        """The same eyes on another namespace."""
        return replace(self.eyes, namespace=namespace)

    def conditions(self, model: str, namespace: str = NAMESPACE) -> dict[str, Json]:
        """Type → condition, as the API server has them."""
        body = self.eyes.get(api_path(namespace, "recommendermodels", model)) or {}
        return {each["type"]: each for each in (body.get("status") or {}).get("conditions", [])}

    def told(self, model: str, kind: str, status: str, reason: str, *, namespace: str = NAMESPACE, within_s: float = TOLD_WITHIN_S) -> str:
        """Wait until a condition says so; return its message."""

        def look() -> Json | None:
            seen = self.conditions(model, namespace).get(kind, {})
            return seen if (seen.get("status"), seen.get("reason")) == (status, reason) else None

        what = f"{namespace}/{model}: {kind} {status} ({reason})"
        return str(until(look, what=what, within_s=within_s, or_tell=lambda: self.words(model, namespace))["message"])

    def words(self, model: str, namespace: str = NAMESPACE) -> str:
        """All conditions in words, and how the operator is, for the message of a test that fails."""
        said = [f"{c['type']} {c['status']} ({c['reason']}): {c['message']}" for c in self.conditions(model, namespace).values()]
        operator = self.line.operator
        return "\n  ".join(["the model says:", *said, "the operator's last words:", operator.last_lines(4) if operator else "it is gone"])

    def ready(self, model: str) -> Seen | None:
        """The model, once its champion has all users."""
        seen = self.eyes.look(model)
        at_rest = seen is not None and seen.holds("Ready") and seen.holds("Serving") and seen.status.phase == "Serving"
        return seen if at_rest and seen is not None and seen.status.champion is not None and seen.status.champion.weight == 100 else None

    def api(self, model: str) -> tuple[str, str]:
        """URL and token of a model's API."""
        seen, token = self.eyes.look(model), self.eyes.secret(f"{model}-api", "token")
        assert seen is not None
        assert seen.status.serving is not None
        assert token is not None
        return seen.status.serving.url, token

    def jobs(self, uid8: str) -> dict[str, str]:
        """Submission id → Ray's word, of all jobs of one model."""
        with self.line.head.client() as client:
            bodies = client.get("/api/jobs/").raise_for_status().json()
        return {body["submission_id"]: body["status"] for body in bodies if uid8 in (body.get("submission_id") or "")}

    def app(self, name: str) -> Json | None:
        """One Serve application as Ray tells it; None when it is not there."""
        with self.line.head.client() as client:
            return client.get("/api/serve/applications/").raise_for_status().json()["applications"].get(name)

    def served(self, name: str) -> tuple[str, list[tuple[str, str]]]:
        """The application's config, as text, and (id, state) of its replicas."""
        body = self.app(name)
        assert body is not None
        replicas = [each for deployment in body["deployments"].values() for each in deployment["replicas"]]
        config = json.dumps(body["deployed_app_config"], sort_keys=True)
        return config, sorted((each["replica_id"], each["state"]) for each in replicas)

    def living_actors(self) -> list[str]:
        """Names of Ray's living actors."""
        asked = {"filter_keys": "state", "filter_predicates": "=", "filter_values": "ALIVE", "limit": "1000"}
        with self.line.head.client() as client:
            answer = client.get("/api/v0/actors", params=asked).raise_for_status().json()
        return [str(actor.get("name") or "") for actor in answer["data"]["result"]["result"]]

    def records(self, topic: str) -> list[bytes]:
        """Values of all committed records of a topic, partition by partition."""
        settings: dict[str, str | int | bool] = {
            "bootstrap.servers": self.line.brokers.bootstrap_servers,
            "group.id": "recsys-tests-look",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
        consumer, found = Consumer(settings), list[bytes]()
        try:
            partitions = consumer.list_topics(topic, timeout=120).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
            left, end = set(partitions), time.monotonic() + 120
            while left and time.monotonic() < end:
                message = consumer.poll(1)
                if message is None:
                    continue
                if message.error() is None:
                    found.append(message.value() or b"")
                else:
                    left.discard(message.partition() or 0)
        finally:
            consumer.close()
        return found
