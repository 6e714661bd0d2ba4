"""Requests/s at saturation, CPU a request, and times at half load, of five ways to an answer, in turns on the same cores.

bare ASGI: the same scoring and nothing else, the limit. ours: complete, through Ray Serve's HAProxy, one replica, with access, the answer
log to Kafka, live knowledge and evidence; told are also the parts of its answers by reason, and what a large catalogue's shortlist finds.
plain Ray Serve: as its guides have a split, Python proxy, router and handles, with room for all clients at once and no access log. router,
same ingress: that application with the settings and the HAProxy that ours has. echo: a deployment that sends the body back, behind the same
ingress. Each figure is the median of the rounds: other work beside it only ever slows. Requests that failed or were refused for load are no
part of a rate or a time; they are told, summed over all rounds. The generator has the same cores, and its own CPU is told.
"""

import argparse
import random
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from bench.serving import approximate, cpu
from bench.serving.ways import APPS, AS_IT_COMES, Catalogue, Ours, Way, bare, plain
from bench.serving_line import EVEN, TOKENS, good_arrays, write_version
from ray_apps.stores.objects import Store, open_store
from recsys_dev import kafka, loadgen, ray
from recsys_dev.figures import tell
from recsys_schemas.events import WatchEvent
from recsys_schemas.serving_record import ServingArguments

SIZES = {"4k": (4_000, 128), "27k": (27_000, 128), "1M": (1_000_000, 64)}
"""Items and factors."""
USERS, LIKED, CLIENTS = 6_000, 50, 32
TOPICS = REQUESTS, RESPONSES, WATCH = "bench_requests", "bench_responses", "bench_watch"
HALF = 0.5
MIN_RATE = 2.0
COUNTS = "failed", "refused"
"""What is told only where there is some."""


def version_of(store: Store, size: str, number: int) -> Catalogue:
    """Write a version of one size."""
    items, factors = SIZES[size]
    name = f"bench-{number:06d}"
    digest = write_version(store, name, good_arrays(items, factors, seed=number), items=items, users=USERS, liked=LIKED)
    return Catalogue(version=name, digest=digest, items=items, factors=factors)


