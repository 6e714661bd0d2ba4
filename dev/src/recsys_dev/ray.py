"""A real Ray head on loopback with Serve behind its own HAProxy, for the demo and for the tests alike.

The head asks for a token, and Serve is started at once (with no application), so its port is settled and the first
deployment finds it warm. What Ray 2.60.0's REST API was seen to answer on such a head:

* No token: 401 `Unauthorized: Missing authentication token`; a wrong one: 403; the header is `Authorization: Bearer ...`.
* `PUT /api/serve/applications/`: 200 and an empty body before anything is deployed, also when the import path is wrong
  (then the application becomes `DEPLOY_FAILED`, its message a traceback whose last line has the cause); 400 and text for
  a file that breaks the schema, but fields that the schema does not know are accepted in silence; applications that the
  file does not name are deleted; `http_options` count only until Serve runs.
* A change of `user_config` alone calls `reconfigure` in the running replicas, one after another, in effect after 0.2-0.7 s.
  It is in effect everywhere when GET shows the new `user_config`, the application `RUNNING` and the deployment `HEALTHY`.
  **A `reconfigure` that raises costs its replica**: Serve stops it and fails to start others for 20 s.
* GET lists each replica's `replica_id`, `pid` and `state`, never its port.
* `POST /api/jobs/` with a `submission_id` that exists, ended or not: 500 and a traceback that says `already exists. Please
  use a different submission_id`. `GET /api/jobs/ID`: 404 and text when unknown; else `status` is PENDING, RUNNING,
  SUCCEEDED, FAILED or STOPPED, with `message`, `driver_exit_code`, `start_time` and `end_time` (ms).
"""

import importlib.util
import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import httpx

from recsys_dev import processes, ray_settings
from recsys_dev.cache import Progress, cache_dir
from recsys_dev.errors import Unmet
from recsys_dev.locks import locked
from recsys_dev.ports import LOOPBACK, require_free
from recsys_dev.processes import Child, Command
from recsys_dev.ray_head import NAME, RayHead, existing, short_link, token_file, version
from recsys_dev.ray_settings import RayPorts

__all__ = ["RayHead", "attach", "existing", "start"]


READY_DEADLINE_S = 300.0
ATTEMPTS = 3
TOO_SLOW = "The current node timed out during startup"


def start(  # noqa: PLR0913 - all but the first have a default
    run_dir: Path,
    *,
    dashboard_port: int | None = None,
    serve_port: int | None = None,
    num_cpus: int = 16,
    python_path: Sequence[Path] = (),
    settings: Mapping[str, str] = MappingProxyType({}),
    progress: Progress | None = None,
) -> RayHead:
    """Start a head under `run_dir` and return when it answers and Serve runs; a head that runs there is left alone.

    Args:
        run_dir: a folder of this head's own; `stop` ends everything that carries its mark.
        dashboard_port: a free loopback port, or None to have one picked.
        serve_port: likewise, for Serve's HAProxy.
        num_cpus: logical processors that actors and tasks may claim; more than the machine has, since most of them wait.
        python_path: folders from which Serve applications and jobs may import, besides what is installed.
        settings: further environment of the head and of all that it starts; goes before ours.
        progress: is told what happens, a line at a time.

    Raises:
        Unmet: when Ray is not installed, a port is taken, or the head does not become ready.
    """
    tell = progress or _silent
    known = attach(run_dir)
    if known is not None and known.alive():
        return known
    if importlib.util.find_spec("ray") is None:
        raise Unmet("the Python package `ray`", f"not installed for {sys.executable}", "Run `make tools`.")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _start_once(run_dir, (dashboard_port, serve_port), num_cpus, (python_path, settings), tell)
        except _TooSlowError as slow:
            tell(f"{TOO_SLOW}: the machine is busy (attempt {attempt} of {ATTEMPTS}; {slow.mend})")
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("unreachable")


class _TooSlowError(Unmet):
    """The head gave up on itself: the machine was too busy for the 30 s that Ray 2.60 allows its own start."""


