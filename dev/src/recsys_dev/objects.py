"""A real S3 server on loopback, with credentials, for the demo and for the tests alike: Versity S3 Gateway over a folder.

It answers what the tables need: `If-None-Match: *` (a file is made once, by one of any number of writers) and `If-Match`
(a file is replaced only by who saw its last content), both with 412 for the loser. Credentials are asked for. 40 MB.
"""

import json
import os
import secrets
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx

from recsys_dev import processes
from recsys_dev.cache import Progress, cache_dir, ensure
from recsys_dev.errors import Unmet
from recsys_dev.go_build import Program, is_stale
from recsys_dev.ports import LOOPBACK, free_ports, require_free
from recsys_dev.processes import Command

GATEWAY = Program(name="versitygw", module="versitygw", package="github.com/versity/versitygw/cmd/versitygw", cold_seconds=100)
NAME = "objects"
REGION = "us-east-1"
HEALTH = "/-health"
READY_DEADLINE_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStore:
    """An S3 server to speak to, by path (http://host:port/bucket/key).

    Attributes:
        run_dir: where a server of ours keeps its objects (as plain files below `objects/BUCKET`); None for an existing one.
    """

    endpoint_url: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = REGION
    run_dir: Path | None = None

    def env(self) -> dict[str, str]:
        """Return what a child finds in its environment so that pyarrow, obstore, deltalake and the AWS tools reach it."""
        found = {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        return found | ({"AWS_ALLOW_HTTP": "true"} if self.endpoint_url.startswith("http://") else {})

    def make_bucket(self, name: str) -> str:
        """Make a bucket of a server of ours unless it is there; return its URI, s3://NAME.

        Raises:
            Unmet: when the server is not ours, or the name is none that S3 allows.
        """
        if self.run_dir is None:
            raise Unmet(f"bucket {name}", f"{self.endpoint_url} is not ours", "Make it with the tools of that server.")
        if not 3 <= len(name) <= 63 or not name.replace("-", "").isalnum() or name != name.lower():
            raise Unmet("bucket", repr(name), "Use 3 to 63 small letters, digits and hyphens.")
        _objects(self.run_dir).joinpath(name).mkdir(exist_ok=True)
        return f"s3://{name}"

    def alive(self) -> bool:
        """Return whether the server answers."""
        try:
            return httpx.get(self.endpoint_url + (HEALTH if self.run_dir else ""), timeout=5.0, trust_env=False).status_code < 500
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """End a server of ours; the objects stay in `run_dir`. Existing server: no-op."""
        if self.run_dir is not None and (child := processes.read(self.run_dir / "pid" / NAME)) is not None:
            processes.stop(child)


def existing() -> ObjectStore | None:
    """Return the server at `AWS_ENDPOINT_URL` with the credentials of `AWS_*`; None when the variable is not set.

    Raises:
        Unmet: when the variable is set but a credential is not.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return None
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        if not os.environ.get(name):
            raise Unmet(name, f"not set, though AWS_ENDPOINT_URL is {endpoint}", f"Set {name}, or unset AWS_ENDPOINT_URL.")
    return ObjectStore(
        endpoint_url=endpoint.rstrip("/"),
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        region=os.environ.get("AWS_REGION", REGION),
    )


def start(run_dir: Path, *, port: int | None = None, host: str = LOOPBACK, progress: Progress | None = None) -> ObjectStore:
    """Start a server under `run_dir` and return when it answers; one that runs there is left alone, objects are kept.

    Raises:
        Unmet: when the program is missing and cannot be built, the port is taken, or the server does not answer.
    """
    tell = progress or _silent
    known = attach(run_dir)
    if known is not None and known.alive():
        return known
    program = _program(tell)
    store = _prepare(run_dir, port, host, known)
    argv = [program, "--port", store.endpoint_url.removeprefix("http://"), "--region", REGION, "--quiet", "--health", HEALTH]
    # Metadata lie beside the objects, not in extended attributes, which many a temporary folder does not have.
    argv += ["posix", "--sidecar", str(run_dir.resolve() / "metadata"), str(_objects(run_dir).resolve())]
    env = {"ROOT_ACCESS_KEY": store.access_key, "ROOT_SECRET_KEY": store.secret_key}
    tell(f"Starting the S3 server at {store.endpoint_url}.")
    child = processes.start(run_dir, NAME, Command(argv=argv, env=env))
    try:
        processes.wait_until(store.alive, what=f"S3 at {store.endpoint_url}", deadline_s=READY_DEADLINE_S, children=[child])
    except BaseException:
        processes.stop(child)
        raise
    return store


def attach(run_dir: Path) -> ObjectStore | None:
    """Return the server whose objects are in `run_dir`, running or not; None when there is none."""
    try:
        known = json.loads((run_dir / "objects.json").read_text())
        return ObjectStore(**known, run_dir=run_dir)
    except (OSError, ValueError, TypeError):
        return None


def _program(tell: Progress) -> str:
    if is_stale(GATEWAY, cache_dir() / "bin") and shutil.which("go") is None:
        raise Unmet("the program `go` (1.26 or later), which builds the S3 server", "not found on PATH", "Install Go.")
    return str(ensure((GATEWAY,), tell) / GATEWAY.name)


def _prepare(run_dir: Path, port: int | None, host: str, known: ObjectStore | None) -> ObjectStore:
    """Make the folders and the credentials of a new server, or keep those that were there."""
    for folder in (_objects(run_dir), run_dir / "metadata"):
        folder.mkdir(parents=True, exist_ok=True)
    if known is not None and port is None:
        return known
    if port is not None:
        require_free(port, "the S3 server", host)
    store = ObjectStore(
        endpoint_url=f"http://{host}:{port or free_ports(1, host)[0]}",
        access_key=known.access_key if known else "recsys",
        secret_key=known.secret_key if known else secrets.token_urlsafe(24),
        run_dir=run_dir,
    )
    written = {name: value for name, value in asdict(store).items() if name != "run_dir"}
    fresh = run_dir / f".objects.json.{os.getpid()}"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(json.dumps(written) + "\n")
    fresh.replace(run_dir / "objects.json")
    return store


def _objects(run_dir: Path) -> Path:
    return run_dir / "objects"


def _silent(_line: str) -> None:
    """Tell nobody."""
