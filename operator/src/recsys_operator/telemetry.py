"""Logs (one JSON event a line on stdout), metrics, and the answers to probes."""

import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pythonjsonlogger.json import JsonFormatter

from recsys_operator.model_series import ModelSeries
from recsys_operator.state.observed import Key
from recsys_schemas import metric_names
from recsys_schemas.metric_names import Metric

REGISTRY = CollectorRegistry()
STUCK_S = 30.0
"""An event loop that has not turned for so long is stuck."""

_LIBRARIES = ("httpx", "httpcore", "kopf", "aiohttp", "asyncio")


def set_up_logging(level: str) -> None:
    """Send every log line to stdout as one JSON object."""
    handler = logging.StreamHandler(sys.stdout)
    names = {"levelname": "level", "name": "logger"}
    handler.setFormatter(
        JsonFormatter("%(levelname)s %(name)s %(message)s", rename_fields=names, timestamp="time", json_ensure_ascii=False)
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(max(logging.getLevelNamesMapping()[level], logging.WARNING))


def _counter(metric: Metric) -> Counter:
    return Counter(metric.name, metric.help, metric.labels, registry=REGISTRY)


def _gauge(metric: Metric) -> Gauge:
    return Gauge(metric.name, metric.help, metric.labels, registry=REGISTRY)


def _histogram(metric: Metric) -> Histogram:
    return Histogram(metric.name, metric.help, metric.labels, registry=REGISTRY, buckets=metric.buckets or Histogram.DEFAULT_BUCKETS)


RECONCILES = _counter(metric_names.RECONCILES)
RECONCILE_SECONDS = _histogram(metric_names.RECONCILE_SECONDS)
ACTIONS = _counter(metric_names.ACTIONS)
LEADER = _gauge(metric_names.LEADER)
INGEST_RESTARTS = _counter(metric_names.INGEST_RESTARTS)
MODELS = ModelSeries(REGISTRY)


def forget(key: Key) -> None:
    """A model that is gone leaves no series behind."""
    MODELS.forget(key)
    with suppress(KeyError):
        INGEST_RESTARTS.remove(key.namespace, key.name)


def forget_all() -> None:
    """Who does not lead any more knows nothing of any model."""
    MODELS.clear()
    INGEST_RESTARTS.clear()


@dataclass(slots=True, kw_only=True)
class Probes:
    """What /healthz and /readyz are answered from: the event loop marks its turns here."""

    ready: Callable[[], bool]
    turned_at: float = field(default_factory=time.monotonic)

    @property
    def alive(self) -> bool:
        """Whether the event loop turns."""
        return time.monotonic() < self.turned_at + STUCK_S


def serve_http(host: str, port: int, probes: Probes) -> ThreadingHTTPServer:
    """Answer /healthz, /readyz and /metrics from a thread of their own, so that a stuck loop is told, not hidden.

    Raises:
        OSError: the address cannot be listened on.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            match self.path.split("?", 1)[0]:
                case "/healthz":
                    self._answer(probes.alive, b"the event loop turns\n", b"the event loop is stuck\n")
                case "/readyz":
                    self._answer(probes.alive and probes.ready(), b"ready\n", b"the Kubernetes API has not answered\n")
                case "/metrics":
                    self._send(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(REGISTRY))
                case _:
                    self._send(HTTPStatus.NOT_FOUND, "text/plain", b"here are /healthz, /readyz and /metrics\n")

        def _answer(self, good: bool, yes: bytes, no: bytes) -> None:
            self._send(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", yes if good else no)

        def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the standard library's
            """Probes come every few seconds: not worth a line."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server
