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
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import Configuration
from kubernetes.config import load_kube_config

from chaos.resource_mutations import Json, Mutation, leaves, mutations
from recsys_dev import kubernetes, processes, runs
from recsys_dev.figures import tell
from recsys_dev.kubernetes import Cluster
from recsys_dev.ports import free_ports
from recsys_dev.processes import Child, Command
from recsys_operator.world.errors import RefusedError
from recsys_operator.world.kube import ConflictError, Kube, open_kube
from recsys_operator.world.objects import MODELS, folder, place

ROOT = Path(__file__).resolve().parents[2]
DEFINITIONS = ROOT / "charts" / "recsys-operator" / "files" / "crds"
WALKERS = 16
"""Models that are changed side by side."""
WALK = 12
"""Changes of a walk before it is undone."""
ANSWER_S = 30.0
"""A deadline, not a figure: how long answers take is reported."""
STILL_S = 4.0
"""A status that has stood for so long has come to rest,"""
REST_S = 60.0
"""and comes to rest within so long."""
TRIPS = "the twin trips"
ONE_WAY = ("cannot be lowered", "cannot be changed", "cannot be removed", "cannot be added", "storageURI")
"""Words of the rules under which a change cannot be taken back."""
_VOLATILE = ("observedGeneration", "lastTransitionTime")


class FuzzFailedError(AssertionError):
    """Something that must hold did not."""


@dataclass(slots=True)
class Tally:
    """What was tried, and how it ended."""

    refused: int = 0
    answered: int = 0
    unchanged: int = 0
    undone: int = 0
    made_again: int = 0
    fields: set[tuple[Any, ...]] = field(default_factory=set[tuple[Any, ...]])
    waits: list[float] = field(default_factory=list[float])
    reasons: Counter[str] = field(default_factory=Counter[str])

    @property
    def transitions(self) -> int:
        return self.refused + self.answered + self.unchanged + self.undone + self.made_again


def schema() -> Json:
    document = yaml.safe_load((DEFINITIONS / "recommendermodels.yaml").read_text())
    return document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


def bases(port: int) -> Sequence[Json]:
    """Specs that walks begin from: the smallest, and one that names much of what there is."""
    smallest: Json = {"ray": {"dashboardURL": f"http://127.0.0.1:{port}/ray"}, "kafka": {"bootstrapServers": ["127.0.0.1:1"]}}
    example = yaml.safe_load((ROOT / "examples" / "movies.yaml").read_text())["spec"]
    return smallest, example | smallest


@dataclass(slots=True, kw_only=True)
class Fuzz:
    """One model that is changed, and what its spec was at the start."""

    kube: Kube
    namespace: str
    name: str
    base: Json
    tally: Tally
    rest: Json = field(default_factory=dict[str, Any])

    @property
    def path(self) -> str:
        return place(MODELS, self.namespace, self.name)

    async def make(self) -> None:
        body = {"apiVersion": "recsys.dev/v1alpha1", "kind": "RecommenderModel", "metadata": {"name": self.name}, "spec": self.base}
        await self.kube.create(folder(MODELS, self.namespace), body)
        self.rest = await self.at_rest()

    async def make_again(self) -> None:
        """Another model of the name, from the base."""
        began, rest = time.monotonic(), self.rest
        await self.kube.delete(self.path)
        while await self.kube.get(self.path) is not None:
            if time.monotonic() > began + REST_S:
                raise FuzzFailedError(f"{self.name}: deleted, and there after {REST_S:.0f} s")
            await asyncio.sleep(0.2)
        await self.make()
        if self.rest != rest:
            raise FuzzFailedError(f"{self.name}: made again, and {differing(rest, self.rest)} differs")
        self.tally.made_again += 1

    async def read(self) -> Json:
        body = await self.kube.get(self.path)
        if body is None:
            raise FuzzFailedError(f"{self.name}: gone")
        return body

    async def put(self, spec: Json) -> Json:
        """Replace the spec, whatever the operator writes meanwhile."""
        while True:
            body = await self.read()
            try:
                return await self.kube.replace(self.path, body | {"spec": spec})
            except ConflictError:
                continue

    async def try_one(self, mutation: Mutation) -> bool:
        """Write one mutation; whether the API server took it."""
        before = await self.read()
        self.tally.fields.add(tuple(0 if isinstance(step, int) else step for step in mutation.path))
        try:
            after = await self.put(mutation.of(before["spec"]))
        except RefusedError as error:
            return self._refused(mutation, before, await self.read(), str(error))
        if after["metadata"]["generation"] == before["metadata"]["generation"]:
            self.tally.unchanged += 1
            return True
        await self.answered(after["metadata"]["generation"], str(mutation))
        self.tally.answered += 1
        return True

    def _refused(self, mutation: Mutation, before: Json, after: Json, words: str) -> bool:
        if after["spec"] != before["spec"]:
            raise FuzzFailedError(f"{mutation}: refused, and the spec has changed")
        first = str(mutation.path[0])
        # One that is too large is refused before it is read: there is no field to name.
        if f"spec.{first}" not in words and "413" not in words and "spec: " not in words and f'"spec.{first}' not in words:
            raise FuzzFailedError(f"{mutation}: refused without the path of the field: {words[:500]}")
        self.tally.refused += 1
        return False

    async def answered(self, generation: int, what: str) -> Json:
        """Wait until the operator says in the status what it makes of a generation."""
        began = time.monotonic()
        while time.monotonic() < began + ANSWER_S:
            body = await self.read()
            conditions: list[Json] = body.get("status", {}).get("conditions", [])
            broken = [each["message"] for each in conditions if each["reason"] == "InternalError"]
            if broken:
                raise FuzzFailedError(f"{what}: {broken[0]}")
            if conditions and min(each["observedGeneration"] for each in conditions if each["type"] in ("Ready", "Stalled")) >= generation:
                self.tally.waits.append(time.monotonic() - began)
                return body
            await asyncio.sleep(0.1)
        raise FuzzFailedError(f"{what}: not in the status of {self.name} after {ANSWER_S:.0f} s")

    async def at_rest(self) -> Json:
        """What the status says once it has stopped changing, without times and generations."""
        body = await self.read()
        await self.answered(body["metadata"]["generation"], "the base")
        now: Json = {}
        since = began = time.monotonic()
        while time.monotonic() < began + REST_S:
            seen = told(await self.read(), self.name)
            if seen != now:
                now, since = seen, time.monotonic()
            elif time.monotonic() > since + STILL_S and now["Serving"]["reason"] != "NoTokens":
                return now
            await asyncio.sleep(0.5)
        raise FuzzFailedError(f"{self.name}: its status does not come to rest: {now}")

    async def undo(self, mutated: Sequence[Mutation]) -> None:
        """Write the base again: all is said as it was. Where there is no way back, the refusal says so, and the model is made again."""
        try:
            body = await self.put(self.base)
        except RefusedError as error:
            if not any(words in str(error) for words in ONE_WAY):
                raise FuzzFailedError(f"{self.name}: its base is refused: {error}") from error
            return await self.make_again()
        await self.answered(body["metadata"]["generation"], "the base again")
        deadline = time.monotonic() + REST_S
        now: Json = {}
        while time.monotonic() < deadline:
            now = told(await self.read(), self.name)
            if now == self.rest:
                self.tally.undone += 1
                return None
            await asyncio.sleep(0.2)
        steps = "; ".join(map(str, mutated))
        words = f"undone, and the status differs from the start in {differing(self.rest, now)}; it had been changed by {steps}"
        raise FuzzFailedError(f"{self.name}: {words}")