def _start_once(
    run_dir: Path,
    wanted: tuple[int | None, int | None],
    num_cpus: int,
    told: tuple[Sequence[Path], Mapping[str, str]],
    tell: Progress,
) -> RayHead:
    # One head at a time picks its ports and takes them; two that start together may also both be too slow.
    with locked(cache_dir() / "ray.lock", "starting a Ray head", tell, deadline_s=2 * READY_DEADLINE_S):
        for port, purpose in zip(wanted, ("Ray's dashboard", "Ray Serve"), strict=True):
            if port is not None:
                require_free(port, purpose)
        ports = ray_settings.pick_ports(*wanted)
        tell(f"Starting Ray: dashboard http://{LOOPBACK}:{ports.dashboard}, applications http://{LOOPBACK}:{ports.serve}.")
        head = _prepare(run_dir, ports)
        child = _launch(run_dir, ports, num_cpus, told)
        _wait(head, child, lambda: version(head) is not None, f"Ray at {head.dashboard_url}")
    _wait(head, child, lambda: _serve_started(head), f"Ray Serve at {head.serve_url}")
    _wait(head, child, lambda: _answers(head), f"Ray Serve's HAProxy at {head.serve_url}")
    return head


def _launch(run_dir: Path, ports: RayPorts, num_cpus: int, told: tuple[Sequence[Path], Mapping[str, str]]) -> Child:
    python_path, further = told
    given = os.environ.get("PYTHONPATH")
    paths = [*python_path, *(Path(path) for path in (given.split(os.pathsep) if given else []))]
    link = short_link(run_dir)
    settings = {**ray_settings.environment(ports, link / "haproxy", token_file(run_dir), paths), **further}
    return processes.start(run_dir, NAME, Command(argv=ray_settings.command(ports, link, num_cpus), env=settings))


def _wait(head: RayHead, child: Child, condition: Callable[[], bool], what: str) -> None:
    """Wait for one step of a start; a head that does not make it is ended."""
    try:
        processes.wait_until(condition, what=what, deadline_s=READY_DEADLINE_S, children=[child])
    except BaseException as error:
        head.stop()
        if isinstance(error, Unmet) and TOO_SLOW in child.last_lines():
            raise _TooSlowError(error.what, error.seen, error.mend) from error
        raise


def attach(run_dir: Path) -> RayHead | None:
    """Return the head that was last started in `run_dir`, running or not; None when there was none."""
    try:
        known = json.loads((run_dir / "ray.json").read_text())
        return _head(run_dir, RayPorts(**known), token_file(run_dir).read_text().strip())
    except (OSError, ValueError, TypeError):
        return None


def _head(run_dir: Path, ports: RayPorts, token: str) -> RayHead:
    return RayHead(
        dashboard_url=f"http://{LOOPBACK}:{ports.dashboard}",
        token=token,
        serve_port=ports.serve,
        address=f"{LOOPBACK}:{ports.gcs}",
        run_dir=run_dir,
        ports=ports,
    )


def _prepare(run_dir: Path, ports: RayPorts) -> RayHead:
    """Write the token and the ports, and give the head's folder a short name."""
    folder = run_dir / "ray"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "haproxy").mkdir(parents=True)
    token = os.environ.get("RAY_AUTH_TOKEN") or secrets.token_urlsafe(32)
    token_file(run_dir).unlink(missing_ok=True)
    with os.fdopen(os.open(token_file(run_dir), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    run_dir.joinpath("ray.json").write_text(json.dumps({"first": ports.first, "dashboard": ports.dashboard, "serve": ports.serve}) + "\n")
    link = short_link(run_dir)
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)  # a process of an earlier head wrote there after its link had gone
    link.unlink(missing_ok=True)
    link.symlink_to(folder.resolve(), target_is_directory=True)
    return _head(run_dir, ports, token)


def _serve_started(head: RayHead) -> bool:
    """Ask for Serve with no application; return whether that was accepted (a busy machine's dashboard may drop it)."""
    file = {
        "proxy_location": "EveryNode",
        "http_options": {"host": head.serve_host, "port": head.serve_port},
        "applications": [],
    }
    try:
        with head.client(timeout_s=READY_DEADLINE_S) as client:
            return client.put("/api/serve/applications/", json=file).is_success
    except httpx.TransportError:
        return False


def _answers(head: RayHead) -> bool:
    """Return whether HAProxy answers, be it that there is no route yet."""
    try:
        httpx.get(f"{head.serve_url}/-/healthz", timeout=5.0, trust_env=False)
    except httpx.TransportError:
        return False
    return True


def _silent(_line: str) -> None:
    """Tell nobody."""
