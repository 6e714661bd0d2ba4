"""`spec.serving.autoscaling` on a real Ray: a replica that has no rest gets a second one beside it."""

import json
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bench.serving_app import wait_for
from bench.serving_line import OURS, TOKENS, application, arm, good_arrays, record, write_version
from ray_apps.stores.objects import open_store
from recsys_dev.kafka import Brokers
from recsys_dev.loadgen import Asked, start, write_requests
from recsys_dev.ray import RayHead
from recsys_schemas.serving_record import ServingArguments

ITEMS, USERS, CLIENTS = 4000, 400, 16
TOPICS = ("scaled_requests", "scaled_responses")
VERSION = "scaled-000001"
SEEING, BLIND = "seeing", "blind"
SCALING = {
    "min_replicas": 1,
    "max_replicas": 2,
    "target_ongoing_requests": 3,
    "upscale_delay_s": 2,
    "downscale_delay_s": 600,
    "metrics_interval_s": 1,
    "look_back_period_s": 5,
}
"""As the operator writes them, and quicker."""


@pytest.fixture
def both(ray_head: RayHead, brokers: Brokers, tmp_path: Path) -> Iterator[httpx.Client]:
    """One replica of each of two applications: the product's, and one that says nothing of what it has in hand."""
    store = open_store((tmp_path / "store").as_uri())
    digest = write_version(store, VERSION, good_arrays(ITEMS, 64, seed=1), items=ITEMS, users=USERS, liked=20)
    admin = AdminClient({"bootstrap.servers": brokers.bootstrap_servers})
    for made in admin.create_topics([NewTopic(topic, num_partitions=3, replication_factor=3) for topic in TOPICS]).values():
        made.result(timeout=120)

    def scaled(name: str, import_path: str) -> dict[str, Any]:
        arguments = ServingArguments(
            namespace="shop",
            name=name,
            uid=f"uid-{time.time_ns()}",
            storage_uri=store.uri,
            bootstrap_servers=brokers.bootstrap_servers.split(","),
            requests_topic=TOPICS[0],
            responses_topic=TOPICS[1],
            event_topics={},
            timeout_ms=250,
            queue_ms=60_000,  # nothing is refused: that all wait is the point
        )
        made = application(arguments, record(1, arm(VERSION, digest, 100)), import_path=import_path)
        (deployment,) = made["deployments"]
        del deployment["num_replicas"]
        deployment["autoscaling_config"] = SCALING
        return made

    with ray_head.client(timeout_s=60) as rest:
        applications = [scaled(SEEING, OURS), scaled(BLIND, "blind_app:build")]
        rest.put("/api/serve/applications/", json={"applications": applications}).raise_for_status()
        for name in (SEEING, BLIND):
            wait_for(lambda name=name: ready(ray_head, name), 240)
        yield rest
        rest.put("/api/serve/applications/", json={"applications": []}).raise_for_status()


def ready(head: RayHead, name: str) -> bool:
    try:
        return httpx.get(f"{head.serve_url}/{name}/readyz", timeout=60, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def running(rest: httpx.Client, name: str) -> int:
    replicas = rest.get("/api/serve/applications/").json()["applications"][name]["deployments"]["Recommender"]["replicas"]
    return sum(replica["state"] == "RUNNING" for replica in replicas)


@contextmanager
def asked(head: RayHead, folder: Path, name: str) -> Generator[None]:
    token_file = folder / "token"
    token_file.write_text(TOKENS["reader"])
    path = f"/{name}/v1/recommendations"
    bodies = (json.dumps({"user_id": f"user-{user:06d}"}).encode() for user in range(USERS))
    requests = write_requests(folder / f"{name}.jsonl", (Asked(route=name, path=path, body=body) for body in bodies))
    generator = start(head.serve_url, requests, token_file=token_file, clients=CLIENTS, seconds=300)
    try:
        yield
    finally:
        told = generator.stop()
        assert told.all.good, dict(told.all.statuses)


def test_a_replica_without_rest_gets_another_and_one_that_says_nothing_does_not(ray_head: RayHead, both: httpx.Client, tmp_path: Path):
    assert (running(both, SEEING), running(both, BLIND)) == (1, 1)
    with ExitStack() as stack:
        for name in (BLIND, SEEING):
            stack.enter_context(asked(ray_head, tmp_path, name))
        wait_for(lambda: running(both, SEEING) == 2, 240)
        assert running(both, BLIND) == 1