def differing(before: Json, after: Json) -> Json:
    """What two statuses say otherwise."""
    return {key: (before.get(key), after.get(key)) for key in {*before, *after} if before.get(key) != after.get(key)}


def told(body: Json, name: str) -> Json:
    """What a status says of a model, whatever it is called and whenever."""
    status: Json = body.get("status", {})
    conditions = {each["type"]: {key: each[key] for key in each if key not in _VOLATILE} for each in status.get("conditions", [])}
    text = json.dumps({"phase": status.get("phase"), **conditions}, sort_keys=True)
    return json.loads(text.replace(name, "NAME").replace(body["metadata"]["uid"], "UID").replace(body["metadata"]["uid"][:8], "UID8"))


async def walk(fuzz: Fuzz, todo: list[Mutation], chance: random.Random) -> None:
    """Change one model until nothing is left to try: singles that are undone by the next one, and walks that pile up."""
    await fuzz.make()
    piled: list[Mutation] = []
    while todo:
        mutation = todo.pop()
        taken = await fuzz.try_one(mutation)
        if taken:
            piled.append(mutation)
        if len(piled) >= chance.randint(1, WALK):
            await fuzz.undo(piled)
            piled = []
    await fuzz.undo(piled)
    await compare_with_fresh(fuzz)


async def compare_with_fresh(fuzz: Fuzz) -> None:
    """A model that has seen all this, and one that has seen nothing: the same is said of both."""
    fresh = Fuzz(kube=fuzz.kube, namespace=fuzz.namespace, name=f"{fuzz.name}-fresh", base=fuzz.base, tally=fuzz.tally)
    await fresh.make()
    if fresh.rest != fuzz.rest:
        raise FuzzFailedError(f"{fuzz.name}: {fuzz.rest} is said of it, and {fresh.rest} of a fresh model of its spec")


def chosen(count: int, chance: random.Random, only: Sequence[str]) -> list[Mutation]:
    """So many mutations, of some first fields alone if asked: all singles in random order, and again when there are fewer."""
    singles = [each for each in mutations(schema()) if not only or each.path[0] in only]
    picked: list[Mutation] = []
    while len(picked) < count:
        chance.shuffle(singles)
        picked += singles
    return picked[:count]


@asynccontextmanager
async def client(cluster: Cluster) -> AsyncGenerator[Kube]:
    configuration = Configuration()
    load_kube_config(config_file=str(cluster.kubeconfig), client_configuration=configuration)
    kube = open_kube(configuration)
    try:
        yield kube
    finally:
        await kube.http.aclose()


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
    cluster.kubectl("wait", "--for=condition=Established", "-f", str(DEFINITIONS), "--timeout=60s")
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
    return processes.start(cluster.run_dir, f"operator-{asked.namespace}", Command(argv=argv, env=env)), port


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
    waits = sorted(tally.waits)
    tell(
        "fuzz-resources",
        "operator",
        {
            "transitions": tally.transitions,
            "fields": f"{len(tally.fields)} of {len(set(leaves(schema())))}",
            "refused with the field's path": tally.refused,
            "answered in the status": tally.answered,
            "no change": tally.unchanged,
            "walks undone": tally.undone,
            "made again, for there was no way back": tally.made_again,
            "answer p50 s": waits[len(waits) // 2],
            "answer p99 s": waits[int(0.99 * (len(waits) - 1))],
            "seconds": round(seconds),
        },
    )


if __name__ == "__main__":
    sys.exit(main())
