"""How many models one operator looks after, and what it costs; beside it a plain kopf operator on as many objects.

    python -m bench.operators [--models 100,1000] [--rest 60] [--changes 100]

A real API server and a real broker; Ray's dashboard is a stand-in, for no Ray here could run so many jobs. Half of the models are
suspended, the others wait for events that never come.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bench.ingest.measured import Measured
from bench.operators import fake_ray
from bench.operators.models import PLAIN, Watch, all_observed, create, model, plain, plain_definition, writes
from recsys_dev import kafka, kubernetes, runs
from recsys_dev.figures import tell
from recsys_dev.kubernetes import Cluster
from recsys_dev.ports import free_ports
from recsys_schemas.kinds import KINDS

ROOT = Path(__file__).resolve().parents[3]
DEFINITIONS = ROOT / "charts" / "recsys-operator" / "files" / "crds"
NAMESPACES = 20
QUIET_S = 5.0
AGENT = "recsys-operator"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What the operator speaks to."""

    cluster: Cluster
    ray: str
    kafka: str
    run_dir: Path


@contextlib.contextmanager
def scene() -> Generator[Scene]:
    """A control plane, a broker and the stand-in for Ray, all on loopback."""
    run_dir = runs.claim(ROOT / "build" / "run" / "bench-operator")
    try:
        cluster = kubernetes.start(run_dir / "kube", progress=print, audit=True)
        brokers = kafka.start(run_dir / "kafka", brokers=1, progress=print)
        (port,) = free_ports(1)
        with Measured([sys.executable, "-m", "bench.operators.fake_ray", str(port)], run_dir / "ray.log"):
            cluster.kubectl("apply", "--server-side", "-f", str(DEFINITIONS))
            cluster.kubectl("wait", "--for=condition=Established", "crd", *(f"{kind.plural}.recsys.dev" for kind in KINDS))
            yield Scene(cluster=cluster, ray=f"http://127.0.0.1:{port}", kafka=brokers.bootstrap_servers, run_dir=run_dir)
    finally:
        for folder in ("kube", "kafka"):
            runs.discard(run_dir / folder)
        runs.discard(run_dir)


def place(number: int) -> tuple[str, str]:
    """Namespace and name of a model."""
    return f"team-{number % NAMESPACES:02}", f"model-{number:05}"


def fill(at: Scene, first: int, count: int) -> None:
    """Make the models from `first` on."""
    if first == 0:
        names = [f"team-{each:02}" for each in range(NAMESPACES)]
        create(at.cluster, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names])
        create(at.cluster, [_secret(name) for name in names])
    create(at.cluster, bodies(at, first, count))


def bodies(at: Scene, first: int, count: int) -> list[dict[str, Any]]:
    """Models, every other one suspended."""
    numbers = range(first, count)
    return [model(*place(each), ray=f"{at.ray}/{place(each)[0]}", kafka=at.kafka, suspend=each % 2 == 0) for each in numbers]


def _secret(namespace: str) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": "ray-auth"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": fake_ray.TOKEN}}


def operator(at: Scene, count: int) -> tuple[Measured, str]:
    """Start the operator as it ships; the address of its metrics."""
    (port,) = free_ports(1)
    env = {
        "KUBECONFIG": str(at.cluster.kubeconfig),
        "RECSYS_STORAGE_ROOT": f"file://{at.run_dir}/storage",
        "RECSYS_HTTP_PORT": str(port),
        "RECSYS_LOG_LEVEL": "WARNING",
    }
    return Measured([sys.executable, "-m", "recsys_operator"], at.run_dir / f"operator-{count}.log", env), f"http://127.0.0.1:{port}"


def passes(base: str) -> float:
    """Passes so far, by the operator's own account."""
    try:
        text = httpx.get(f"{base}/metrics", timeout=30, trust_env=False).text
    except httpx.HTTPError:
        return 0.0
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith("recsys_reconciles_total{"))


def rest(at: Scene, child: Measured, seconds: float, agent: str) -> dict[str, float]:
    """What it costs to look after models of which nothing is new."""
    log = at.cluster.audit_log
    _, mark = writes(log, log.stat().st_size, agent)
    cpu, began = child.cpu_s(), time.monotonic()
    time.sleep(seconds)
    spent, lasted = child.cpu_s() - cpu, time.monotonic() - began
    written, _ = writes(log, mark, agent)
    return {"rss_mib": child.memory_mib(), "cpu_cores_at_rest": spent / lasted, "writes_at_rest": written, "rest_s": lasted}


