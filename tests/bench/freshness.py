"""From an event that was acknowledged to an answer that knows it, and from an item's record to an answer that shows it.

`PYTHONPATH=tests python -m bench.freshness` starts three brokers and one replica behind its own HTTP server, writes background events at a
steady rate, and asks after each probe until the answer has changed. What is measured includes the asking: a loop of one request each.
"""

import argparse
import asyncio
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bench.serving_line import TOKENS, arm, good_arrays, record, write_version
from ray_apps.stores.objects import open_store
from recsys_dev import kafka, processes
from recsys_dev.figures import tell
from recsys_dev.ports import free_ports
from recsys_schemas.serving_record import ServingArguments, ServingRecord

ITEMS, USERS, FACTORS = 4000, 6000, 64
VERSION = "bench-000001"
TOPICS = ("fresh_watch", "fresh_requests", "fresh_responses", "fresh_preferences", "fresh_items")
EVENT_TARGET_MS, ITEM_TARGET_MS, LONGEST_S = 1000.0, 2000.0, 30.0
BULK = 50
"""Background events of one request."""


async def background(client: httpx.AsyncClient, per_second: float, stop: asyncio.Event, sent: list[int]) -> None:
    """Write events at a steady rate, whatever the answers take; what is late is sent at once."""
    began, number = time.monotonic(), 0
    waiting: set[asyncio.Task[None]] = set()
    while not stop.is_set():
        await asyncio.sleep(max(0.0, began + number * BULK / per_second - time.monotonic()))
        events = [event(f"user-{(number * BULK + place) % USERS:06d}", f"item-{(number * 7 + place) % ITEMS:06d}") for place in range(BULK)]
        task = asyncio.create_task(_send(client, events, sent))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
        number += 1
    await asyncio.gather(*waiting, return_exceptions=True)


async def _send(client: httpx.AsyncClient, events: list[dict[str, Any]], sent: list[int]) -> None:
    answered = await client.post("/v1/events", json={"event_type": "watch", "events": events})
    if answered.status_code == 200:
        sent.append(len(events))


def event(user: str, item: str) -> dict[str, Any]:
    """A watch event of now."""
    return {"event_id": uuid.uuid4().hex, "user_id": user, "item_id": item, "timestamp": int(time.time() * 1000)}


async def probe_event(client: httpx.AsyncClient, number: int) -> float:
    """Milliseconds from an acknowledged event of a stranger to their first personal answer."""
    user = f"probe-{number}-{uuid.uuid4().hex[:6]}"
    answered = await client.post("/v1/events", json={"event_type": "watch", "events": [event(user, f"item-{number % ITEMS:06d}")]})
    answered.raise_for_status()
    return await _until(client, "/v1/recommendations", {"user_id": user}, lambda told: told["reason"] == "personal")


async def probe_item(client: httpx.AsyncClient, number: int) -> float:
    """Milliseconds from an acknowledged record of a new item to the first answer that shows it."""
    item, tag = f"new-{number}-{uuid.uuid4().hex[:6]}", uuid.uuid4().hex
    answered = await client.post("/v1/items", json={"items": [{"item_id": item, "tags": [tag], "genres": ["Comedy"]}]})
    answered.raise_for_status()
    asked = {"user_id": f"user-{number:06d}", "filters": {"tags": [tag]}}
    return await _until(client, "/v1/recommendations", asked, lambda told: any(each["item_id"] == item for each in told.get("items", [])))


async def _until(client: httpx.AsyncClient, path: str, body: dict[str, Any], known: Any) -> float:
    began = time.perf_counter()
    while time.perf_counter() - began < LONGEST_S:
        answered = await client.post(path, json=body)
        if answered.status_code == 200 and known(answered.json()):
            return (time.perf_counter() - began) * 1000
        await asyncio.sleep(0.002)
    return LONGEST_S * 1000


async def measure(url: str, *, probes: int, items: int, per_second: float) -> dict[str, Any]:
    """Both, one after the other, beside the background."""
    stop, sent = asyncio.Event(), list[int]()
    headers = {"Authorization": f"Bearer {TOKENS['writer']}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30, trust_env=False) as client:
        beside = asyncio.create_task(background(client, per_second, stop, sent))
        began = time.monotonic()
        events = [await probe_event(client, number) for number in range(probes)]
        shown = [await probe_item(client, number) for number in range(items)]
        seconds = time.monotonic() - began
        stop.set()
        await beside
    return {
        "event to answer": figures(events, EVENT_TARGET_MS),
        "new item to answer": figures(shown, ITEM_TARGET_MS),
        "background": {"asked events/s": per_second, "acknowledged events/s": round(sum(sent) / seconds, 1)},
    }


def figures(times_ms: list[float], target_ms: float) -> dict[str, float]:
    """Percentiles of some times, and whether they hold."""
    p50, p99 = (round(float(np.percentile(times_ms, part)), 1) for part in (50, 99))
    return {"probes": len(times_ms), "p50_ms": p50, "p99_ms": p99, "max_ms": round(max(times_ms), 1), "target_ms": target_ms}


def main() -> int:
    """Measure, tell, and say by the exit status whether the targets hold."""
    parser = argparse.ArgumentParser(prog="python -m bench.freshness", description=__doc__)
    parser.add_argument("--probes", type=int, default=1000, help="events to ask after (1000)")
    parser.add_argument("--items", type=int, default=100, help="new items to ask after (100)")
    parser.add_argument("--rate", type=float, default=1000.0, help="background events a second (1000)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="recsys-freshness-") as folder:
        run_dir = Path(folder)
        brokers = kafka.start(run_dir / "kafka")
        try:
            told = asyncio.run(measure(_served(run_dir, brokers), probes=asked.probes, items=asked.items, per_second=asked.rate))
        finally:
            processes.stop_all(run_dir / "replica")
            brokers.stop()
    for part, values in told.items():
        tell("freshness", part, values)
    return int(any(told[part]["p99_ms"] > told[part]["target_ms"] for part in ("event to answer", "new item to answer")))


def _served(run_dir: Path, brokers: kafka.Brokers) -> str:
    admin = AdminClient({"bootstrap.servers": brokers.bootstrap_servers})
    for made in admin.create_topics([NewTopic(topic, num_partitions=3, replication_factor=3) for topic in TOPICS]).values():
        made.result(timeout=60)
    store = open_store((run_dir / "store").as_uri())
    digest = write_version(store, VERSION, good_arrays(ITEMS, FACTORS, seed=1), items=ITEMS, users=USERS, liked=20)
    arguments = ServingArguments(
        namespace="shop",
        name="movies",
        uid=uuid.uuid4().hex,
        storage_uri=store.uri,
        bootstrap_servers=brokers.bootstrap_servers.split(","),
        requests_topic=TOPICS[1],
        responses_topic=TOPICS[2],
        event_topics={"watch": TOPICS[0]},
        preferences_topic=TOPICS[3],
        items_topic=TOPICS[4],
        timeout_ms=250,
    )
    served = ServingRecord.model_validate(record(1, arm(VERSION, digest, 100)))
    (port,) = free_ports(1)
    app = Path(__file__).parent / "apps" / "replica_server.py"
    argv = (sys.executable, str(app), arguments.model_dump_json(), served.model_dump_json(), str(port))
    child = processes.start(run_dir / "replica", "replica", processes.Command(argv=argv))
    url = f"http://127.0.0.1:{port}"
    processes.wait_until(lambda: _ready(url), what="the replica answers", deadline_s=120, children=[child])
    return url


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    sys.exit(main())
