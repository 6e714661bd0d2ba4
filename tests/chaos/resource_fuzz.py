"""Thousands of changes of RecommenderModels on a real API server, with the real operator beside it: right ones, wrong ones, undone ones.

    python tests/chaos/resource_fuzz.py [--transitions 5000] [--seed 1] [--twin] [--only FIELD ...]

Each field of the schema is absent, null, at its bounds and past them, of a wrong type, in strange letters, huge; alone and in random walks.
What must hold: a change is refused at once with the path of the field and leaves the object as it was, or the operator answers it in its
status within seconds; no pass ends in an exception; once undone, the status says what it said at the start, and so does a fresh model of
the same spec. What has one way only (partitions grow) is undone as its refusal says, by a model made again. With --twin an operator that
trips over one value is run instead, and must be caught. Ray answers here as a stand-in does, and no broker does: the operator's decisions
are tried, not the brokers.
"""

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from bench.operators.scene import client
from chaos.resource_mutations import Json, Mutation, leaves, mutations
from chaos.resource_walk import WALK, Fuzz, FuzzFailedError, Tally, walk
from recsys_dev import kubernetes, processes, runs
from recsys_dev.figures import tell
from recsys_dev.kubernetes import Cluster
from recsys_dev.ports import free_ports
from recsys_dev.processes import Child, Command
from recsys_schemas.metric_names import LEADER

ROOT = Path(__file__).resolve().parents[2]
DEFINITIONS = ROOT / "charts" / "recsys-operator" / "files" / "crds"
WALKERS = 16
"""Models that are changed side by side."""
TRIPS = "the twin trips"
ASKED_S = 5.0
SLOWEST = 12
LEADING_S = 240.0


def schema() -> Json:
    document = yaml.safe_load((DEFINITIONS / "recommendermodels.yaml").read_text())
    return document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


def bases(port: int) -> Sequence[Json]:
    """Specs that walks begin from: the smallest, and one that names much of what there is."""
    smallest: Json = {"ray": {"dashboardURL": f"http://127.0.0.1:{port}/ray"}, "kafka": {"bootstrapServers": ["127.0.0.1:1"]}}
    example = yaml.safe_load((ROOT / "examples" / "movies.yaml").read_text())["spec"]
    return smallest, example | smallest


def chosen(count: int, chance: random.Random, only: Sequence[str]) -> list[Mutation]:
    """So many mutations, of some first fields alone if asked: all singles in random order, and again when there are fewer."""
    singles = [each for each in mutations(schema()) if not only or each.path[0] in only]
    picked: list[Mutation] = []
    while len(picked) < count:
        chance.shuffle(singles)
        picked += singles
    return picked[:count]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is tried."""

    transitions: int
    seed: int = 1
    twin: bool = False
    only: Sequence[str] = ()

    @property
    def namespace(self) -> str:
        return "twin" if self.twin else "fuzzed"


async def run(cluster: Cluster, port: int, asked: Asked) -> Tally:
    """Try so many mutations."""
    chance, tally = random.Random(asked.seed), Tally()
    todo = chosen(asked.transitions, chance, asked.only)
    async with client(cluster) as kube, asyncio.TaskGroup() as tasks:
        for number in range(min(WALKERS, max(2, asked.transitions // WALK))):
            one = Fuzz(kube=kube, namespace=asked.namespace, name=f"model-{number:02}", base=bases(port)[number % 2], tally=tally)
            tasks.create_task(walk(one, todo, random.Random(f"{asked.seed} {number}")))
    return tally


TWIN = f"""
import sys
from recsys_operator import __main__ as operator, loop
real = loop.plan
def trips(observed):
    if observed.model.spec.revision_history_limit == 1:
        raise ZeroDivisionError("{TRIPS}")
    return real(observed)
