"""Many models on a real API server: how they are made, and when each has been seen to."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from recsys_dev.kubernetes import Cluster

BATCH = 250
LATE_S = 900.0

Json = dict[str, Any]
Key = tuple[str, str]


def batches(bodies: Sequence[Json]) -> Iterator[Sequence[Json]]:
    for first in range(0, len(bodies), BATCH):
        yield bodies[first : first + BATCH]


def create(cluster: Cluster, bodies: Sequence[Json]) -> None:
    """Make objects, a few hundred a call."""
    for some in batches(bodies):
        cluster.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(some)}))


def model(namespace: str, name: str, *, ray: str, kafka: str, suspend: bool) -> Json:
    """One that is suspended, or that waits for events which never come."""
    topics = [
        {"name": name, "role": role, "replicas": 1, "minInsyncReplicas": 1, "partitions": 1}
        for name, role in (("watch", "Watch"), ("rate", "Rate"), ("reco_requests", "Requests"), ("reco_responses", "Responses"))
    ]
    return {
        "apiVersion": "recsys.dev/v1alpha1",
        "kind": "RecommenderModel",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "suspend": suspend,
            "ray": {"dashboardURL": ray, "servingURL": ray},
            "kafka": {"bootstrapServers": [kafka], "topics": topics},
        },
    }


PLAIN = "plainmodels.bench.recsys.dev"


def plain_definition() -> Json:
    """The kind of the peer: a spec and a status that may hold anything."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything, "status": anything}}}
    version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}, "schema": schema}
    names = {"kind": "PlainModel", "plural": "plainmodels", "singular": "plainmodel"}
    spec = {"group": "bench.recsys.dev", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": PLAIN}, "spec": spec}


def plain(body: Json) -> Json:
    """The peer's object with the same spec."""
    return {"apiVersion": "bench.recsys.dev/v1", "kind": "PlainModel", "metadata": dict(body["metadata"]), "spec": body["spec"]}


@dataclass(slots=True)
class Watch:
    """`kubectl get --watch` of one kind: the newest look of each object, and when each change came."""

    cluster: Cluster
    resource: str
    seen: dict[Key, Json] = field(default_factory=dict[Key, Json])
    asked: dict[tuple[Key, int], float] = field(default_factory=dict[tuple[Key, int], float])
    """When a generation of a spec was first seen,"""
    answered: dict[tuple[Key, int], float] = field(default_factory=dict[tuple[Key, int], float])
    """and when the status that was made from it."""
    changed: threading.Condition = field(default_factory=threading.Condition)
    child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Begin to watch."""
        columns = (
            "NS:.metadata.namespace,NAME:.metadata.name,GENERATION:.metadata.generation,OBSERVED:.status.observedGeneration,"
            "VERSION:.metadata.resourceVersion"
        )
        argv = [str(self.cluster.programs / "kubectl"), "get", self.resource, "--all-namespaces", "--watch", "--no-headers"]
        self.child = subprocess.Popen(
            [*argv, "-o", f"custom-columns={columns}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self.cluster.environment,
        )
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the watch."""
        assert self.child is not None
        self.child.terminate()
        self.child.wait(timeout=10)

    def _read(self) -> None:
        assert self.child is not None
        assert self.child.stdout is not None
        for line in self.child.stdout:
            now = time.monotonic()
            namespace, name, generation, observed, _ = line.split()
            key = (namespace, name)
            with self.changed:
                self.seen[key] = {"generation": generation, "observed": observed}
                self.asked.setdefault((key, int(generation)), now)
                if observed.isdecimal():
                    self.answered.setdefault((key, int(observed)), now)
                self.changed.notify_all()

    def wait(self, ready: Callable[[Mapping[Key, Json]], bool], *, what: str, limit_s: float = LATE_S) -> float:
        """Return the clock's seconds once it is so.

        Raises:
            RuntimeError: the time is up.
        """
        with self.changed:
            if not self.changed.wait_for(lambda: ready(self.seen), timeout=limit_s):
                done = sum(each["observed"] == each["generation"] for each in self.seen.values())
                raise RuntimeError(f"{what}: not after {limit_s:.0f} s; {done} of {len(self.seen)} observed")
        return time.monotonic()


def all_observed(count: int) -> Callable[[Mapping[Key, Json]], bool]:
    """Whether so many objects carry the status of their newest spec."""
    return lambda seen: len(seen) >= count and all(each["observed"] == each["generation"] for each in seen.values())


def writes(audit_log: Path, start: int, agent: str) -> tuple[int, int]:
    """How often a client has written objects since byte `start` of the audit log, its lease aside; and where the log ends now."""
    found = 0
    with audit_log.open("rb") as log:
        log.seek(start)
        for line in log:
            event = json.loads(line)
            writing = event["verb"] in ("create", "update", "patch", "delete", "deletecollection")
            if writing and event.get("userAgent", "").startswith(agent) and event.get("objectRef", {}).get("resource") != "leases":
                found += 1
        return found, log.tell()
