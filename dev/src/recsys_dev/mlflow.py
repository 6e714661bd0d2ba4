"""A real MLflow server on loopback, over SQLite, in an environment of its own: nothing of ours imports MLflow.

The environment is made once in the project's cache, by the uv that the project has anyway (600 MB; 1 min the first time).
"""

import secrets
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from recsys_dev import apart, processes
from recsys_dev.cache import Progress
from recsys_dev.ports import LOOPBACK, free_ports
from recsys_dev.processes import Child, Command

VERSION = "3.17.2"
READY_DEADLINE_S = 300.0
ADMIN = "admin"


def ensure(progress: Progress) -> Path:
    """Return the Python of an environment that has MLflow; make it when it is missing.

    Raises:
        Unmet: uv is missing, or the packages cannot be had.
    """
    return apart.ensure("mlflow", VERSION, progress, extras="[auth]")


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
