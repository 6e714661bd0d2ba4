"""A replica without Ray: real arms, real counters, real producers (with no broker to reach), versions held in memory."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from ray_apps.algorithms.content import content_of
from ray_apps.serving.answer_log import AnswerLog
from ray_apps.serving.api import Api
from ray_apps.serving.arms import Arms
from ray_apps.serving.counters import Tallies
from ray_apps.serving.event_writer import EventWriter
from ray_apps.serving.feedback import Credits
from ray_apps.serving.liked import Liked
from ray_apps.serving.metrics import AnswerMetrics
from ray_apps.serving.online.live import still
from ray_apps.serving.replica import Replica
from ray_apps.serving.request_ids import key_of
from ray_apps.serving.ripening import Ripening
from ray_apps.serving.shadowing import Shadow
from ray_apps.stores.content import Content
from ray_apps.stores.facets import Facets, facets_of
from recsys_schemas.catalogue import CatalogueItem
from recsys_schemas.serving_evidence import EvidenceResponse
from recsys_schemas.serving_record import ServingArguments

Floats = NDArray[Any]

TOKENS = {"reader": "let-me-read", "writer": "let-me-write", "operator": "let-me-operate", "admin": "let-me-switch"}
NOWHERE = "127.0.0.1:1"
ITEMS = 200
USERS = 50


@dataclass
class Model:
    """Scores by a rule that the test gives."""

    rule: Callable[[Floats], Floats]

    def scores(self, history: Floats, weights: Floats) -> Floats:  # noqa: ARG002 - as every model's
        return self.rule(history)


@dataclass
class Snapshot:
    """The part of a card that says where training ended."""

    cluster_id: str = "none"
    offsets: tuple[()] = ()


@dataclass
class Card:
    """A card as far as serving reads it."""

    history_half_life: float | None = None
    snapshot: Snapshot = field(default_factory=Snapshot)
    algorithm: str = "ALS"


@dataclass
class Version:
    """What `open_version` gives, held in memory."""

    model: Model
    card: Card = field(default_factory=Card)
    item_ids: list[str] = field(default_factory=lambda: [f"item-{i}" for i in range(ITEMS)])
    popularity: Floats = field(default_factory=lambda: np.arange(ITEMS, dtype=np.float32)[::-1].copy())  # noqa: PLW0108
    content: Content | None = None
    recent: Floats | None = None
    facets: Facets | None = None

    @property
    def item_index(self) -> dict[str, int]:
        return {item: place for place, item in enumerate(self.item_ids)}

    def history(self, user_id: str) -> tuple[Floats, Floats]:
        place = {f"user-{i}": i for i in range(USERS)}.get(user_id)
        liked = np.array([] if place is None else [place, place + 1, place + 2], dtype=np.int64)
        return liked, np.ones(liked.size, dtype=np.float32)


def good(history: Floats) -> Floats:
    return np.cos(np.arange(ITEMS, dtype=np.float32) * (1 + history[0]))


def broken(history: Floats) -> Floats:  # noqa: ARG001 - a rule like the others
    raise RuntimeError("this version is broken")


def not_finite(history: Floats) -> Floats:
    scores = good(history)
    scores[7] = np.nan
    return scores


def late(history: Floats) -> Floats:
    end = time.perf_counter() + 0.3
    while time.perf_counter() < end:
        pass
    return good(history)


RULES = {"good": good, "other": lambda h: -good(h), "broken": broken, "not-finite": not_finite, "late": late, "described": good}
RULES["movies-000041"] = RULES["described-lately"] = good

LATELY = np.arange(ITEMS) / 2.0
"""Likes of these days of the version `described-lately`: what was liked most of all is liked least."""

DAY_MS = 86_400_000
CATALOGUE = [
    CatalogueItem(
        item_id=f"item-{place}",
        title=f"Title {place}",
        genres=["Comedy"] if place % 2 else ["Drama", "War"],
        category="books" if place < 100 else "films",
        tags=["classic"] if place % 10 == 0 else None,
        released_at=int(time.time() * 1000) - place * DAY_MS if place % 3 else None,
    )
    for place in range(ITEMS - 10)
]
"""Of the version `described`: its last ten items are in no catalogue."""


def opener(version: str, digest: str) -> Version:
    """A version's name is its rule; a digest that is not right is refused."""
    if digest != f"sha256:{version}":
        raise ValueError(f"digest: {version} hashes to sha256:{version}, not {digest}")
    described = CATALOGUE if version.startswith("described") else []
    ids = [f"item-{i}" for i in range(ITEMS)]
    return Version(
        Model(RULES[version]),
        content=content_of(described, ids) if described else None,
        recent=LATELY if version == "described-lately" else None,
        facets=facets_of(described, ids) if described else None,
    )


