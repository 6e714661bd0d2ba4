"""At home in a cluster: `make e2e-node` plays the whole line in pods of a real node, and tells which of its claims hold.

Exit status: 0 when every claim held, 1 when one did not, 2 when a part could not be had, 130 after Ctrl-C. KEEP=1 stays up at the end.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import yaml
from rich.console import Console

from recsys_dev import node_line, runs
from recsys_dev.audience import SimulatedAudience
from recsys_dev.browser import BROWSERS, browser
from recsys_dev.dashboard import pictures, what_runs
from recsys_dev.errors import told
from recsys_dev.eyes import Seen, look_at
from recsys_dev.figures import REPORTS
from recsys_dev.kubernetes import CommandFailedError
from recsys_dev.line import RELEASE, REPOSITORY, SYSTEM
from recsys_dev.node_line import SHOP
from recsys_dev.node_play import Play
from recsys_dev.node_space import sweep
from recsys_dev.node_upgrade import upgrade
from recsys_dev.producer import EventProducer
from recsys_dev.stage import MODEL, QUIET
from recsys_dev.steps import Steps
from recsys_dev.story import ENDED, Story, roll_back, walk
from recsys_dev.tallies import quantiles
from recsys_dev.tastes import World
from recsys_dev.traffic import Traffic
from recsys_schemas.v1alpha1.rollout import RolloutPhase
from recsys_schemas.v1alpha1.version import VersionPhase

RUN_DIR = REPOSITORY / "build" / "run" / "node"
AUDIENCE = World(users=1400, items=900, mean_history=35.0)
"""So many that what they have been shown before does not use up what they like: a reward that is rare takes long to be judged by."""
RATE = 60.0
"""Visits a second in a canary."""
NEW_RECORDS = 4000
START = "A real node with KubeRay, three brokers, images"
SYSCTLS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")


def install(play: Play) -> None:
    """The chart, as an admin installs it; of an operator before this one, so that there is something to upgrade."""
    node_line.install(play.line, *node_line.BEFORE)
    pods = json.loads(play.line.cluster.kubectl("--namespace", SYSTEM, "get", "pods", "-o", "json"))["items"]
    ready = [pod["metadata"]["name"] for pod in pods if all(each["ready"] for each in pod["status"].get("containerStatuses", []))]
    play.claims.check("helm install: two operator pods run in a `restricted` namespace", len(ready) == 2, str(ready))


def apply(play: Play, rows: int) -> None:
    """One kubectl apply: KubeRay makes the cluster, the operator the topics."""
    changes = {
        "training.newRecords": NEW_RECORDS,
        "training.initialRecords": int(rows * 0.95),
        "training.activeDeadlineSeconds": 600,
        # Two cores are shared with everything: a late answer would be the fallback's.
        "serving.timeoutMilliseconds": 2000,
        "rollout.analysis": {"minimumSeconds": 5, "minimumRequests": 120, "attributionSeconds": 2},
        "rollout.onFailure": {"cooldownSeconds": 5},
    }
    model = node_line.manifest(play.line, changes)
    play.line.cluster.kubectl("apply", "--namespace", SHOP, "-f", "-", input=yaml.safe_dump(model))
    seen = play.story.wait(
        lambda seen: seen.holds("ClusterReady") and seen.holds("TopicsReady"), what="Ray cluster and topics", deadline_s=300
    )
    condition = seen.condition("ClusterReady")
    play.claims.check("one apply: KubeRay keeps a Ray cluster of our image", True, condition.message if condition else "")


def ingest(play: Play, events: int) -> None:
    """Every event is in a snapshot, once."""

    def covered(seen: Seen) -> bool:
        found = seen.status.ingestion
        return found is not None and found.lag_records == 0 and found.rows >= events

    seen = play.story.wait(covered, what="a snapshot of the whole history", deadline_s=240)
    found = seen.status.ingestion
    assert found is not None
    play.claims.check("every event once in a snapshot, written by pods", found.rows == events, f"{events} sent, {found.rows} rows")


def serve(play: Play) -> None:
    """The first version, trained in a pod, answers at the cluster's Service."""

    def serving(seen: Seen) -> bool:
        status = seen.status
        return seen.holds("Ready") and status.champion is not None and status.champion.weight == 100

    seen = play.story.wait(serving, what="the first version serving", deadline_s=420, in_vain=lambda: _given_up(play))
    assert seen.status.serving is not None
    token = play.eyes.secret(f"{MODEL}-api", "token") or ""
    path = seen.status.serving.url.partition(".svc:8000")[2]
    url = f"http://{play.line.address('movies-serve-svc')}:8000{path}"
    body = {"user_id": play.audience.visitor(), "k": 5}
    answer = httpx.post(f"{url}/v1/recommendations", json=body, headers={"Authorization": f"Bearer {token}"}, timeout=10, trust_env=False)
    good = answer.is_success and bool(answer.json().get("items"))
    play.claims.check("trained and served in pods: the Service answers", good, f"HTTP {answer.status_code} {answer.text[:160]}")
    refused = httpx.post(f"{url}/v1/recommendations", json=body, timeout=10, trust_env=False).status_code
    play.claims.check("no token, no recommendations", refused == 401, f"HTTP {refused}")
    within = _ask_from_a_pod(play, f"{seen.status.serving.url}/healthz")
    play.claims.check("status.serving.url answers to pods by its name", within == "200", within)
    names = play.line.cluster.kubectl("--namespace", "kube-system", "get", "pods", "-o", "jsonpath={.items[0].status.podIP}")
    elsewhere = f"http://{names}:8181/ready"
    refused, let = _ask_from_a_pod(play, elsewhere), _ask_from_a_pod(play, elsewhere, namespace=SHOP)
    why = next((line for line in refused.splitlines() if "URLError" in line or "timed out" in line), "")
    words = f"from the operator: {why or refused[-100:]}; from a pod without a policy: {let[-100:]}"
    play.claims.check("NetworkPolicy: the operator reaches what the chart lists, and nothing else", bool(why) and let == "200", words)
    play.traffic = Traffic(url, token, play.audience, rate=RATE).start()


