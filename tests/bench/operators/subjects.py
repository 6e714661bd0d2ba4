"""The operators that are measured, each on as many objects of its kind: ours, a plain kopf operator, KubeRay's."""

import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bench.ingest.measured import Measured
from bench.operators.objects import PLAIN, RAY_CLUSTERS, Placed, model, place, plain, plain_definition, ray_cluster
from bench.operators.scene import Scene
from bench.operators.watch import LateError, Watch
from recsys_dev import cache
from recsys_dev.node_addons import install_kuberay_definitions
from recsys_dev.node_programs import KUBERAY
from recsys_dev.ports import LOOPBACK, free_ports

QUIET_S = 5.0
SETTLED_S = 120.0
OBSERVED_S, A_THOUSAND_S = 60.0, 90.0
"""A deadline, not a figure: so long, and so long more for a thousand objects."""

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One operator: what it looks after, and how it is started."""

    resource: str
    body: Callable[[Scene, int], Placed]
    argv: Callable[[], list[str | Path]]
    env: Callable[[Scene, str], dict[str, str]]
    """Settings, by where it runs and the name of its lease."""
    prepare: Callable[[Scene], object] = lambda _: None

    @contextlib.contextmanager
    def running(self, at: Scene, log: str) -> Generator[Measured]:
        """The operator at work, with the admin's rights and a lease of its own: it waits for none that a killed one has left."""
        env = {"KUBECONFIG": str(at.cluster.kubeconfig)} | self.env(at, log)
        with Measured(self.argv(), at.run_dir / f"{log}.log", env) as child:
            yield child


def ours(at: Scene, lease: str, port: int | None = None) -> dict[str, str]:
    """Settings of our operator; of those with the same lease one works at a time."""
    return {
        "RECSYS_STORAGE_ROOT": f"file://{at.run_dir}/storage",
        "RECSYS_HTTP_PORT": str(port or free_ports(1)[0]),
        "RECSYS_LOG_LEVEL": "WARNING",
        "RECSYS_LEASE_NAME": lease,
    }


def _kuberay() -> list[str | Path]:
    metrics, probes = free_ports(2)
    program = cache.ensure([KUBERAY], print) / KUBERAY.name
    ports = [f"--metrics-addr={LOOPBACK}:{metrics}", f"--health-probe-bind-address={LOOPBACK}:{probes}"]
    return [program, "--enable-leader-election=false", *ports]


def _define_plain(at: Scene) -> None:
    at.cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(plain_definition()))
    at.cluster.kubectl("wait", "--for=condition=Established", "crd", PLAIN, "--timeout=60s")


OURS = Subject(resource="rm", body=model, argv=lambda: [sys.executable, "-m", "recsys_operator"], env=ours)
SUBJECTS = {
    "recsys": OURS,
    "plain_kopf": Subject(
        resource=PLAIN,
        body=plain,
        argv=lambda: [sys.executable, "-m", "bench.operators.plain_kopf"],
        env=lambda _, __: {},
        prepare=_define_plain,
    ),
    "kuberay": Subject(
        resource=RAY_CLUSTERS,
        body=ray_cluster,
        argv=_kuberay,
        env=lambda _, __: {},
        prepare=lambda at: install_kuberay_definitions(at.cluster),
    ),
}


def base(at: Scene, name: str) -> float:
    """MiB of an operator that has nothing to look after, once it has come to rest."""
    with SUBJECTS[name].running(at, f"{name}-0") as child:
        cpu, deadline = -1.0, time.monotonic() + SETTLED_S
        while child.cpu_s() - cpu > 0.1 and time.monotonic() < deadline:
            cpu = child.cpu_s()
            time.sleep(QUIET_S)
        return child.memory_mib()


def measure(at: Scene, name: str, count: int, *, rest_s: float, base_mib: float) -> Figures:
    """So many objects that are there before their operator is; what was not so in time stands there in words."""
    subject, found = SUBJECTS[name], Figures()
    began = time.monotonic()
    with Watch(at.cluster, subject.resource) as watch:
        watch.wait(lambda: len(watch.seen) >= count, what=f"{count} objects to watch", limit_s=60 + count / 50)
        started, before, calls = time.monotonic(), at.cpu_s(), at.calls()
        with subject.running(at, f"{name}-{count}") as child:
            limit = OBSERVED_S + A_THOUSAND_S * count / 1000
            try:
                ended = watch.wait(lambda: watch.observed >= count, what=f"{count} observed", limit_s=limit)
                found["all_observed_s"] = ended - started
            except LateError as late:
                found["all_observed_s"] = str(late)
            found["cpu_s_until_then"] = child.cpu_s()
            found |= {f"{name}_cpu_s_until_then": seconds - before[name] for name, seconds in at.cpu_s().items()}
            found["calls_an_object"] = (at.calls() - calls) / count
            found |= rest(at, child, rest_s)
            found["peak_rss_mib"] = child.memory_mib("VmHWM")
            found["kib_an_object"] = 1024 * (found["rss_mib"] - base_mib) / count
            found["took_s"] = round(time.monotonic() - began)
    return found


def rest(at: Scene, child: Measured, seconds: float) -> Figures:
    """What it costs to look after objects of which nothing is new, once nothing has been written for a while."""
    deadline, before = time.monotonic() + SETTLED_S, -1
    while (now := at.writes()) != before and time.monotonic() < deadline:
        before = now
        time.sleep(QUIET_S)
    cpu, began, written = child.cpu_s(), time.monotonic(), at.writes()
    time.sleep(seconds)
    spent, lasted = child.cpu_s() - cpu, time.monotonic() - began
    return {"rss_mib": child.memory_mib(), "cpu_cores_at_rest": spent / lasted, "writes_at_rest": at.writes() - written, "rest_s": lasted}


def react(at: Scene, count: int, changes: int) -> Figures:
    """From a change of a spec to our operator's answer, one after another; and how soon it has looked at all again after a kill -9.

    The killed one has left its lease: up to 15 s of that are the wait for it.
    """
    waits: list[float] = []
    (port,) = free_ports(1)
    env = {"KUBECONFIG": str(at.cluster.kubeconfig)} | ours(at, f"recsys-{count}", port)
    with Watch(at.cluster, "rm") as watch, Measured(OURS.argv(), at.run_dir / f"recsys-{count}-again.log", env) as child:
        began = time.monotonic()
        child.wait(lambda: passes(port) >= count, every_s=0.5, limit_s=OBSERVED_S + A_THOUSAND_S * count / 1000)
        restart = time.monotonic() - began
        for turn in range(changes):
            namespace, name = key = place((turn * 7919) % count)
            generation = int(watch.seen[key][0]) + 1
            words = json.dumps({"spec": {"revisionHistoryLimit": 11 + generation % 80}})
            at.cluster.kubectl("patch", "rm", name, "-n", namespace, "--type=merge", "-p", words)
            watch.wait(lambda at=(key, generation): at in watch.answered, what=f"{key} answered", limit_s=60)
            waits.append(watch.answered[key, generation] - watch.asked[key, generation])
    ordered = sorted(waits)
    quantiles = {"change_p50_s": statistics.median(ordered), "change_p99_s": ordered[int(0.99 * (len(ordered) - 1))]}
    return {"restart_after_kill_s": restart, **quantiles}


def passes(port: int) -> float:
    """Passes so far, by our operator's own account."""
    try:
        text = httpx.get(f"http://{LOOPBACK}:{port}/metrics", timeout=30, trust_env=False).text
    except httpx.HTTPError:
        return 0.0
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith("recsys_reconciles_total{"))
