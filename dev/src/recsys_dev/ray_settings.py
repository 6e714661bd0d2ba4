"""What a Ray head on one machine is told: pure functions from its ports and folders to words and environment.

Serve answers through its own HAProxy straight from a replica's HTTP server (`RAY_SERVE_THROUGHPUT_OPTIMIZED`,
`RAY_SERVE_ENABLE_HA_PROXY`), and each head has paths and ports of its own, so that several heads fit on one machine.
"""

import resource
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys_dev.errors import Unmet
from recsys_dev.ports import LOOPBACK, is_free
from recsys_schemas.serve_settings import SERVE_SETTINGS

BLOCK, LOWEST, HIGHEST = 256, 61_000, 65_500
"""Above Linux's ephemeral range, and beside 10002-19999 where the workers of other Ray heads take theirs at random."""

MOST_CONNECTIONS = 16_000
OBJECT_STORE_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class RayPorts:
    """The ports of one head. All but those of the dashboard and of Serve lie in the block that begins at `first`."""

    first: int
    dashboard: int
    serve: int

    @property
    def gcs(self) -> int:
        """The port of `ray.init(address=...)`."""
        return self.first + 2

    @property
    def metrics(self) -> int:
        """Where the head's Ray agent exports metrics, also those of actors."""
        return self.first + 9

    @property
    def replicas(self) -> tuple[int, int]:
        """First and last of the HTTP ports that Serve's replicas listen on behind HAProxy."""
        return self.first + 20, self.first + 83


def pick_ports(dashboard: int | None, serve: int | None) -> RayPorts:
    """Return ports that are free now, from a block of their own.

    Raises:
        Unmet: when no block is wholly free.
    """
    blocks = (HIGHEST - LOWEST) // BLOCK
    start = secrets.randbelow(blocks)
    for step in range(blocks):
        first = LOWEST + (start + step) % blocks * BLOCK
        if all(is_free(port) for port in range(first, first + BLOCK)):
            return RayPorts(first=first, dashboard=dashboard or first, serve=serve or first + 1)
    raise Unmet(f"{BLOCK} free ports in a row for Ray", f"none between {LOWEST} and {HIGHEST}", "Stop other Ray heads: `make down`.")


def command(ports: RayPorts, temp_dir: Path, num_cpus: int) -> Sequence[str]:
    """Return the words that start a head which stays in the foreground, so that one pid stands for all of it."""
    at = ports.first
    flags = {
        "node-ip-address": LOOPBACK,
        "temp-dir": temp_dir,
        "num-cpus": num_cpus,
        "object-store-memory": OBJECT_STORE_BYTES,
        "port": ports.gcs,
        "dashboard-host": LOOPBACK,
        "dashboard-port": ports.dashboard,
        "ray-client-server-port": at + 3,
        "dashboard-agent-listen-port": at + 4,
        "dashboard-agent-grpc-port": at + 5,
        "runtime-env-agent-port": at + 6,
        "node-manager-port": at + 7,
        "object-manager-port": at + 8,
        "metrics-export-port": ports.metrics,
        "min-worker-port": at + 128,
        "max-worker-port": at + BLOCK - 1,
        "log-color": "false",
    }
    words = [f"--{name}={value}" for name, value in flags.items()]
    return [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats", *words]


def most_connections(descriptors: int) -> int:
    """How many connections HAProxy may take with so many file descriptors: it does not start with more than it could serve.

    Each has two ends, and every fourth a pipe.
    """
    if descriptors < 0:  # no limit
        return MOST_CONNECTIONS
    return max(1, min(MOST_CONNECTIONS, int((descriptors - 200) / 2.6)))


def environment(ports: RayPorts, proxy_dir: Path, token_file: Path, python_path: Sequence[Path]) -> Mapping[str, str]:
    """Return what the head, and everything that it starts, finds in its environment."""
    at = ports.first
    first_http, last_http = ports.replicas
    settings: dict[str, str | int | Path] = {
        **SERVE_SETTINGS,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": token_file,
        # As on macOS: the node's address is 127.0.0.1 and nothing is offered to the network.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": 0,
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": 0,
        "AUTOSCALER_METRIC_PORT": at + 10,
        "DASHBOARD_METRIC_PORT": at + 11,
        # There is room for many silent connections before others are kept out.
        "RAY_SERVE_HAPROXY_MAXCONN": most_connections(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": proxy_dir / "haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": proxy_dir / "admin.sock",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": proxy_dir / "metrics.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": proxy_dir,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": proxy_dir / "server-state",
        "RAY_SERVE_HAPROXY_METRICS_PORT": at + 12,
        "RAY_SERVE_HAPROXY_STATS_PORT": at + 13,
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": at + 14,
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": at + 15,
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": first_http,
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": last_http,
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": at + 84,
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": at + 127,
        # Nobody is far away: a leaving replica or proxy is given a second, not half a minute.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": 1,
        "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": 1,
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": 10,
        "OMP_NUM_THREADS": 1,
    }
    if python_path:
        settings["PYTHONPATH"] = ":".join(str(path.resolve()) for path in python_path)
    return {name: str(value) for name, value in settings.items()}
