"""The chart's own Kafka and object store, in pods of a real node: `make e2e-try-out` does what docs/guides/kind.md says.

What the guide asks a container engine for (a cluster, its images) comes from this machine instead. Exit status: as `make e2e-node`.
"""

import json
import re
import sys

from rich.console import Console

from recsys_dev import guide, node_line, processes, runs, try_out_images
from recsys_dev.errors import told
from recsys_dev.eyes import Seen, look_at
from recsys_dev.kubernetes import CommandFailedError
from recsys_dev.line import REPOSITORY
from recsys_dev.node_line import SHOP
from recsys_dev.node_space import sweep
from recsys_dev.ports import free_ports
from recsys_dev.processes import Command
from recsys_dev.stage import MODEL
from recsys_dev.steps import Steps
from recsys_dev.story import ENDED, Story, walk
from recsys_dev.try_out import BROKERS, RELEASE, RUN_DIR, TryOut, is_whole

STEPS = guide.commands(guide.GUIDES / "kind.md")
CHART, APPLY, EVENTS, ASK, CANARY, AWAY = 3, 4, 5, 6, 7, 9
"""Steps of the guide."""
LIVE = 12_000
"""More than the guide's model waits for before it trains again."""
START = "A real node with KubeRay, and the images that the chart names"


def install(play: TryOut) -> None:
    """Operator, brokers and store, admitted under `restricted`."""
    assert play.cluster.papers is not None
    apiserver = play.cluster.papers.server.rpartition(":")[2]  # kind's is at 6443, which the chart lets through
    last = "extraPorts='{9000}'"
    play.do(guide.changed(STEPS[CHART], {last: f"{last},networkPolicy.egress.apiServerPorts='{{443,{apiserver}}}'"}))
    pods = json.loads(play.kubectl("get", "pods", "-o", "json"))["items"]
    ready = sorted(pod["metadata"]["name"] for pod in pods if all(each["ready"] for each in pod["status"].get("containerStatuses", [])))
    good = {*BROKERS, f"{RELEASE}-objects-0"} <= set(ready) and len(ready) == len(pods) == len(BROKERS) + 3
    play.steps.claims.check("helm install: three brokers, a store and two operators run in a `restricted` namespace", good, str(ready))
    quorum = play.kafka("MetadataQuorumCommand", "describe", "--status")
    voters = re.search(r"CurrentVoters:\s*(\S.*)", quorum)
    leader = re.search(r"LeaderId:\s*(\d)", quorum)
    ids = set(re.findall(r'"id": (\d)', voters[1])) if voters else set[str]()
    words = f"leader {leader[1] if leader else '-'}, voters {', '.join(sorted(ids))}"
    play.steps.claims.check("the brokers are one quorum", ids == {"0", "1", "2"} and leader is not None, words)
    ask = f"import urllib.request as r; r.urlopen('http://{RELEASE}-objects:9000/recsys?list-type=2', timeout=10)"
    try:
        refused = play.kubectl("exec", f"deployment/{RELEASE}-recsys-operator", "--", "python", "-c", ask)
    except CommandFailedError as failed:
        refused = failed.stderr
    play.steps.claims.check("the store refuses who has no key", "HTTP Error 403" in refused, "403" if "403" in refused else refused[-120:])
    tested = play.cluster.helm("test", RELEASE, "--namespace", SHOP)
    phase = re.search(r"Phase:\s*(\w+)", tested)
    play.steps.claims.check("helm test", phase is not None and phase[1] == "Succeeded", phase[1] if phase else tested[:160])


def apply(play: TryOut) -> None:
    """The guide's model: KubeRay makes its cluster, the operator its topics."""
    play.do(guide.changed(STEPS[APPLY], {" -w\n": "\n"}))
    play.story.wait(lambda seen: seen.holds("ClusterReady") and seen.holds("TopicsReady"), what="cluster and topics", deadline_s=300)
    topics = play.kafka("TopicCommand", "--describe", "--exclude-internal")
    names = sorted(re.findall(r"Topic: (\S+)\s+TopicId", topics))
    play.steps.claims.check("the operator made the topics, three copies of each, all in sync", is_whole(topics), f"{len(names)}: {names}")


