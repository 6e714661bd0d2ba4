"""Hostile clients beside honest ones: `make load-hostile`. Bounded memory, and honest clients not much slower.

Slow heads and slow bodies, bodies of a gigabyte, and connections that say nothing; through the ingress and at a replica's own port.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.serving import cpu
from load.mix import mix
from load.scene import APPS, Parts, Scene, served
from recsys_dev.claims import Claims
from recsys_dev.figures import tell
from recsys_dev.loadgen import Told, start, write_requests

MOST_MIB = 256.0
"""By how much the replicas may grow together."""
AT_MOST = 2.0
"""Times that the honest clients' p99 may grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """So many clients of one kind."""

    kind: str
    clients: int
    """Through the ingress."""
    at_replica: int
    """At a replica's own port."""


ATTACKS = (
    Attack(kind="slow heads", clients=300, at_replica=300),
    Attack(kind="slow bodies", clients=300, at_replica=300),
    Attack(kind="gigabytes", clients=4, at_replica=4),
    # HAProxy needs 2.6 file descriptors for each, and a container often has 20,000.
    Attack(kind="silent", clients=5_000, at_replica=10_000),
)
COME_SECONDS = 120.0
"""Until all of them are there."""


@contextmanager
def under_attack(port: int, kind: str, clients: int, token_file: Path) -> Generator[None]:
    """Hostile clients, in a process of their own; all of them are there."""
    words = [sys.executable, "-S", str(APPS / "attack.py"), str(port), kind, str(clients), str(token_file)]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    late = threading.Timer(COME_SECONDS, process.kill)
    late.start()
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "stands\n":
            raise RuntimeError(f"{kind}: {clients} clients were not let in within {COME_SECONDS:.0f} s")
        late.cancel()
        yield
    finally:
        late.cancel()
        process.kill()
        process.wait()


def honest(scene: Scene, *, rate: float, seconds: float) -> Told:
    """Honest clients' load through the ingress."""
    requests = write_requests(scene.folder / "honest.jsonl", mix(5000, users=scene.users, items=scene.items))
    return start(scene.url, requests, token_file=scene.token_file, rate=rate, seconds=seconds).wait()


def attacked(scene: Scene, attack: Attack, *, direct: bool, rate: float, seconds: float) -> dict[str, Any]:
    """Honest clients before, under and after an attack; the memory of the replicas."""
    calm = honest(scene, rate=rate, seconds=seconds / 2).all
    pids = scene.replica_pids()
    memory = cpu.resident_mib(pids)
    port = scene.replica_ports()[0] if direct else scene.head.serve_port
    clients = attack.at_replica if direct else attack.clients
    with under_attack(port, attack.kind, clients, scene.token_file):
        during = honest(scene, rate=rate, seconds=seconds).all
        grown = cpu.resident_mib(pids) - memory
    calm.add(honest(scene, rate=rate, seconds=seconds / 2).all)
    return {
        "clients": clients,
        "p99_calm_ms": round(calm.percentile(99), 1),
        "p99_during_ms": round(during.percentile(99), 1),
        "times": round(during.percentile(99) / calm.percentile(99), 2),
        "success": round(1 - during.failed / max(during.asked, 1), 5),
        "shed": during.shed,
        "grown_mib": round(grown, 1),
        "replicas_lived": sorted(scene.replica_pids()) == sorted(pids),
    }


def main() -> int:
    """Every attack at both doors."""
    parser = argparse.ArgumentParser(prog="load.hostile", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=60)
    parser.add_argument("--kinds", default=",".join(attack.kind for attack in ATTACKS), help="which attacks")
    words = parser.parse_args()
    kinds = words.kinds.split(",")
    claims, seen = Claims(), dict[str, dict[str, Any]]()
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder, Parts(Path(folder)) as parts, served(parts, items=4000) as scene:
        for attack in (each for each in ATTACKS if each.kind in kinds):
            for direct in (False, True):
                name = f"{attack.kind}, {'replica' if direct else 'ingress'}"
                seen[name] = attacked(scene, attack, direct=direct, rate=words.rate, seconds=words.seconds)
    tell("load", "hostile", seen)
    for name, figures in seen.items():
        claims.check(f"{name}: nobody honest fails", figures["success"] >= 0.999, f"{figures['success']:.3%}")
        claims.check(f"{name}: bounded memory", figures["grown_mib"] <= MOST_MIB, f"{figures['grown_mib']} MiB")
        claims.check(f"{name}: p99 at most doubled", figures["times"] <= AT_MOST, f"{figures['times']} times")
    tell("load", "hostile claims", {claim.name: f"{'holds' if claim.held else 'NOT SO'}: {claim.seen}" for claim in claims.all})
    return 1 if claims.broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
