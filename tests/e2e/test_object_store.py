"""A model on an object store: snapshots, training and versions on S3, whose server is not there yet, comes, goes away and comes back."""

import time
from collections.abc import Iterator

import httpx
import pytest

from e2e.conftest import object_store_dir
from e2e.sight import Sight, until
from e2e.small import small_model
from recsys_dev import objects
from recsys_dev.audience import SimulatedAudience
from recsys_dev.line import REPOSITORY, apply_model, manifest_of
from recsys_dev.producer import EventProducer
from recsys_dev.tastes import World

MODEL, BUCKET = "shelf", "recsys"
WATCH, RATE = f"{MODEL}.watch", f"{MODEL}.rate"
WORLD = World(users=150, items=150, mean_history=20)
START_S = 400.0
BACK_S = 240.0


@pytest.fixture(scope="module")
def audience(sight: Sight) -> Iterator[SimulatedAudience]:
    """The model applied, and its events written; nothing answers yet where its store should be."""
    wishes = small_model(MODEL, "ItemItem", watch=WATCH, rate=RATE) | {"spec.data.snapshot.storageURI": f"s3://{BUCKET}/{MODEL}"}
    apply_model(sight.line, manifest_of(REPOSITORY / "examples" / "movies.yaml", sight.line, wishes))
    sight.told(MODEL, "TopicsReady", "True", "Verified", within_s=START_S)
    audience = SimulatedAudience(WORLD, now_ms=time.time_ns() // 1_000_000)
    write(sight, audience)
    yield audience
    sight.line.cluster.kubectl("delete", "rm", MODEL, "--ignore-not-found", "--wait=false")
    if store := objects.attach(object_store_dir(sight.line.run_dir)):
        store.stop()


def write(sight: Sight, audience: SimulatedAudience) -> None:
    producer = EventProducer(sight.line.brokers.bootstrap_servers)
    for event in audience.history():
        producer.send_raw(WATCH if event.event_type == "watch" else RATE, event.user_id.encode(), event.record())
    producer.flush()


def answer(sight: Sight, audience: SimulatedAudience) -> str:
    """Version that answers a user."""
    url, token = sight.api(MODEL)
    asked = {"user_id": audience.visitor(), "k": 5}
    got = httpx.post(f"{url}/v1/recommendations", json=asked, headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False)
    assert got.status_code == 200, got.text
    assert len(got.json()["items"]) == 5
    return str(got.json()["model_version"])


def test_a_model_whose_store_comes_late_trains_and_serves_by_itself(sight: Sight, audience: SimulatedAudience):
    assert f"s3://{BUCKET}/{MODEL}" in sight.told(MODEL, "SnapshotReady", "Unknown", "StorageUnreachable", within_s=START_S)
    store = objects.start(object_store_dir(sight.line.run_dir))
    store.make_bucket(BUCKET)
    until(lambda: sight.ready(MODEL), what="the model Ready", within_s=START_S, or_tell=lambda: sight.words(MODEL))
    assert answer(sight, audience) == f"{MODEL}-000001"
    kept = [path.name for path in (object_store_dir(sight.line.run_dir) / "objects" / BUCKET / MODEL).rglob("*") if path.is_file()]
    for end in ("_events.parquet", "latest.json", "card.json"):
        assert any(name.endswith(end) for name in kept), (end, kept)


def test_users_are_answered_while_the_store_is_away_and_snapshots_go_on_when_it_is_back(sight: Sight, audience: SimulatedAudience):
    store = objects.attach(object_store_dir(sight.line.run_dir))
    assert store is not None
    store.stop()
    sight.told(MODEL, "SnapshotReady", "Unknown", "StorageUnreachable", within_s=BACK_S)
    assert answer(sight, audience) == f"{MODEL}-000001"
    before = rows(sight)
    write(sight, audience)
    objects.start(object_store_dir(sight.line.run_dir))
    until(lambda: rows(sight) > before, what="a new snapshot", within_s=BACK_S, or_tell=lambda: sight.words(MODEL))
    assert answer(sight, audience).startswith(MODEL)


def rows(sight: Sight) -> int:
    seen = sight.eyes.look(MODEL)
    return seen.status.ingestion.rows if seen is not None and seen.status.ingestion is not None else 0