def history(play: TryOut) -> None:
    """The past, through the console producer of a broker's pod."""
    play.do(_producing(play, live=False))
    _all_there(play, "the whole history is in the store, each event once")


def _producing(play: TryOut, *, live: bool) -> str:
    """The guide's commands for the past or for what goes on, keeping a copy of what they send."""
    marker = ".venv/bin/python -m recsys_dev.events_out"
    variable, past, going_on = STEPS[EVENTS].split(marker)
    said = guide.changed(going_on, {"50000": str(LIVE), " &\n": "\n"}) if live else past
    return variable + guide.changed(marker + said, {" | kubectl": f" | tee -a {play.sent} | kubectl"})


def _all_there(play: TryOut, claim: str) -> None:
    lines = sum(1 for _ in play.sent.open())

    def covered(seen: Seen) -> bool:
        found = seen.status.ingestion
        return found is not None and found.lag_records == 0 and found.rows >= lines

    seen = play.story.wait(covered, what="a snapshot of all events", deadline_s=240)
    rows = seen.status.ingestion.rows if seen.status.ingestion else 0
    play.steps.claims.check(claim, rows == lines, f"{lines} sent, {rows} rows")


def serve(play: TryOut) -> None:
    """The first version, trained on what lies in the store, answers."""

    def serving(seen: Seen) -> bool:
        return seen.holds("Ready") and seen.status.champion is not None and seen.status.champion.weight == 100

    play.story.wait(serving, what="the first version serving", deadline_s=420)
    patient = {"curl ": "curl --silent --fail --retry 30 --retry-delay 1 --retry-connrefused "}
    answer = json.loads(play.do(_forwarded(guide.changed(STEPS[ASK], patient))))
    good = bool(answer.get("items")) and answer.get("reason") != "fallback"
    play.steps.claims.check("trained and served from them: the guide's own request is answered", good, json.dumps(answer)[:160])


def lose_a_broker(play: TryOut) -> None:
    """A broker's pod goes, with all that it kept, while events come."""
    before = sum(1 for _ in play.sent.open())
    argv = ["bash", "-euo", "pipefail", "-c", _producing(play, live=True)]
    producing = processes.start(RUN_DIR, "events", Command(argv=argv, env=play.cluster.environment, cwd=REPOSITORY))

    def comes(seen: Seen) -> bool:
        return seen.status.ingestion is not None and seen.status.ingestion.rows > before

    play.story.wait(comes, what="live events", deadline_s=120)
    uid = ("get", "pod", BROKERS[-1], "--ignore-not-found", "-o", "jsonpath={.metadata.uid}")
    old = play.kubectl(*uid)
    play.kubectl("delete", "pod", BROKERS[-1], "--wait=false")
    processes.wait_until(lambda: play.kubectl(*uid) not in {"", old}, what=f"another {BROKERS[-1]}", deadline_s=120)
    play.kubectl("rollout", "status", f"statefulset/{RELEASE}-kafka", "--timeout=110s")
    described = lambda: play.kafka("TopicCommand", "--describe", "--exclude-internal")  # noqa: E731 - asked again and again
    processes.wait_until(lambda: is_whole(described()), what="three copies in sync again", deadline_s=180)
    play.steps.claims.check("a broker's pod that is deleted comes back, and has its copies again", True, f"{BROKERS[-1]}, all in sync")
    processes.wait_until(lambda: not producing.is_alive(), what="the producer's end", deadline_s=180)
    _all_there(play, "no event is lost or doubled meanwhile")


