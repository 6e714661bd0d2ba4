"""The serving API against a bare Ray Serve echo: same head, same ingress, same load generator, in turns.

`PYTHONPATH=tests python -m bench.serving` starts a head and one broker of its own and prints a table; `measure` takes those that run.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bench.load import drive, post
from bench.serving_line import TOKENS, application, arm, good_arrays, record, write_version
from ray_apps.stores.objects import open_store
from recsys_dev import kafka, ray
from recsys_dev.figures import tell
from recsys_dev.ray import RayHead
from recsys_schemas.serving_api import ServingArguments

ITEMS, USERS, LIKED, FACTORS = 4000, 6000, 50, 64
CLIENTS = (1, 32)
ROUNDS = 3
"""Turns of each endpoint; the median is told, since other work beside it only ever slows."""
DEADLINE_S = 180.0
VERSION = "bench-000001"
REQUESTS, RESPONSES = "bench_requests", "bench_responses"


def deploy(head: RayHead, arguments: ServingArguments, digest: str) -> dict[str, str]:
    """Put both applications, one replica each, and return their URLs when all answer."""
    apps = [
        application(arguments, record(1, arm(VERSION, digest, 100)), replicas=1),
        {"name": "echo", "route_prefix": "/echo", "import_path": "bare_echo:echo", "args": {}},
    ]
    with head.client(timeout_s=60) as rest:
        rest.put("/api/serve/applications/", json={"applications": apps}).raise_for_status()
    urls = {
        "api": f"{head.serve_url}/{arguments.name}/v1/recommendations",
        "echo": f"{head.serve_url}/echo",
    }
    end = time.monotonic() + DEADLINE_S
    while not all(answers(url) for url in urls.values()):
        if time.monotonic() > end:
            raise TimeoutError(f"not all of {', '.join(urls)} answered within {DEADLINE_S:.0f} s; see the head's logs")
        time.sleep(0.2)
    return urls


def answers(url: str) -> bool:
    """Whether a question gets a 200."""
    headers = {"Authorization": f"Bearer {TOKENS['reader']}"}
    try:
        return httpx.post(url, json={"user_id": "user-000000"}, headers=headers, timeout=10, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def measure(head: RayHead, folder: Path, bootstrap_servers: str, seconds: float = 4.0) -> dict[str, Any]:
    """Measure p50, p99 (milliseconds) and requests/s of each endpoint with 1 and 32 clients, and the API's ratios to the echo.

    The head must have been started with `tests/bench/apps` on its Python path; its applications are replaced. The two topics
    `bench_requests` and `bench_responses` must be there.
    """
    store = open_store(folder.as_uri())
    digest = write_version(store, VERSION, good_arrays(ITEMS, FACTORS, seed=1), items=ITEMS, users=USERS, liked=LIKED)
    arguments = ServingArguments(
        namespace="bench",
        name="bench",
        uid="bench",
        storage_uri=store.uri,
        bootstrap_servers=bootstrap_servers.split(","),
        requests_topic=REQUESTS,
        responses_topic=RESPONSES,
        event_topics={},
        timeout_ms=250,
    )
    urls = deploy(head, arguments, digest)
    bodies = [json.dumps({"user_id": f"user-{user:06d}"}).encode() for user in range(0, USERS, 7)]
    seen: dict[str, dict[str, list[float]]] = {}
    for _ in range(ROUNDS):
        for clients in CLIENTS:
            for name, url in urls.items():
                requests = [post(url, body, TOKENS["reader"]) for body in bodies]
                load = asyncio.run(drive(url, requests, clients=clients, seconds=seconds))
                if load.failed:
                    raise RuntimeError(f"{name}: {load.failed} failed requests: {dict(load.statuses)}, {load.broken} broken")
                figures = seen.setdefault(f"{name}, {clients} clients", {"p50_ms": [], "p99_ms": [], "requests_per_second": []})
                for figure, value in zip(figures, (load.percentile(50), load.percentile(99), load.rate), strict=True):
                    figures[figure].append(value)
    result: dict[str, Any] = {name: {key: round(median(all_), 2) for key, all_ in figures.items()} for name, figures in seen.items()}
    for clients in CLIENTS:
        api, echo = (result[f"{name}, {clients} clients"] for name in ("api", "echo"))
        result[f"api / echo, {clients} clients"] = {figure: round(api[figure] / echo[figure], 2) for figure in echo}
    return result


def main() -> int:
    """Start what is needed, measure, tell, and stop what was started."""
    parser = argparse.ArgumentParser(prog="bench.serving", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one turn")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as folder:
        at = Path(folder)
        broker = kafka.start(at / "kafka", brokers=1)
        head = None
        try:
            admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
            for made in admin.create_topics([NewTopic(name, num_partitions=3) for name in (REQUESTS, RESPONSES)]).values():
                made.result(timeout=30)
            head = ray.start(at / "ray", python_path=[Path(__file__).parent / "apps"])
            result = measure(head, at / "store", broker.bootstrap_servers, seconds)
        finally:
            if head is not None:
                head.stop()
            broker.stop()
    tell("bench", "serving", result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