def _ask_from_a_pod(play: Play, url: str, namespace: str = SYSTEM) -> str:
    """The status of what a pod is answered, or why it is not."""
    program = f"import urllib.request as r; print(r.urlopen('{url}', timeout=10).status)"
    pods = play.line.cluster.kubectl("--namespace", namespace, "get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    try:
        return play.line.cluster.kubectl("--namespace", namespace, "exec", pods, "--", "python", "-c", program).strip()
    except CommandFailedError as failed:
        return str(failed)[-300:]


def promote(play: Play) -> None:
    """New events make a second version due; it earns its shares under traffic."""
    seen = _next_version(play, 2)
    version = seen.versions[-1].name
    steps = walk(seen, version)
    play.claims.check("a second version went 5 → 25 → 50 → 100 %", steps == [5, 25, 50, 100], str(steps))


def show_ray(play: Play) -> None:
    """What Ray's dashboard shows of the model: its jobs and its application; with a browser on the PATH, in pictures too."""
    assert play.story.seen is not None
    kept = play.story.seen.status.cluster
    assert kept is not None
    token = play.eyes.secret(f"{kept.name}-ray-token", "auth_token") or ""
    with node_line.forwarded(play.line, kept.dashboard_url) as dashboard:
        jobs, states = what_runs(dashboard, token)
        shown = bool(jobs) and list(states.values()) == ["RUNNING"]
        play.claims.check("Ray's dashboard shows the model's jobs and its application", shown, f"{len(jobs)} jobs, {states}")
        program = browser()
        if program is None:
            return play.steps.tell(f"no pictures: none of {', '.join(BROWSERS)} is on the PATH")
        try:
            files = pictures(program, dashboard, token, REPORTS, "node-ray")
        except subprocess.SubprocessError as error:
            return play.steps.tell(f"no pictures: {error}")
    return play.steps.tell(f"pictures: {', '.join(str(file.relative_to(REPOSITORY)) for file in files.values())}")


def roll_a_bad_one_back(play: Play) -> None:
    """A version whose users have each other's histories is caught by its users."""
    play.line.fault.turn_on()
    try:
        seen = _next_version(play, 3)
    finally:
        play.line.fault.turn_off()
    rollout = seen.rollout(seen.versions[-1].name)
    assert rollout is not None
    phase = rollout.status.phase
    caught = roll_back(seen, rollout.name)
    words = (
        f"{caught.seconds_to_roll_back:.1f} s after its first user: {caught.verdict}" if caught else f"{phase}: {rollout.status.message}"
    )
    play.claims.check("a bad version is rolled back in its canary", phase is RolloutPhase.ROLLED_BACK, words)


def _next_version(play: Play, number: int) -> Seen:
    sent = 0

    def ended(seen: Seen) -> bool:
        nonlocal sent
        _pace(play, canary=seen.status.challenger is not None)
        version = seen.version(number)
        if version is None and sent < 3 * NEW_RECORDS:
            sent += play.producer.send(play.audience.live(400, time.time_ns() // 1_000_000))
            play.producer.flush()
        rollout = seen.rollout(version.name) if version else None
        return rollout is not None and rollout.status.phase in ENDED and seen.status.challenger is None

    return play.story.wait(ended, what=f"the end of version {number}'s rollout", deadline_s=800, in_vain=lambda: _given_up(play))


def _pace(play: Play, *, canary: bool) -> None:
    if play.traffic is not None:
        play.traffic.rate = RATE if canary else RATE * QUIET


def _given_up(play: Play) -> str | None:
    bad = (VersionPhase.FAILED, VersionPhase.REJECTED)
    over = [each for each in (play.story.seen.versions if play.story.seen else ()) if each.status.phase in bad]
    return f"{over[-1].name} {over[-1].status.phase}: {over[-1].status.message}" if over else None


def leave(play: Play) -> None:
    """The model goes, then the chart, then the namespaces: nothing waits for anything that is gone."""
    assert play.traffic is not None
    tally = play.traffic.stop()
    play.figures |= {"requests": tally.sent, "failed": tally.failed, "refused for load": tally.shed, "faults": list(tally.faults)[:3]}
    times = quantiles(tally.latencies_ms)
    play.figures |= {"p50_ms": round(times.p50, 1), "p99_ms": round(times.p99, 1)}
    play.claims.check("no request failed in the whole run", tally.failed == 0, tally.failures)
    kubectl = play.line.cluster.kubectl
    kubectl("--namespace", SHOP, "delete", "recommendermodel", MODEL, "--timeout=100s")
    gone = _until_gone(lambda: kubectl("--namespace", SHOP, "get", "rayservices,rayclusters,pods", "-o", "name").strip())
    play.claims.check("the last model's end releases the Ray cluster and its pods", gone == "", gone or "nothing left")
    play.line.cluster.helm("uninstall", RELEASE, "--namespace", SYSTEM, "--wait", "--timeout", "100s")
    kubectl("delete", "namespace", SHOP, SYSTEM, "--timeout=100s")
    left = kubectl("get", "namespaces", "-o", "name").split()
    wedged = [name for name in left if name.rpartition("/")[2] in (SHOP, SYSTEM)]
    play.claims.check("helm uninstall: no namespace is wedged", not wedged, ", ".join(left))


def _until_gone(look: Any) -> str:
    end = time.monotonic() + 100
    while (left := look()) and time.monotonic() < end:
        time.sleep(0.5)
    return left


def run(console: Console, keep: bool) -> int:
    """Play it all; everything that was started is ended on the way out."""
    steps = Steps(console=console)
    before = _sysctls()
    runs.discard(RUN_DIR)
    sweep()
    runs.claim(RUN_DIR)
    audience = SimulatedAudience(AUDIENCE, now_ms=time.time_ns() // 1_000_000)
    history = list(audience.history())
    play: Play | None = None
    try:
        with steps.step(START):
            line = node_line.start(RUN_DIR, steps.tell)
        eyes = look_at(line.cluster, RUN_DIR, SHOP)
        story = Story(eyes=eyes, model=MODEL, tell=steps.tell)
        producer = EventProducer(line.brokers.bootstrap_servers)
        play = Play(steps=steps, line=line, eyes=eyes, story=story, audience=audience, producer=producer)
        play.claims.check("node Ready, KubeRay running", True, f"{steps.seconds[START]:.0f} s")
        _play(play, history)
        if keep:
            node_line.stay(console, line.cluster)
    except BaseException:
        if play is not None:
            console.print(node_line.words(play.line.cluster), markup=False, highlight=False, soft_wrap=True)
        raise
    finally:
        if play is not None:
            if play.traffic is not None:
                play.traffic.stop()
            play.eyes.close()
            play.line.stop()
        runs.stop_all(RUN_DIR)
        sweep()
    assert play is not None
    play.claims.check("the machine's settings are as they were", _sysctls() == before, str(_sysctls()))
    return steps.report("At home in a cluster", "e2e-node", {"figures": play.figures, "story": play.story.lines})


def _play(play: Play, history: list[Any]) -> None:
    with play.steps.step("helm install"):
        install(play)
    with play.steps.step("kubectl apply: a model on a Ray cluster that KubeRay keeps"):
        apply(play, len(history))
    with play.steps.step(f"{len(history):,} events: ingested in pods"):
        sent = play.producer.send(history)
        play.producer.flush()
        ingest(play, sent)
    with play.steps.step("the first version: trained and served in pods"):
        serve(play)
    with play.steps.step("the second version: promoted under traffic"):
        promote(play)
    with play.steps.step("Ray's dashboard"):
        show_ray(play)
    with play.steps.step("a bad version: rolled back"):
        roll_a_bad_one_back(play)
    with play.steps.step("helm upgrade under traffic"):
        upgrade(play)
    play.figures["memory_mib"] = _memory(play)
    with play.steps.step("the model deleted, helm uninstall, namespaces deleted"):
        leave(play)


def _memory(play: Play) -> dict[str, int]:
    """MiB of the pods of the node, by cgroup, and of what runs beside it."""
    pods = Path("/sys/fs/cgroup/memory", play.line.node.space.addresses.group, "kubepods")
    inside = int((pods / "memory.usage_in_bytes").read_text()) - _cache(pods)
    return {"pods": inside >> 20}


def _cache(group: Path) -> int:
    stats = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return int(stats["total_cache"])


def _sysctls() -> dict[str, str]:
    return {name: Path("/proc/sys", name).read_text().strip() for name in SYSCTLS}


if __name__ == "__main__":
    sys.exit(told(lambda: node_line.played(run)))
