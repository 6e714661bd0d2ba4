"""A real head, a real broker and one application of two replicas, as load and chaos find them."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import numpy as np
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bench.serving_app import Movies, wait_for
from bench.serving_line import EVEN, TOKENS, good_arrays, write_version
from ray_apps.stores.objects import open_store
from recsys_dev import kafka, ray
from recsys_dev.kafka import Brokers
from recsys_dev.ray import RayHead
from recsys_schemas.serving_record import ServingArguments

APPS = Path(__file__).resolve().parent / "apps"
TOPICS = ("load_requests", "load_responses", "load_watch", "load_preferences", "load_items")
VERSIONS = ("movies-000001", "movies-000002")
TOGETHER = 240.0
"""Seconds until two replicas run and serve the same record again."""


@dataclass(kw_only=True)
class Scene:
    """Who serves, and what is known of it."""

    head: RayHead
    movies: Movies
    folder: Path
    token_file: Path
    users: int
    items: int
    liked: int

    @property
    def url(self) -> str:
        """Of the ingress."""
        return self.head.serve_url

    def whole(self) -> bool:
        """Whether two replicas run and both serve the newest record."""
        return len(self.movies.replicas()) == 2 and self.movies.in_effect()

    def wait_whole(self, without: int) -> None:
        """Wait until they do, and this process is none of them: a death is noticed late."""
        wait_for(lambda: without not in self.replica_pids() and self.whole(), TOGETHER)

    def replica_pids(self) -> list[int]:
        """Of the replicas that run."""
        return list(self.movies.replicas().values())

    def replica_ports(self) -> list[int]:
        """HTTP ports of the replicas, found by asking."""
        if self.head.ports is None:
            return []
        first, last = self.head.ports.replicas
        return [port for port in range(first, last + 1) if _answers(f"http://127.0.0.1:{port}/movies/readyz")]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@dataclass
class Parts:
    """What a scene starts where nobody hands it over."""

    folder: Path
    head: RayHead | None = None
    brokers: Brokers | None = None
    ours: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])

    def __enter__(self) -> Self:
        if self.brokers is None:
            self.brokers = kafka.start(self.folder / "kafka", brokers=1)
            self.ours.append(self.brokers.stop)
        if self.head is None:
            self.head = ray.start(self.folder / "ray", python_path=[APPS], settings=EVEN)
            self.ours.append(self.head.stop)
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        for stop in reversed(self.ours):
            stop()


@contextmanager
def served(
    parts: Parts,
    *,
    items: int = 27_000,
    factors: int = 128,
    users: int = 4000,
    liked: int = 30,
    follows: bool = True,
    import_path: str | None = None,
) -> Generator[Scene]:
    """Two versions written, the first one serving in two replicas."""
    head, brokers = parts.head, parts.brokers
    assert head is not None
    assert brokers is not None
    admin = AdminClient({"bootstrap.servers": brokers.bootstrap_servers})
    known = admin.list_topics(timeout=120).topics
    made = admin.create_topics([NewTopic(topic, num_partitions=3) for topic in TOPICS if topic not in known])
    for each in made.values():
        each.result(timeout=120)
    store = open_store((parts.folder / "store").as_uri())
    arrays = {name: good_arrays(items, factors, seed=seed) for seed, name in enumerate(VERSIONS, start=1)}
    digests = {name: write_version(store, name, model, items=items, users=users, liked=liked) for name, model in arrays.items()}
    token_file = parts.folder / "token"
    with os.fdopen(os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(TOKENS["writer"])
    arguments = ServingArguments(
        namespace="shop",
        name="movies",
        uid=f"uid-{np.random.default_rng().integers(1 << 40)}",
        storage_uri=store.uri,
        bootstrap_servers=brokers.bootstrap_servers.split(","),
        requests_topic=TOPICS[0],
        responses_topic=TOPICS[1],
        event_topics={"watch": TOPICS[2]} if follows else {},
        preferences_topic=TOPICS[3] if follows else None,
        items_topic=TOPICS[4] if follows else None,
        timeout_ms=250,
    )
    headers = {"Authorization": f"Bearer {TOKENS['writer']}"}
    base = f"{head.serve_url}/movies"
    with head.client(timeout_s=60) as rest, httpx.Client(base_url=base, headers=headers, timeout=120, trust_env=False) as client:
        movies = Movies(rest=rest, client=client, arguments=arguments, digests=digests, brokers=brokers)
        if import_path:
            movies.import_path = import_path
        movies.serve((VERSIONS[0], 100), (VERSIONS[1], 0))
        try:
            yield Scene(head=head, movies=movies, folder=parts.folder, token_file=token_file, users=users, items=items, liked=liked)
        finally:
            rest.put("/api/serve/applications/", json={"applications": []}).raise_for_status()
