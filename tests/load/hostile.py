"""Hostile clients beside honest ones: `make load-hostile`. Bounded memory, and honest clients not much slower.

Slow heads and slow bodies, bodies of a gigabyte, and connections that say nothing; through the ingress and at a replica's own port.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.serving import cpu
from bench.serving_line import TOKENS
from load.mix import mix
from load.scene import Parts, Scene, served
from recsys_dev.claims import Claims
from recsys_dev.figures import tell
from recsys_dev.loadgen import Told, start, write_requests

GIGABYTE = 1 << 30
MOST_MIB = 256.0
"""By how much the replicas may grow together."""
AT_MOST = 2.0
"""Times that the honest clients' p99 may grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """So many clients of one kind."""

    kind: str
    clients: int


ATTACKS = (
    Attack(kind="slow heads", clients=300),
    Attack(kind="slow bodies", clients=300),
    Attack(kind="gigabytes", clients=4),
    Attack(kind="silent", clients=5000),
)


def _head(length: str) -> bytes:
    token = TOKENS["writer"]
    words = [
        "POST /movies/v1/recommendations HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        length,
    ]
    return ("\r\n".join(words) + "\r\n\r\n").encode()


async def _one(port: int, kind: str) -> None:
    """One hostile client, for ever."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await _hurt(reader, writer, kind)
            finally:
                writer.close()
        await asyncio.sleep(0.2)


async def _hurt(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: str) -> None:
    match kind:
        case "slow heads":
            for letter in b"POST /movies/v1/recommendations HTTP/1.1\r\nHost: " + b"x" * 1000:
                writer.write(bytes([letter]))
                await writer.drain()
                await asyncio.sleep(1)
        case "slow bodies":
            writer.write(_head("Content-Length: 1000"))
            for letter in json.dumps({"user_id": "u" * 900}).encode():
                writer.write(bytes([letter]))
                await writer.drain()
                await asyncio.sleep(1)
        case "gigabytes":
            writer.write(_head("Transfer-Encoding: chunked"))
            piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
            for _ in range(GIGABYTE // 0x10000):
                writer.write(piece)
                await writer.drain()
        case _:
            await reader.read()


def _attack(port: int, attack: Attack) -> None:
    async def all_of_them() -> None:
        await asyncio.gather(*(_one(port, attack.kind) for _ in range(attack.clients)))

    asyncio.run(all_of_them())


@contextmanager
def under_attack(port: int, attack: Attack) -> Generator[None]:
    """Hostile clients, in a process of their own."""
    process = multiprocessing.get_context("spawn").Process(target=_attack, args=(port, attack), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def honest(scene: Scene, *, rate: float, seconds: float) -> Told:
    """Honest clients' load through the ingress."""
    requests = write_requests(scene.folder / "honest.jsonl", mix(5000, users=scene.users, items=scene.items))
    return start(scene.url, requests, token_file=scene.token_file, rate=rate, seconds=seconds).wait()


def attacked(scene: Scene, attack: Attack, *, direct: bool, rate: float, seconds: float) -> dict[str, Any]:
    """Honest clients before and under an attack; the memory of the replicas."""
    before = honest(scene, rate=rate, seconds=seconds).all
    pids = scene.replica_pids()
    memory = cpu.resident_mib(pids)
    port = scene.replica_ports()[0] if direct else scene.head.serve_port
    with under_attack(port, attack):
        during = honest(scene, rate=rate, seconds=seconds).all
        grown = cpu.resident_mib(pids) - memory
    return {
        "clients": attack.clients,
        "p99_before_ms": round(before.percentile(99), 1),
        "p99_during_ms": round(during.percentile(99), 1),
        "times": round(during.percentile(99) / before.percentile(99), 2),
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
    words = parser.parse_args()
    claims, seen = Claims(), dict[str, dict[str, Any]]()
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder, Parts(Path(folder)) as parts, served(parts, items=4000) as scene:
        for attack in ATTACKS:
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
