"""A real MLflow server on loopback, over SQLite, in an environment of its own: nothing of ours imports MLflow.

The environment is made once in the project's cache, by the uv that the project has anyway (600 MB; 1 min the first time).
"""

import os
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from recsys_dev import processes
from recsys_dev.cache import Progress, cache_dir
from recsys_dev.errors import Unmet
from recsys_dev.locks import locked
from recsys_dev.ports import LOOPBACK, free_ports
from recsys_dev.processes import Child, Command

VERSION = "3.17.2"
MAKE_DEADLINE_S = 600.0
READY_DEADLINE_S = 300.0
ADMIN = "admin"


def ensure(progress: Progress) -> Path:
    """Return the Python of an environment that has MLflow; make it when it is missing.

    Raises:
        Unmet: uv is missing, or the packages cannot be had.
    """
    home = cache_dir() / f"mlflow-{VERSION}"
    python = home / "bin" / "python"
    if python.exists():
        return python
    with locked(cache_dir() / "mlflow.lock", "making MLflow's environment", progress, deadline_s=MAKE_DEADLINE_S):
        if python.exists():
            return python
        progress(f"MLflow {VERSION}: installing into {home} (about 1 min the first time)")
        fresh = home.with_name(f".{home.name}-{os.getpid()}")
        try:
            _uv("venv", "--quiet", "--clear", "--relocatable", "--python", sys.executable, str(fresh))
            _uv("pip", "install", "--quiet", "--compile-bytecode", "--python", str(fresh / "bin" / "python"), f"mlflow[auth]=={VERSION}")
            fresh.rename(home)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return python


def _uv(*arguments: str) -> None:
    program = cache_dir() / "uv" / "bin" / "uv"
    if not program.exists():
        raise Unmet("the program `uv`", f"not found at {program}", "Run `make setup`, which installs it.")
    settings = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "UV_SYSTEM_CERTS": os.environ.get("UV_SYSTEM_CERTS", "true")}
    done = subprocess.run(
        [program, *arguments], env=os.environ | settings, capture_output=True, text=True, check=False, timeout=MAKE_DEADLINE_S
    )
    if done.returncode:
        seen = "\n".join(done.stderr.splitlines()[-8:])
        raise Unmet(
            f"MLflow {VERSION}", f"`uv {arguments[0]}` failed with:\n{seen}\n", "Check the network to the package index, then run again."
        )


@dataclass(slots=True, kw_only=True)
class Server:
    """One server; what it was told stays in its folder, so that it may be stopped and started again."""

    python: Path
    run_dir: Path
    port: int
    guarded: bool = False
    """Whether it asks for a user and a password."""
    password: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)
    child: Child | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        """Start it, and return when it answers.

        Raises:
            Unmet: it does not.
        """
        folder = self.run_dir.resolve()
        argv: list[str | Path] = [self.python, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(self.port), "--workers", "1"]
        argv += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")]
        env = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}
        if self.guarded:
            argv += ["--app-name", "basic-auth"]
            env |= {"MLFLOW_AUTH_CONFIG_PATH": str(self._rules()), "MLFLOW_FLASK_SERVER_SECRET_KEY": self.password}
        self.child = processes.start(self.run_dir, "mlflow", Command(argv=argv, env=env))
        processes.wait_until(self.alive, what=f"MLflow at {self.url}", deadline_s=READY_DEADLINE_S, children=[self.child])

    def _rules(self) -> Path:
        path = self.run_dir.resolve() / "auth.ini"
        lines = ["[mlflow]", "default_permission = READ", f"database_uri = sqlite:///{self.run_dir.resolve()}/auth.db"]
        lines += [f"admin_username = {ADMIN}", f"admin_password = {self.password}"]
        lines += ["authorization_function = mlflow.server.auth:authenticate_request_basic_auth"]
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
        return path

    def alive(self) -> bool:
        """Whether it answers."""
        try:
            return httpx.get(f"{self.url}/health", timeout=5.0, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """End it; what it was told stays."""
        if self.child is not None:
            processes.stop(self.child)
            self.child = None


def prepare(run_dir: Path, progress: Progress, *, guarded: bool = False) -> Server:
    """A server that is yet to be started, in a folder of its own. Errors as `ensure`."""
    run_dir.mkdir(parents=True, exist_ok=True)
    return Server(python=ensure(progress), run_dir=run_dir, port=free_ports(1)[0], guarded=guarded)