def settle(at: Scene, agent: str, limit_s: float = 300.0) -> None:
    """Wait until nothing has been written for a while."""
    log, deadline = at.cluster.audit_log, time.monotonic() + limit_s
    _, mark = writes(log, log.stat().st_size, agent)
    while time.monotonic() < deadline:
        time.sleep(QUIET_S)
        found, mark = writes(log, mark, agent)
        if not found:
            return


def reactions(at: Scene, watch: Watch, count: int, changes: int) -> dict[str, float]:
    """From a change of a spec to the operator's answer, as one watch sees both; one change after another."""
    waits: list[float] = []
    for turn in range(changes):
        namespace, name = key = place((turn * 7919) % count)
        generation = int(watch.seen[key]["generation"]) + 1
        at.cluster.kubectl(
            "patch", "rm", name, "-n", namespace, "--type=merge", "-p", json.dumps({"spec": {"revisionHistoryLimit": 11 + generation % 80}})
        )
        watch.wait(lambda _, at=(key, generation): at in watch.answered, what=f"{key} answered", limit_s=60)
        waits.append(watch.answered[key, generation] - watch.asked[key, generation])
    return {"change_p50_s": statistics.median(waits), "change_p99_s": sorted(waits)[int(0.99 * (len(waits) - 1))]}


def measure(at: Scene, count: int, rest_s: float, changes: int) -> dict[str, Any]:
    """One number of models, that are there before the operator is."""
    with Watch(at.cluster, "rm") as watch:
        began = time.monotonic()
        child, base = operator(at, count)
        with child:
            observed = watch.wait(all_observed(count), what=f"{count} models observed") - began
            spent = child.cpu_s()
            settle(at, AGENT)
            found = {"all_observed_s": observed, "cpu_s_until_then": spent}
            found |= rest(at, child, rest_s, AGENT) | reactions(at, watch, count, changes)
            found["peak_rss_mib"] = child.memory_mib("VmHWM")
        began = time.monotonic()
        child, base = operator(at, count)
        with child:
            child.wait(lambda: passes(base) >= count, every_s=0.5)
            found["restart_s"] = time.monotonic() - began
    return found


def measure_peer(at: Scene, first: int, count: int, rest_s: float) -> dict[str, Any]:
    """A plain kopf operator with as many objects of the same specs."""
    create(at.cluster, [plain(body) for body in bodies(at, first, count)])
    env = {"KUBECONFIG": str(at.cluster.kubeconfig)}
    with Watch(at.cluster, PLAIN) as watch:
        began = time.monotonic()
        with Measured([sys.executable, "-m", "bench.operators.plain_kopf"], at.run_dir / f"plain-{count}.log", env) as child:
            found = {"all_observed_s": watch.wait(all_observed(count), what=f"{count} objects of the peer observed") - began}
            found |= {"cpu_s_until_then": child.cpu_s()}
            time.sleep(QUIET_S)
            return found | rest(at, child, rest_s, "kopf") | {"peak_rss_mib": child.memory_mib("VmHWM")}


def an_object_more(found: dict[str, Any], whose: str, counts: list[int]) -> float:
    """KiB of memory for each object above the smallest number."""
    few, many = counts[0], counts[-1]
    return 1024 * (found[f"{many}_{whose}"]["rss_mib"] - found[f"{few}_{whose}"]["rss_mib"]) / (many - few)


def main() -> None:
    parser = argparse.ArgumentParser(description="One operator, many models.")
    parser.add_argument("--models", default="100,1000", help="numbers of models, ascending")
    parser.add_argument("--rest", type=float, default=60.0, help="seconds of rest")
    parser.add_argument("--changes", type=int, default=100, help="changes of a spec")
    asked = parser.parse_args()
    counts = sorted({int(each) for each in asked.models.split(",")})
    found: dict[str, Any] = {}
    with scene() as at:
        at.cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(plain_definition()))
        made = 0
        for count in counts:
            sys.stdout.write(f"{count} models: making them\n")
            fill(at, made, count)
            before, made = made, count
            found[f"{count}_models"] = measure(at, count, asked.rest, asked.changes)
            found[f"{count}_of_plain_kopf"] = measure_peer(at, before, count, asked.rest)
            tell("operator", "models", found)
    if len(counts) > 1:
        ours, peer = (an_object_more(found, whose, counts) for whose in ("models", "of_plain_kopf"))
        tell("operator", "memory", {"kib_for_a_model": ours, "kib_for_an_object_of_plain_kopf": peer, "plain_kopf_over_ours": peer / ours})


if __name__ == "__main__":
    main()