def record(epoch: int, *arms: tuple[str, int], digest: str | None = None) -> dict[str, Any]:
    """A record whose first arm is stable."""
    return {
        "epoch": epoch,
        "salt": "movies-2026",
        "arms": [
            {
                "version": version,
                "digest": digest or f"sha256:{version}",
                "variant": "stable" if place == 0 else "candidate",
                "share": share,
            }
            for place, (version, share) in enumerate(arms)
        ],
        "tokens": {hashlib.sha256(token.encode()).hexdigest(): role for role, token in TOKENS.items()},
    }


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait on a condition, with a deadline; what it looks into may not be there yet."""

    def holds() -> bool:
        try:
            return condition()
        except LookupError:
            return False

    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.005)


class Caller:
    """A replica and a client of its API."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.headers: dict[str, str] = {}
        self.role = "reader"

        async def evidence() -> EvidenceResponse:
            return EvidenceResponse(replicas=[replica.report()])

        self.api = Api(replica, evidence)

    def serve(self, value: dict[str, Any]) -> None:
        """Give it a record and wait until it serves it in full."""
        assert self.replica.arms.apply(value)
        until(lambda: self.replica.arms.epoch == value["epoch"])

    def call(self, method: str, path: str, token: str | None = None, **more: Any) -> httpx.Response:
        token = TOKENS[self.role] if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.api, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://replica") as client:
                return await client.request(method, path, headers=headers | more.pop("headers", {}), **more)

        return asyncio.run(send())

    def ask(self, **fields: Any) -> httpx.Response:
        return self.call("POST", "/v1/recommendations", json={"user_id": "user-1"} | fields)


def make_replica(
    acknowledge_seconds: float = 0.5, servers: str = NOWHERE, writer: type[EventWriter] = EventWriter, timeout_ms: float = 60_000
) -> Replica:
    """A replica whose versions are in memory; however busy the machine is that runs the tests, what is not slow is not late."""
    arguments = ServingArguments(
        namespace="shop",
        name="movies",
        uid="1f0c",
        storage_uri="file:///nowhere",
        bootstrap_servers=[servers],
        requests_topic="reco_requests",
        responses_topic="reco_responses",
        event_topics={"watch": "watch", "rate": "rate"},
        preferences_topic="preferences",
        items_topic="items",
        timeout_ms=timeout_ms,
        queue_ms=60_000,
    )
    key = key_of(arguments.uid)
    tallies = Tallies()
    ripening = Ripening(tallies)
    return Replica(
        replica_id="replica-1",
        arguments=arguments,
        id_key=key,
        arms=Arms(opener, still),  # pyright: ignore[reportArgumentType] - a version in memory
        tallies=tallies,
        ripening=ripening,
        credits=Credits(key, ripening),
        log=AnswerLog([servers], "reco_requests", "reco_responses", flush_seconds=0.1),
        events=writer([servers], acknowledge_seconds=acknowledge_seconds),
        metrics=AnswerMetrics("shop/movies"),
        shadow=Shadow(Liked(), rest=0.0),
    )


@pytest.fixture
def caller() -> Iterator[Caller]:
    replica = make_replica()
    yield Caller(replica)
    replica.close()


@pytest.fixture
def hasty() -> Iterator[Caller]:
    """One whose deadline the version `late` never keeps."""
    replica = make_replica(timeout_ms=250)
    yield Caller(replica)
    replica.close()


@pytest.fixture
def make_record() -> Callable[..., dict[str, Any]]:
    return record


@pytest.fixture
def wait_until() -> Callable[..., None]:
    return until
