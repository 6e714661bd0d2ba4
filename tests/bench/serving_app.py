"""One application on a real head, as a test or a benchmark speaks to it: steered by REST, asked through the ingress."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

import httpx
from confluent_kafka import Consumer

from bench.serving_line import OURS, TOKENS, application, arm, record
from recsys_dev.kafka import Brokers
from recsys_schemas.serving_api import RecommendationResponse
from recsys_schemas.serving_evidence import EvidenceResponse
from recsys_schemas.serving_record import ServingArguments

Seen = TypeVar("Seen")


def wait_for(look: Callable[[], Seen], seconds: float = 180) -> Seen:
    """The first true answer of `look`."""
    end = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)
    return seen


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedSums:
    """Of all users."""

    requests: int
    errors: int


@dataclass
class Movies:
    """One application, the versions it may serve, and a client of it."""

    rest: httpx.Client
    client: httpx.Client
    arguments: ServingArguments
    digests: dict[str, str]
    brokers: Brokers
    epoch: int = 0
    record: dict[str, Any] = field(default_factory=dict[str, Any])
    import_path: str = OURS

    def put(self, *arms: tuple[str, int], ceded: Mapping[str, int] = MappingProxyType({})) -> None:
        """Write the next record; the first arm is stable, and has the users whose places others have `ceded`."""
        self.epoch += 1
        variants = ["stable"] + ["candidate"] * (len(arms) - 1)
        listed = [arm(name, self.digests[name], share, variant) for (name, share), variant in zip(arms, variants, strict=True)]
        listed = [each | {"ceded": ceded.get(each["version"], 0)} for each in listed]
        self.record = record(self.epoch, *listed)
        file = {"applications": [application(self.arguments, self.record, import_path=self.import_path)]}
        self.rest.put("/api/serve/applications/", json=file).raise_for_status()

    def serve(self, *arms: tuple[str, int], ceded: Mapping[str, int] = MappingProxyType({})) -> None:
        """Write the next record and wait until every replica serves it."""
        self.put(*arms, ceded=ceded)
        wait_for(self.in_effect)

    def in_effect(self) -> bool:
        """Whether every living replica reports the newest epoch, two of them."""
        evidence = self.evidence()
        fresh = [] if evidence is None else [report for report in evidence.replicas if report.age_seconds < 3]
        return len(fresh) >= 2 and all(report.epoch == self.epoch for report in fresh)

    def evidence(self) -> EvidenceResponse | None:
        try:
            answered = self.client.get("/v1/evidence", headers={"Authorization": f"Bearer {TOKENS['operator']}"})
        except httpx.TransportError:  # HAProxy closes idle connections when it takes up new replicas
            return None
        return EvidenceResponse.model_validate_json(answered.content) if answered.status_code == 200 else None

    def replicas(self) -> dict[str, int]:
        """Replica id → pid, of those that run."""
        seen = self.rest.get("/api/serve/applications/").json()["applications"][self.arguments.name]
        listed = seen["deployments"]["Recommender"]["replicas"]
        return {replica["replica_id"]: replica["pid"] for replica in listed if replica["state"] == "RUNNING"}

    def actors(self) -> list[dict[str, Any]]:
        """Every actor of the head, by Ray's state API."""
        answered = self.rest.get("/api/v0/actors", params={"detail": "true", "limit": 1000}).raise_for_status()
        return answered.json()["data"]["result"]["result"]

    def counted(self, version: str, what: str) -> int:
        """One counter of a version, summed over all replicas."""
        evidence = wait_for(self.evidence)
        assert evidence is not None
        return sum(getattr(report.counters[version], what) for report in evidence.replicas if version in report.counters)

    def under(self, stratum: str, version: str) -> GroupedSums:
        """What a version did under some shares, summed over all groups of users and all replicas."""
        evidence = wait_for(self.evidence)
        assert evidence is not None
        told = [report.counters[version].strata.get(stratum) for report in evidence.replicas if version in report.counters]
        found = [each for each in told if each is not None]
        return GroupedSums(requests=sum(sum(each.requests) for each in found), errors=sum(sum(each.errors) for each in found))

    def settled(self, version: str, what: str) -> int:
        """The same, once both replicas have said how they stand now: what was asked before is in it."""
        began = time.monotonic()

        def told() -> bool:
            evidence, since = self.evidence(), time.monotonic() - began
            fresh = [] if evidence is None else [report for report in evidence.replicas if report.age_seconds < since]
            return len(fresh) >= 2

        wait_for(told)
        return self.counted(version, what)

    def ask(self, user: int, **fields: Any) -> httpx.Response:
        return self.client.post("/v1/recommendations", json={"user_id": f"user-{user:06d}"} | fields)

    def answers(self, users: range) -> list[RecommendationResponse]:
        """Ask for several users; every answer must be a 200."""
        answered = [self.ask(user) for user in users]
        statuses = Counter(answer.status_code for answer in answered)
        assert statuses == {200: len(users)}, statuses
        return [RecommendationResponse.model_validate_json(answer.content) for answer in answered]

    def consume(self, topic: str, enough: Callable[[list[bytes]], bool]) -> list[bytes]:
        """Read a topic from its beginning until there is enough."""
        consumer = Consumer(
            {"bootstrap.servers": self.brokers.bootstrap_servers, "group.id": f"{topic}-{time.time_ns()}", "auto.offset.reset": "earliest"}
        )
        consumer.subscribe([topic])
        values: list[bytes] = []
        try:
            wait_for(lambda: values.extend(m.value() or b"" for m in consumer.consume(1000, 0.5) if m.error() is None) or enough(values))
        finally:
            consumer.close()
        return values
