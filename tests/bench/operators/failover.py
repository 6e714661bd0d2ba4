"""The leader dies by kill -9 in the middle of its work: how soon the other one acts, and whether anything is done twice."""

from collections import Counter
from contextlib import ExitStack
from typing import Any

import httpx

from bench.ingest.measured import Measured
from bench.operators.objects import NAMESPACES, place
from bench.operators.scene import Scene
from bench.operators.subjects import OURS, ours
from recsys_dev.claims import Claims
from recsys_dev.ports import LOOPBACK, free_ports
from recsys_operator.world.objects import MODELS
from recsys_operator.world.objects import place as object_path

READY_S, TAKEN_OVER_S = 120.0, 120.0
PROMISED_S = 20.0
LEAST_LEFT = 3
"""So much must be left to do at the kill, or it proves nothing."""


def submitted(at: Scene) -> Counter[str]:
    """Ray's job id → how often it was asked for, over all clusters of the stand-in."""
    found: Counter[str] = Counter()
    for number in range(NAMESPACES):
        found.update(httpx.get(f"{at.ray}/{place(number)[0]}/asked", timeout=10, trust_env=False).json())
    return found


def fail_over(at: Scene, models: int, claims: Claims) -> dict[str, Any]:
    """Let suspended models go on all at once, and kill the leader when it has begun with them."""
    with ExitStack() as stack:
        leader, reserve = (stack.enter_context(_replica(at, number)) for number in (1, 2))
        before = submitted(at)
        at.change([(object_path(MODELS, *place(number)), {"spec": {"suspend": False}}) for number in range(0, 2 * models, 2)])
        leader.wait(lambda: len(submitted(at)) > len(before), every_s=0.01, limit_s=READY_S)
        killed = leader.kill()
        done = submitted(at)
        wanted = len(before) + models
        left = wanted - len(done)
        claims.check("something was left to do when the leader was killed", left >= LEAST_LEFT, f"{left} of {models}")
        if not left:  # the other one has nothing to be waited for
            return {"left_to_do_at_the_kill": left}
        first = reserve.wait(lambda: len(submitted(at)) > len(done), every_s=0.1, limit_s=TAKEN_OVER_S) - killed
        last = reserve.wait(lambda: len(submitted(at)) >= wanted, every_s=0.2, limit_s=TAKEN_OVER_S) - killed
        twice = {id_: times for id_, times in submitted(at).items() if times > 1}
    claims.check(f"the other one acts within {PROMISED_S:.0f} s", first <= PROMISED_S, f"{first:.1f} s after kill -9")
    claims.check("nothing is done twice", not twice, str(twice or "each job was asked for once"))
    return {"left_to_do_at_the_kill": left, "first_action_of_the_other_s": first, "all_done_s": last, "done_twice": len(twice)}


def _replica(at: Scene, number: int) -> Measured:
    """One of two replicas; the first has the lease before the second is there."""
    (port,) = free_ports(1)
    env = {"KUBECONFIG": str(at.cluster.kubeconfig)} | ours(at, "failover", port)
    child = Measured(OURS.argv(), at.run_dir / f"replica-{number}.log", env)

    def is_ready() -> bool:
        try:
            answer = httpx.get(f"http://{LOOPBACK}:{port}/readyz", timeout=5, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.is_success and (number > 1 or "recsys_reconciles_total{" in _metrics(port))

    child.wait(is_ready, every_s=0.2, limit_s=READY_S)
    return child


def _metrics(port: int) -> str:
    return httpx.get(f"http://{LOOPBACK}:{port}/metrics", timeout=10, trust_env=False).text