def _forwarded(script: str) -> str:
    """The guide's port-forward and what comes after it, at a free port; the forwarding ends with the script."""
    (port,) = free_ports(1)
    own = {"service/movies-serve-svc 8000 &": f"service/movies-serve-svc {port}:8000 > /dev/null &", "127.0.0.1:8000": f"127.0.0.1:{port}"}
    return f"trap 'kill $(jobs -p)' EXIT\n{guide.changed(script, own)}"


def promote(play: TryOut) -> None:
    """The guide's users judge the second version, which has been trained meanwhile."""
    forward, _, _ = STEPS[ASK].partition("curl ")
    visits, _, _ = STEPS[CANARY].partition("kubectl ")
    argv = ["bash", "-euc", _forwarded(forward + guide.changed(visits, {" &\n": "\n"}))]
    users = processes.start(RUN_DIR, "visits", Command(argv=argv, env=play.cluster.environment, cwd=REPOSITORY))

    def ended(seen: Seen) -> bool:
        version = seen.version(2)
        rollout = seen.rollout(version.name) if version else None
        return rollout is not None and rollout.status.phase in ENDED and seen.status.challenger is None

    seen = play.story.wait(ended, what="the second version's rollout", deadline_s=600)
    second = seen.version(2)  # on a slow machine a third has been trained meanwhile
    shares = walk(seen, second.name) if second else []
    told = users.last_lines(1)
    processes.stop(users)
    play.steps.claims.check(
        "the canary: 5 → 25 → 50 → 100 %, and no request failed that was asked again when a refusal for load said so",
        shares == [5, 25, 50, 100] and told.endswith(" 0 failed"),
        f"{shares}; {told}",
    )


def leave(play: TryOut) -> None:
    """The guide's end; the namespace goes too, and nothing waits for anything that is gone."""
    play.do(guide.changed(STEPS[AWAY], {"kind delete cluster --name recsys\n": "kubectl delete namespace shop --timeout=100s\n"}))
    left = play.cluster.kubectl("get", "namespaces", "-o", "name").split()
    play.steps.claims.check("helm uninstall: nothing is left, no namespace is wedged", f"namespace/{SHOP}" not in left, ", ".join(left))


def run(console: Console, keep: bool) -> int:
    """Play it all; everything that was started is ended on the way out."""
    steps = Steps(console=console)
    runs.discard(RUN_DIR)
    sweep()
    runs.claim(RUN_DIR)
    play: TryOut | None = None
    node = None
    try:
        with steps.step(START):
            beside = try_out_images.archives(steps.tell, RUN_DIR / "images")
            node = node_line.start_node(RUN_DIR, steps.tell, beside=beside)
            eyes = look_at(node.cluster, RUN_DIR, SHOP)
        story = Story(eyes=eyes, model=MODEL, tell=steps.tell)
        play = TryOut(steps=steps, cluster=node.cluster, eyes=eyes, story=story)
        _play(play)
        if keep:
            node_line.stay(console, node.cluster)
    except BaseException:
        if node is not None:
            console.print(node_line.words(node.cluster, SHOP, f"{RELEASE}-recsys-operator"), markup=False, highlight=False, soft_wrap=True)
        raise
    finally:
        if play is not None:
            play.eyes.close()
        if node is not None:
            node.stop()
        runs.stop_all(RUN_DIR)
        sweep()
    assert play is not None
    return steps.report("Kafka and a store of the chart's own", "e2e-try-out", {"story": play.story.lines})


def _play(play: TryOut) -> None:
    step = play.steps.step
    with step("helm install, with brokers and a store"):
        install(play)
    with step("kubectl apply: the guide's model"):
        apply(play)
    with step("its history"):
        history(play)
    with step("the first version"):
        serve(play)
    with step("a broker is lost under live events"):
        lose_a_broker(play)
    with step("the canary"):
        promote(play)
    with step("away with it"):
        leave(play)


if __name__ == "__main__":
    sys.exit(told(lambda: node_line.played(run)))