def some_events(bootstrap_servers: str, users: list[str]) -> None:
    """One event of each user that asks, so that answers have something to blend in."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all"})
    for place, user in enumerate(users):
        event = WatchEvent(event_id=f"bench-{place}", user_id=user, item_id=f"item-{place % 4000:06d}", timestamp=1_700_000_000_000)
        producer.produce(WATCH, event.model_dump_json().encode(), key=user.encode())
    if producer.flush(60):
        raise RuntimeError("the broker did not take the events")


def trouble(told: loadgen.Told) -> dict[str, float]:
    """What was asked and not answered."""
    return dict(zip(COUNTS, (told.all.failed, told.all.shed), strict=True))


def saturated(way: Way, seconds: float) -> dict[str, float]:
    """Requests/s with CLIENTS clients, and CPU microseconds a request on its path and of the generator."""
    pids = way.pids()
    before = cpu.seconds(pids)
    told = loadgen.start(way.url, way.requests, token_file=way.token_file, clients=CLIENTS, seconds=seconds).wait()
    used, good = cpu.seconds(pids) - before, max(told.all.good, 1)
    return {
        "requests_per_second": told.rate,
        "cpu_us_per_request": used / good * 1e6,
        "generator_us_per_request": told.cpu_seconds / good * 1e6,
    } | trouble(told)


def at_half_load(way: Way, rate: float, seconds: float, seed: int) -> dict[str, float]:
    """Times at a rate, from the moment at which each request was meant to be sent; ms."""
    asked = max(MIN_RATE, rate * HALF)
    told = loadgen.start(way.url, way.requests, token_file=way.token_file, rate=asked, seconds=seconds, seed=seed).wait()
    return {"p50_ms": told.all.percentile(50), "p99_ms": told.all.percentile(99)} | trouble(told)


def compare(ways: list[Way], rounds: int, seconds: float) -> dict[str, Any]:
    """Rounds of every way in turn, then the same at half of what each was able to do."""
    seen: dict[str, dict[str, list[float]]] = {way.name: {} for way in ways}

    def note(way: Way, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            seen[way.name].setdefault(name, []).append(value)

    for way in ways:
        saturated(way, seconds / 2)  # warm
    for turn in range(rounds):
        for way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:
            note(way, saturated(way, seconds))
    for turn in range(rounds):
        for way in ways:
            note(way, at_half_load(way, median(seen[way.name]["requests_per_second"]), seconds, seed=turn))
    summed = {name: {key: whole(key, all_) for key, all_ in figures.items()} for name, figures in seen.items()}
    return {name: {key: value for key, value in figures.items() if value or key not in COUNTS} for name, figures in summed.items()}


def whole(figure: str, rounds: list[float]) -> float:
    """One number of all rounds."""
    return sum(rounds) if figure in COUNTS else round(median(rounds), 3)


def ratios(result: dict[str, Any]) -> dict[str, Any]:
    """Ours against the others, by requests/s and by CPU."""
    ours = result["ours"]
    return {
        f"ours / {name}": {
            "requests_per_second": round(ours["requests_per_second"] / max(figures["requests_per_second"], 1e-9), 3),
            "cpu_us_per_request": round(ours["cpu_us_per_request"] / max(figures["cpu_us_per_request"], 1e-9), 3),
        }
        for name, figures in result.items()
        if name != "ours"
    }


def measure(folder: Path, stack: ExitStack, sizes: list[str], rounds: int, seconds: float) -> None:
    """Start what is needed, measure every size, and tell."""
    broker = kafka.start(folder / "kafka", brokers=1)
    stack.callback(broker.stop)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    for made in admin.create_topics([NewTopic(name, num_partitions=3) for name in TOPICS]).values():
        made.result(timeout=30)
    users = [f"user-{user:06d}" for user in random.Random(7).sample(range(USERS), USERS)]
    some_events(broker.bootstrap_servers, users)
    token_file = folder / "token"
    token_file.write_text(TOKENS["reader"])
    store = open_store((folder / "store").as_uri())
    head = ray.start(folder / "ray", python_path=[APPS], settings=EVEN)
    stack.callback(head.stop)
    slow_head = ray.start(folder / "as-it-comes", python_path=[APPS], settings=EVEN | AS_IT_COMES)
    stack.callback(slow_head.stop)
    arguments = ServingArguments(
        namespace="bench",
        name="bench",
        uid="bench",
        storage_uri=store.uri,
        bootstrap_servers=broker.bootstrap_servers.split(","),
        requests_topic=REQUESTS,
        responses_topic=RESPONSES,
        event_topics={"watch": WATCH},
        timeout_ms=1000,
    )
    line = Ours(head, arguments, folder, token_file)
    for number, size in enumerate(sizes, start=1):
        catalogue = version_of(store, size, number)
        with bare(folder, store.uri, catalogue, users) as limit:
            ways = [limit, *line.serve(catalogue, users), plain(slow_head, store.uri, folder, catalogue, users)]
            model = f"{head.serve_url}/{arguments.name}"
            before = approximate.answered(model)
            figures = compare(ways, rounds, seconds)
            shown = approximate.parts(before, approximate.answered(model))
        tell("serving", f"{size} items", figures | ratios(figures))
        tell("serving", f"{size} items, ours", {"answers": shown} | approximate.recall(store, folder / "cache", catalogue))


def main() -> int:
    """Start what is needed, measure, tell, and stop what was started."""
    parser = argparse.ArgumentParser(prog="bench.serving", description=__doc__)
    parser.add_argument("--sizes", default=",".join(SIZES), help="which catalogues")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one turn")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as folder, ExitStack() as stack:
        measure(Path(folder), stack, words.sizes.split(","), words.rounds, words.seconds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