loop.plan = trips
sys.exit(operator.main())
"""


def start(cluster: Cluster, asked: Asked) -> tuple[Child, int]:
    """The operator, and the stand-in for Ray that it speaks to."""
    port, http = free_ports(2)
    bench = {"PYTHONPATH": str(ROOT / "tests")}
    ray = Command(argv=[sys.executable, "-m", "bench.operators.fake_ray", str(port)], env=bench)
    processes.start(cluster.run_dir, f"ray-{asked.namespace}", ray)
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(DEFINITIONS))
    cluster.kubectl("wait", "--for=condition=Established", "-f", str(DEFINITIONS), "--timeout=240s")
    cluster.kubectl("create", "namespace", asked.namespace)
    cluster.kubectl("create", "secret", "generic", "ray-auth", "-n", asked.namespace, "--from-literal=token=fuzz")
    env = {
        "KUBECONFIG": str(cluster.kubeconfig),
        "RECSYS_STORAGE_ROOT": f"file://{cluster.run_dir}/storage",
        "RECSYS_HTTP_PORT": str(http),
        "RECSYS_WATCH_NAMESPACES": asked.namespace,
        "RECSYS_LEASE_NAME": f"operator-{asked.namespace}",
    }
    argv = [sys.executable, "-c", TWIN] if asked.twin else [sys.executable, "-m", "recsys_operator"]
    operator = processes.start(cluster.run_dir, f"operator-{asked.namespace}", Command(argv=argv, env=env))
    # What a change waits for is the operator's answer, not its start.
    processes.wait_until(lambda: leads(http), what="the operator's lease", deadline_s=LEADING_S, children=[operator])
    return operator, port


def leads(port: int) -> bool:
    """Whether the operator has the lease, by its own account."""
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5, trust_env=False).text
    except httpx.HTTPError:
        return False
    return f"{LEADER.name} 1.0" in text


def exceptions(log: Path) -> list[str]:
    """Lines of the operator's log that carry a traceback, and those that are not JSON at all."""
    lines = log.read_text(errors="replace").splitlines()
    return [line[:2000] for line in lines if '"exc_info"' in line or not line.startswith("{")]


def fuzz(cluster: Cluster, asked: Asked) -> Tally:
    """Start an operator, try so many mutations, and hold what must hold.

    Raises:
        FuzzFailedError: something did not.
    """
    operator, port = start(cluster, asked)
    try:
        tally = asyncio.run(run(cluster, port, asked))
    except ExceptionGroup as group:
        first = next((error for error in group.exceptions if isinstance(error, FuzzFailedError)), None)
        raise first or group from None
    finally:
        alive = operator.is_alive()
        processes.stop(operator)
    if not alive:
        raise FuzzFailedError(f"the operator has ended: {operator.last_lines()}")
    if found := exceptions(operator.log):
        raise FuzzFailedError(f"{len(found)} passes ended in an exception, the first: {found[0]}")
    return tally


def is_caught(cluster: Cluster, asked: Asked) -> str:
    """How the broken twin was caught; empty when it was not."""
    try:
        fuzz(cluster, asked)
    except FuzzFailedError as error:
        return str(error) if TRIPS in str(error) else ""
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transitions", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--twin", action="store_true")
    parser.add_argument("--only", nargs="*", default=[], help="first fields of the spec that are changed; all when left out")
    given = parser.parse_args()
    asked = Asked(transitions=given.transitions, seed=given.seed, twin=given.twin, only=given.only)
    run_dir = runs.claim(ROOT / "build" / "run" / "tests" / f"fuzz-{os.getpid()}")
    try:
        cluster = kubernetes.start(run_dir, progress=print)
        if asked.twin:
            words = is_caught(cluster, asked)
            tell("fuzz-resources", "twin", {"caught": bool(words), "by": words[:200]})
            return 0 if words else 1
        began = time.monotonic()
        tally = fuzz(cluster, asked)
    except FuzzFailedError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    finally:
        runs.discard(run_dir)
    report(tally, time.monotonic() - began)
    return 0


def report(tally: Tally, seconds: float) -> None:
    """The table, and the same figures as JSON."""
    known = set(leaves(schema()))
    waits = [seconds for seconds, _ in sorted(tally.waits)]
    tell(
        "fuzz-resources",
        "operator",
        {
            "transitions": tally.transitions,
            "fields": f"{len(tally.fields & known)} of {len(known)}",
            "refused with the field's path": tally.refused,
            "answered in the status": tally.answered,
            "no change": tally.unchanged,
            "walks undone": tally.undone,
            "made again, for there was no way back": tally.made_again,
            "answer p50 s": waits[len(waits) // 2],
            "answer p99 s": waits[int(0.99 * (len(waits) - 1))],
            f"first answer of new models ({WALKERS} at once), worst s": max(tally.first_waits),
            "answered within 5 s": f"{sum(each <= ASKED_S for each in waits)} of {len(waits)}",
            "seconds": round(seconds),
        },
    )
    slowest = sorted(tally.waits, reverse=True)[:SLOWEST]
    tell("fuzz-resources", "slowest answers: s", {f"{number}. {what}": each for number, (each, what) in enumerate(slowest, 1)})


if __name__ == "__main__":
    sys.exit(main())
