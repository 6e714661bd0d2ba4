"""Calls of the operator as a proxy sees them: which call site each belongs to, what became of it, and which blow it is dealt."""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qs


class Moment(StrEnum):
    """Where in a call a blow falls."""

    BEFORE = "before it is sent"
    UNANSWERED = "before its answer"
    ANSWERED = "after its answer"


CUT, CRASH, GARBAGE = "cut", "crash", "garbage"
STATUSES = ("409", "429", "500", "503")


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """What is done to a call: its connection is cut, the operator is killed, or it is answered falsely."""

    kind: str
    moment: Moment = Moment.BEFORE

    def __str__(self) -> str:
        return f"{self.kind} {self.moment}" if self.kind in (CUT, CRASH) else f"answered {self.kind}"


@dataclass(slots=True)
class Director:
    """Deals one kind of blow to each call site once, at a call of its own choice; counts all calls. Used by several threads."""

    blow: Blow | None = None
    chosen: Callable[[str], int | None] = lambda _site: None
    """Site → at which of its calls, from 1 on; None: never."""
    calls: Counter[str] = field(default_factory=Counter[str])
    performed: Counter[str] = field(default_factory=Counter[str])
    """Calls that reached the other side and were taken there."""
    hit: dict[str, Blow] = field(default_factory=dict[str, Blow])
    crash: Callable[[], None] = lambda: None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def meet(self, site: str) -> Blow | None:
        """Count a call that has come; the blow that falls on it, if one does."""
        with self._lock:
            self.calls[site] += 1
            wanted = self.chosen(site)
            if self.blow is None or wanted is None or site in self.hit or self.calls[site] < wanted:
                return None
            self.hit[site] = self.blow
            return self.blow

    def done(self, site: str) -> None:
        """The other side has taken the call."""
        with self._lock:
            self.performed[site] += 1


_SECRET = re.compile(r"/secrets/[^/]+")
_GROUP = re.compile(r"^/apis?/([a-z0-9.]+/)?v1(alpha1)?/namespaces/\{namespace\}")
_NAMED = re.compile(r"/(recommendermodels|recommendermodelversions|recommenderrollouts|leases|events)/[^/]+")


def kubernetes_site(method: str, path: str, query: str) -> str:
    """Method and path template of a call to the API server."""
    plain = re.sub(r"/namespaces/[^/]+", "/namespaces/{namespace}", path)
    plain = _NAMED.sub(r"/\1/{name}", _SECRET.sub("/secrets/{name}", plain))
    plain = _GROUP.sub("", plain)
    asked = parse_qs(query)
    kind = " watch" if "watch" in asked else " of a model" if "labelSelector" in asked else ""
    return f"Kubernetes {method} {plain}{kind}"


def ray_site(method: str, path: str, body: bytes) -> str:
    """Method and path template of a call to Ray's REST API or to Serve's ingress; jobs by their kind."""
    named = re.search(r"/api/jobs/([a-z]+)-[^/]+", path)
    plain = re.sub(r"/api/jobs/[^/]+", "/api/jobs/{id}", path)
    plain = re.sub(r"^/[^/]+/v1/", "/{route}/v1/", plain)
    told = re.search(rb'"submission_id": *"([a-z]+)-', body) if method == "POST" and path == "/api/jobs/" else None
    kind = told.group(1).decode() if told else named.group(1) if named else ""
    return f"Ray {method} {plain}{f' ({kind})' if kind else ''}"


KAFKA_CALLS = {
    0: "Produce",
    1: "Fetch",
    2: "ListOffsets",
    3: "Metadata",
    10: "FindCoordinator",
    18: "ApiVersions",
    19: "CreateTopics",
    22: "InitProducerId",
    32: "DescribeConfigs",
    37: "CreatePartitions",
    44: "IncrementalAlterConfigs",
    60: "DescribeCluster",
    75: "DescribeTopicPartitions",
}


def kafka_site(api_key: int) -> str:
    """The request by its name in Kafka's protocol."""
    return f"Kafka {KAFKA_CALLS.get(api_key, f'api key {api_key}')}"


CHANGING = ("POST", "PUT", "PATCH", "DELETE", "CreateTopics", "CreatePartitions", "IncrementalAlterConfigs", "Produce")


def changes(site: str) -> bool:
    """Whether a call of this site changes anything."""
    return site.split()[1] in CHANGING


def at(sites: Iterable[str], counts: Counter[str], number: int) -> dict[str, int]:
    """At which call each site is struck: the `number`-th, or its last one where it has fewer."""
    return {site: min(number, max(1, counts[site])) for site in sites}
