"""The operator as a process against a real API server: it leads, it listens, it tells, and it lets go."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from kube.operator_world import Place, define, in_force
from recsys_dev.kubernetes import Cluster
from recsys_dev.ports import free_ports
from unit.operator.world.receiving import receiving, signed

CHART = Path(__file__).resolve().parents[2] / "charts" / "recsys-operator"
DEADLINE_S = 120.0
T = TypeVar("T")


def until(look: Callable[[], T], true: Callable[[T], bool] = bool) -> T:
    end = time.monotonic() + DEADLINE_S
    while not true(seen := look()):
        assert time.monotonic() < end, seen
        time.sleep(0.1)
    return seen


@dataclass(kw_only=True)
class Operators:
    """Operator processes of one test; all are gone when it ends."""

    place: Place
    logs: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    def environment(self, kubeconfig: Path | None = None, **more: str) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")},
            "KUBECONFIG": str(kubeconfig or self.place.cluster.kubeconfig),
            "RECSYS_STORAGE_ROOT": f"file://{self.place.storage}",
            "RECSYS_LEASE_NAMESPACE": self.place.namespace,
            "RECSYS_WATCH_NAMESPACES": self.place.namespace,
            **more,
        }

    def start(self, kubeconfig: Path | None = None, **more: str) -> tuple[subprocess.Popen[bytes], str]:
        """Start one; return it and the base of its HTTP endpoints."""
        port = free_ports(1)[0]
        environment = self.environment(kubeconfig, RECSYS_HTTP_PORT=str(port), **more)
        with (self.logs / f"operator-{len(self.running)}.log").open("wb") as log:
            started = subprocess.Popen([sys.executable, "-m", "recsys_operator"], env=environment, stdout=log, stderr=log)
        self.running.append(started)
        return started, f"http://127.0.0.1:{port}"

    def lines(self, number: int = 0) -> list[dict[str, Any]]:
        """What one has logged: every line is a JSON object."""
        whole = (self.logs / f"operator-{number}.log").read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def holder(self) -> str:
        return self.place.get("lease", "recsys-operator").get("spec", {}).get("holderIdentity", "")

    def condition(self, type_: str, name: str = "movies") -> dict[str, Any]:
        conditions = self.place.get("rm", name).get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == type_), {})


@pytest.fixture(scope="module")
def defined(cluster: Cluster) -> Cluster:
    define(cluster)
    return cluster


@pytest.fixture
def operators(defined: Cluster, namespace: str, tmp_path: Path) -> Iterator[Operators]:
    found = Operators(place=Place(cluster=defined, namespace=namespace, storage=tmp_path / "storage"), logs=tmp_path)
    yield found
    for each in found.running:
        if each.poll() is None:
            each.kill()
        each.wait()


def answer(url: str) -> int:
    try:
        return httpx.get(url, timeout=60, trust_env=False).status_code
    except httpx.HTTPError:
        return 0


def text(url: str) -> str:
    """What a page says; nothing while nobody answers."""
    try:
        return httpx.get(url, timeout=60, trust_env=False).text
    except httpx.HTTPError:
        return ""


def test_a_model_whose_world_is_missing_says_what_to_do_and_is_let_go_when_asked(operators: Operators) -> None:
    operators.place.model()
    process, base = operators.start()
    silent = "spec.kafka.bootstrapServers: no broker answers at 127.0.0.1:1"
    until(lambda: operators.condition("TopicsReady"), lambda topics: silent in topics.get("message", ""))
    assert "kubectl create secret generic ray-auth" in operators.condition("Stalled")["message"]
    assert "finalizers" not in operators.place.get("rm", "movies")["metadata"], "nothing was begun that must be taken back"
    answers = {"/healthz": 200, "/readyz": 200, "/metrics": 200, "/else": 404}
    until(lambda: {path: answer(base + path) for path in answers}, lambda seen: seen == answers)
    metrics = until(lambda: text(f"{base}/metrics"), lambda seen: "recsys_leader 1.0" in seen)
    assert "recsys_reconciles_total{" in metrics
    before = operators.place.get("rm", "movies")
    operators.place.secret("ray-auth", token="x")
    until(lambda: operators.condition("Serving"), lambda seen: "spec.ray.dashboardURL" in seen.get("message", ""))
    after = operators.place.get("rm", "movies")
    assert after["metadata"].get("annotations") == before["metadata"].get("annotations")
    process.terminate()
    assert process.wait(timeout=120) == 0
    assert operators.holder() == ""
    assert [line["message"] for line in operators.lines()][-1] == "stopped"
    assert not [line for line in operators.lines() if "exc_info" in line]


def test_metrics_of_a_model_go_with_it_and_say_nothing_that_nobody_knows(operators: Operators) -> None:
    operators.place.model()
    operators.place.model("books")
    _, base = operators.start()

    def told(model: str = "movies") -> list[str]:
        seen = until(lambda: text(f"{base}/metrics"))
        return [line for line in seen.splitlines() if f'model="{model}"' in line]

    labels = f'{{model="movies",namespace="{operators.place.namespace}"}}'
    wanted = {f"recsys_model_ready{labels} 0.0", f"recsys_dead_letter_fraction_limit{labels} 0.05"}
    seen = until(told, lambda lines: wanted <= set(lines))
    assert not [line for line in seen if "lag" in line], "no broker has answered"
    operators.place.kubectl("delete", "rm", "movies", "--timeout=110s")
    until(told, lambda lines: not lines)
    assert told("books")


def test_one_of_two_leads_and_the_other_takes_over_when_it_is_killed(operators: Operators) -> None:
    first, _ = operators.start()
    until(operators.holder)
    second, base = operators.start()
    until(lambda: answer(f"{base}/readyz"), lambda status: status == 200)
    operators.place.model()
    until(lambda: operators.condition("TopicsReady"))
    # On a machine that stood still for longer than the lease lasts, the second has taken it by right.
    leads = 0 if f"-{first.pid}-" in until(operators.holder) else 1
    leader, other = (first, second) if leads == 0 else (second, first)
    assert f"-{leader.pid}-" in operators.holder()
    assert leads == 1 or not [line for line in operators.lines(1) if line["message"] == "leading"]
    leader.send_signal(signal.SIGKILL)
    leader.wait()
    operators.place.model("films")
    until(lambda: operators.condition("TopicsReady", "films"))
    assert f"-{other.pid}-" in operators.holder()
    other.terminate()
    assert other.wait(timeout=120) == 0


def test_a_lease_taken_by_another_stops_all_work(operators: Operators) -> None:
    operators.start()
    until(lambda: f"-{operators.running[0].pid}-" in operators.holder())

    def said(words: str) -> int:
        return len([line for line in operators.lines() if words in line["message"]])

    lost, waits = said("lease lost"), said("waiting for the lease")
    stolen = {"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 3600, "renewTime": "2026-09-01T00:00:00.000000Z"}}
    operators.place.kubectl("patch", "lease", "recsys-operator", "--type=merge", "-p", json.dumps(stolen))
    until(lambda: said("lease lost") > lost)
    operators.place.model()
    until(lambda: said("waiting for the lease") > waits)
    assert "status" not in operators.place.get("rm", "movies")
    assert operators.holder() == "thief"
    assert operators.running[0].poll() is None


def test_the_rights_that_the_chart_gives_are_enough(operators: Operators) -> None:
    place = operators.place
    values = f"operator.watchNamespaces={{{place.namespace}}}"
    text = place.cluster.helm("template", "own", str(CHART), "--namespace", place.namespace, "--set", values, "--kube-version=1.36.3")
    rights = [
        each for each in text.split("\n---\n") if any(f"\nkind: {kind}\n" in each for kind in ("ServiceAccount", "Role", "RoleBinding"))
    ]
    place.kubectl("apply", "-f", "-", given="\n---\n".join(rights))
    account = json.loads(place.kubectl("get", "serviceaccount", "-l", "app.kubernetes.io/instance=own", "-o", "json"))["items"][0][
        "metadata"
    ]["name"]
    place.model()
    kubeconfig = place.cluster.service_account_kubeconfig(place.namespace, account)
    for verb, what in (("list", "recommendermodels.recsys.dev"), ("create", "leases.coordination.k8s.io")):
        in_force(place.cluster, f"{place.namespace}:{account}", verb, what, namespace=place.namespace)
    process, _ = operators.start(kubeconfig, RECSYS_LEASE_NAME=account)
    until(lambda: operators.condition("TopicsReady"))
    place.kubectl("delete", "rm", "movies", "--timeout=110s")
    process.terminate()
    assert process.wait(timeout=120) == 0
    assert not [line for line in operators.lines() if "403" in json.dumps(line) or "orbidden" in json.dumps(line)]


KEY = b"a key of the test"


def decide(place: Place, *verdicts: str) -> None:
    """A rollout of the model with these decisions in its record."""
    uid = place.get("rm", "movies")["metadata"]["uid"]
    owner = {"apiVersion": "recsys.dev/v1alpha1", "kind": "RecommenderModel", "name": "movies", "uid": uid, "controller": True}
    spec = {
        "modelRef": {"name": "movies", "uid": uid},
        "candidate": {"name": "movies-000002", "digest": "sha256:02"},
        "steps": [{"setWeight": 5}],
        "analysis": {},
    }
    metadata = {"name": "movies-000002", "labels": {"recsys.dev/model-uid": uid}, "ownerReferences": [owner]}
    body = {"apiVersion": "recsys.dev/v1alpha1", "kind": "RecommenderRollout", "metadata": metadata, "spec": spec}
    place.kubectl("apply", "-f", "-", given=json.dumps(body))
    told = [
        {"number": number, "time": f"2026-09-01T03:4{number}:00Z", "step": 0, "verdict": verdict, "words": f"number {number}"}
        for number, verdict in enumerate(verdicts)
    ]
    status = {"status": {"phase": "Progressing", "decisions": told}}
    place.kubectl("patch", "rro", "movies-000002", "--subresource=status", "--type=merge", "-p", json.dumps(status))


def told_to(place: Place) -> dict[str, Any]:
    """Up to where the status says that the place was told."""
    return next(iter(place.get("rm", "movies").get("status", {}).get("notifications", [])), {})


def killed(operators: Operators) -> None:
    """End the operator as a power cut does; its lease is taken away, which stands for 15 s more."""
    operators.running[-1].kill()
    operators.running[-1].wait()
    operators.place.kubectl("delete", "lease", "recsys-operator", "--ignore-not-found")


def test_each_decision_is_told_in_order_and_signed_though_the_receiver_fails_and_the_operator_is_killed(operators: Operators) -> None:
    place = operators.place
    with receiving() as receiver:
        place.secret("hooks", hmac=KEY.decode())
        ops = {
            "name": "ops",
            "url": receiver.url,
            "hmacSecretRef": {"name": "hooks", "key": "hmac"},
            "on": ["Began", "Advanced", "RolledBack"],
        }
        place.model(notifications=[ops])
        operators.start()
        until(lambda: told_to(place))
        receiver.answers = [500, 500]
        decide(place, "Began")
        until(receiver.ids)
        assert receiver.refused == 2
        # It dies while the receiver fails, and while nobody looks another decision is written down.
        receiver.answers = [500] * 1000
        decide(place, "Began", "Advanced")
        until(lambda: receiver.refused > 2)
        killed(operators)
        decide(place, "Began", "Advanced", "Held", "Advanced")
        receiver.answers = []
        operators.start()
        until(receiver.ids, lambda ids: len(set(ids)) == 3)
        # And once more between an answer and its note of it.
        receiver.before = operators.running[-1].kill
        decide(place, "Began", "Advanced", "Held", "Advanced", "RolledBack")
        until(lambda: operators.running[-1].poll() is not None)
        receiver.before = lambda: None
        killed(operators)
        operators.start()
        until(lambda: told_to(place), lambda seen: seen.get("told", {}).get("number") == 4)
    numbers = [int(each.rpartition("/")[2]) for each in receiver.ids()]
    assert list(dict.fromkeys(numbers)) == sorted(set(numbers)) == [0, 1, 3, 4], (
        "each that is asked for, in order; repeats are the same again"
    )
    assert all(signed(headers, body, KEY) for headers, body in receiver.came)
    assert all(headers["X-Recsys-Id"] == each for (headers, _), each in zip(receiver.came, receiver.ids(), strict=True))


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("RECSYS_STORAGE_ROOT", "data", "RECSYS_STORAGE_ROOT: 'data' is no folder; write file:///absolute/path or s3://bucket/prefix"),
        ("RECSYS_HTTP_PORT", "http", "RECSYS_HTTP_PORT: 'http' is no port; write a number from 1 to 65535"),
        ("KUBECONFIG", "/nowhere/kubeconfig", "no Kubernetes credentials"),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_clear_line(operators: Operators, variable: str, value: str, says: str) -> None:
    environment = operators.environment() | {variable: value}
    done = subprocess.run(
        [sys.executable, "-m", "recsys_operator"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr
