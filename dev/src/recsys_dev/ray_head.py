"""A Ray head to speak to: ours, or one that was there before."""

import hashlib
import os
import signal
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from recsys_dev import processes
from recsys_dev.errors import Unmet
from recsys_dev.ports import LOOPBACK
from recsys_dev.process_table import PROC, start_time
from recsys_dev.processes import Child
from recsys_dev.ray_settings import RayPorts

LONGEST_TEMP_DIR = 24
"""Ray's sockets lie up to 66 characters below its folder, and the name of a socket has at most 107."""
NAME = "ray-head"


@dataclass(frozen=True, slots=True, kw_only=True)
class RayHead:
    """A Ray head to speak to. One that we started has a `run_dir` and an `address`; an `existing` one may have neither.

    Attributes:
        dashboard_url: base of the REST API, without a slash at the end.
        token: what the REST API wants as `Authorization: Bearer`; empty when it wants none.
        serve_port: where Serve's HAProxy listens (on `serve_host`).
        address: what `ray.init(address=...)` takes.
        ports: all ports of a head of ours.
    """

    dashboard_url: str
    token: str = field(repr=False)
    serve_port: int
    serve_host: str = LOOPBACK
    address: str | None = None
    run_dir: Path | None = None
    ports: RayPorts | None = None

    @property
    def serve_url(self) -> str:
        """Base of every application's route, without a slash at the end."""
        return f"http://{self.serve_host}:{self.serve_port}"

    def env(self) -> dict[str, str]:
        """Return what a child finds in its environment to speak to this head: by REST, `ray job` or `ray.init()`."""
        found = {"RAY_API_SERVER_ADDRESS": self.dashboard_url, "RAY_USAGE_STATS_ENABLED": "0"}
        if self.address is not None:
            found["RAY_ADDRESS"] = self.address
        if self.run_dir is not None:
            found |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file(self.run_dir))}
            found |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        elif self.token:
            found |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        return found

    def client(self, *, timeout_s: float = 30.0) -> httpx.Client:
        """Return a client of the REST API that carries the token; the caller closes it."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return httpx.Client(base_url=self.dashboard_url, headers=headers, timeout=timeout_s, trust_env=False)

    def alive(self) -> bool:
        """Return whether the process of a head of ours runs, or an existing head answers."""
        if self.run_dir is not None:
            child = processes.read(self.run_dir / "pid" / NAME)
            return child is not None and child.is_alive()
        return version(self) is not None

    def stop(self) -> None:
        """End a head of ours with all that it started; its logs stay under `run_dir/ray`. Existing head: no-op."""
        if self.run_dir is None:
            return
        child = processes.read(self.run_dir / "pid" / NAME)
        # Workers write their title over the mark that the environment carries, but they stay in the head's session.
        members = {pid: start_time(pid) for pid in _session(child)} if child is not None else {}
        if child is not None:
            processes.stop(child)
        processes.stop_marked(self.run_dir)
        _end(members, f"the end of Ray in {self.run_dir}")
        short_link(self.run_dir).unlink(missing_ok=True)


def _session(child: Child) -> list[int]:
    """Return the processes of the child's session, be it that the child itself has ended (Linux only, else none)."""
    if start_time(child.pid) not in {None, child.started}:
        return []  # a stranger has its pid, which the system gives only when the session is empty
    found: list[int] = []
    for entry in PROC.glob("[0-9]*"):
        try:
            if os.getsid(int(entry.name)) == child.pid:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _end(members: Mapping[int, str | None], what: str) -> None:
    """Wait until these processes have ended by themselves, as Ray's workers do once the raylet has gone; else kill them."""

    def left() -> list[int]:
        return [pid for pid, started in members.items() if started is not None and start_time(pid) == started]

    try:
        processes.wait_until(lambda: not left(), what=what, deadline_s=10.0)
    except Unmet:
        for pid in left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        processes.wait_until(lambda: not left(), what=what, deadline_s=90.0)


def existing(address: str | None = None) -> RayHead | None:
    """Return the head at `address`, else at `RAY_ADDRESS`; None when neither is given.

    The address is the dashboard's, such as http://127.0.0.1:8265. The token is `RAY_AUTH_TOKEN`, else what the file
    `RAY_AUTH_TOKEN_PATH` or ~/.ray/auth_token holds.

    Raises:
        Unmet: when the address is no URL, or nothing answers there within 15 s.
    """
    named = address or os.environ.get("RAY_ADDRESS")
    if not named:
        return None
    url = urlsplit(named)
    if url.scheme not in {"http", "https"} or url.hostname is None:
        raise Unmet("RAY_ADDRESS", repr(named), "Give the URL of the head's dashboard, such as http://127.0.0.1:8265.")
    head = RayHead(dashboard_url=named.rstrip("/"), token=_given_token(), serve_host=url.hostname, serve_port=8000)
    processes.wait_until(lambda: version(head) is not None, what=f"Ray at RAY_ADDRESS={named}", deadline_s=15.0)
    with head.client() as client:
        options = client.get("/api/serve/applications/").json().get("http_options") or {}
    return RayHead(
        dashboard_url=head.dashboard_url,
        token=head.token,
        serve_host=url.hostname,
        serve_port=int(options.get("port", head.serve_port)),
    )


def short_link(run_dir: Path) -> Path:
    """Return the short name of the head's folder: the system's limit on names of sockets leaves no room for a long one."""
    temp = Path(tempfile.gettempdir())
    if len(str(temp)) > LONGEST_TEMP_DIR:
        temp = Path("/tmp")  # noqa: S108 - only a link with a derived name lies there
    digest = hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:10]
    return temp / f"ray-{digest}"


def token_file(run_dir: Path) -> Path:
    """Return the file that holds the token of a head of ours, readable by its owner only."""
    return run_dir.resolve() / "ray-token"


def _given_token() -> str:
    if token := os.environ.get("RAY_AUTH_TOKEN"):
        return token
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def version(head: RayHead) -> str | None:
    """Return what `/api/version` says of Ray's version, or None when nobody answers yet.

    Raises:
        Unmet: when the head refuses the token.
    """
    try:
        with head.client(timeout_s=20.0) as client:
            answer = client.get("/api/version")
    except httpx.TransportError:
        return None
    if answer.status_code in {401, 403}:
        raise Unmet(f"the token for Ray at {head.dashboard_url}", answer.text[:200], "Set RAY_AUTH_TOKEN to the head's token.")
    return str(answer.json()["ray_version"]) if answer.is_success else None
