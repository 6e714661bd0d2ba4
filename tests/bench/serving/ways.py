"""The five ways to an answer, each with its address, its requests and the processes on its path."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bench.serving import cpu
from bench.serving_line import TOKENS, application, arm, record
from recsys_dev.loadgen import Asked, write_requests
from recsys_dev.ports import free_ports
from recsys_dev.ray import RayHead
from recsys_schemas.serving_record import ServingArguments

APPS = Path(__file__).resolve().parents[1] / "apps"
DEADLINE_S = 240.0
AS_IT_COMES = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0",
    "RAY_SERVE_ENABLE_HA_PROXY": "0",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "",
}
"""Ray Serve without the settings of `recsys_dev.ray_settings`: its own Python proxy, and no door of ours."""
ROUTED = "router, same ingress"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """One version to score with."""

    version: str
    digest: str
    items: int
    factors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to an answer."""

    name: str
    url: str
    requests: Path
    pids: Callable[[], list[int]]
    token_file: Path | None = None

    def answers(self) -> bool:
        """Whether a question gets a 200."""
        one = json.loads(self.requests.open().readline())
        headers = {"Authorization": f"Bearer {TOKENS['reader']}", "Content-Type": "application/json"}
        try:
            return httpx.post(self.url + one["path"], content=one["body"], headers=headers, timeout=10, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def wait(self) -> None:
        """Wait until it answers."""
        end = time.monotonic() + DEADLINE_S
        while not self.answers():
            if time.monotonic() > end:
                raise TimeoutError(f"{self.name} did not answer within {DEADLINE_S:.0f} s")
            time.sleep(0.2)


def questions(folder: Path, name: str, path: str, users: list[str]) -> Path:
    """The requests of one way."""
    return write_requests(
        folder / f"{name}.jsonl", (Asked(route=name, path=path, body=json.dumps({"user_id": user}).encode()) for user in users)
    )


@contextmanager
def bare(folder: Path, store: str, catalogue: Catalogue, users: list[str]) -> Generator[Way]:
    """The limit, in a process of its own."""
    (port,) = free_ports(1)
    words = [sys.executable, str(APPS / "bare_asgi.py"), str(port), store, str(folder / "cache"), catalogue.version, catalogue.digest]
    process = subprocess.Popen(words, env={**os.environ, **ONE_THREAD}, stdin=subprocess.DEVNULL)
    try:
        way = Way(
            name="bare ASGI",
            url=f"http://127.0.0.1:{port}",
            requests=questions(folder, "bare", "/", users),
            pids=lambda: [process.pid],
        )
        way.wait()
        yield way
    finally:
        process.kill()
        process.wait()


class Ours:
    """The serving API as the operator deploys it; behind the same ingress a bare echo, and the plain way's router and handles."""

    def __init__(self, head: RayHead, arguments: ServingArguments, folder: Path, token_file: Path) -> None:
        self._head, self._arguments, self._folder, self._token_file = head, arguments, folder, token_file
        self._epoch = 0

    def serve(self, catalogue: Catalogue, users: list[str]) -> list[Way]:
        """Make a version the stable arm of the one replica; all three ways once it answers."""
        self._epoch += 1
        ours = application(self._arguments, record(self._epoch, arm(catalogue.version, catalogue.digest, 100)), replicas=1)
        echo = {"name": "echo", "route_prefix": "/echo", "import_path": "bare_echo:echo", "args": {}}
        routed = _plain_application("routed", self._arguments.storage_uri, self._folder, catalogue)
        _put(self._head, [ours, echo, routed])
        name, head = self._arguments.name, self._head
        ways = [
            Way(
                name="ours",
                url=head.serve_url,
                requests=questions(self._folder, "ours", f"/{name}/v1/recommendations", users),
                pids=lambda: _pids(head, f":{name}:"),
                token_file=self._token_file,
            ),
            Way(
                name="echo",
                url=head.serve_url,
                requests=questions(self._folder, "echo", "/echo", users),
                pids=lambda: _pids(head, ":echo:"),
            ),
            Way(
                name=ROUTED,
                url=head.serve_url,
                requests=questions(self._folder, "routed", "/routed/", users),
                pids=lambda: _pids(head, ":routed:"),
            ),
        ]
        for way in ways:
            way.wait()
        end = time.monotonic() + DEADLINE_S
        while self._served(ways[0]) != catalogue.version:
            if time.monotonic() > end:
                raise TimeoutError(f"{catalogue.version} was not served within {DEADLINE_S:.0f} s")
            time.sleep(0.2)
        return ways

    def _served(self, way: Way) -> str:
        one = json.loads(way.requests.open().readline())
        headers = {"Authorization": f"Bearer {TOKENS['reader']}"}
        answered = httpx.post(way.url + one["path"], content=one["body"], headers=headers, timeout=30, trust_env=False)
        return answered.json()["model_version"] if answered.status_code == 200 else ""


def plain(head: RayHead, store: str, folder: Path, catalogue: Catalogue, users: list[str]) -> Way:
    """Ray Serve as it comes: Python proxy, router, handles to versions."""
    _put(head, [_plain_application("plain", store, folder, catalogue)])
    way = Way(
        name="plain Ray Serve",
        url=head.serve_url,
        requests=questions(folder, "plain", "/plain/", users),
        pids=lambda: _pids(head, ":plain:"),
    )
    way.wait()
    return way


def _plain_application(name: str, store: str, folder: Path, catalogue: Catalogue) -> dict[str, Any]:
    args = {"store": store, "cache": str(folder / "cache"), "version": catalogue.version, "digest": catalogue.digest}
    return {"name": name, "route_prefix": f"/{name}", "import_path": "plain_serve:plain", "args": args}


def _put(head: RayHead, applications: list[dict[str, Any]]) -> None:
    with head.client(timeout_s=60) as rest:
        rest.put("/api/serve/applications/", json={"applications": applications}).raise_for_status()


def _pids(head: RayHead, application: str) -> list[int]:
    if head.run_dir is None:
        return []
    return cpu.on_the_path(head.run_dir, application)
