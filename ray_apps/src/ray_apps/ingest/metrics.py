"""What ingest counts for Prometheus; names and labels are `recsys_schemas.metric_names`.

How far the snapshots are behind is not among it: a process that is dead could not say so, and the operator can.
"""

import time
from typing import Protocol

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from ray_apps.ingest.publishing import Committed
from recsys_schemas.metric_names import (
    ALL,
    INGEST_BYTES,
    INGEST_COMMIT_SECONDS,
    INGEST_DEAD,
    INGEST_FAILURES,
    INGEST_PAUSED_SECONDS,
    INGEST_PAUSES,
    INGEST_READING,
    INGEST_ROWS,
    Metric,
)
from recsys_schemas.train_job import ModelIdentity

EXPORTED = tuple(metric for metric in ALL if metric.source == "ingest")
_SAY_EVERY_S = 2.0


class Meters(Protocol):
    """Where figures go: a registry of this process, or Ray's agent."""

    def record(self, metric: Metric, value: float, labels: dict[str, str]) -> None:
        """Add to a counter (values above 0), observe in a histogram, set a gauge; `labels` are all that the metric has."""
        ...


class RegistryMeters:
    """A registry of this process, for who serves it over HTTP."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        kinds = {"counter": Counter, "gauge": Gauge}
        self._made: dict[str, Counter | Gauge | Histogram] = {}
        for metric in EXPORTED:
            if metric.kind == "histogram":
                made = Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets)
            else:
                made = kinds[metric.kind](metric.name, metric.help, metric.labels, registry=registry)
            self._made[metric.name] = made

    def record(self, metric: Metric, value: float, labels: dict[str, str]) -> None:
        """As `Meters.record`."""
        match self._made[metric.name].labels(**labels):
            case Counter() as counter:
                counter.inc(value)
            case Gauge() as gauge:
                gauge.set(value)
            case histogram:
                histogram.observe(value)


class Metrics:
    """Counts what happens to one model's events in this process. Safe to use from several threads."""

    def __init__(self, model: ModelIdentity, meters: Meters, *, lane: int = 0) -> None:
        self._model = {"namespace": model.namespace, "model": model.name}
        self._meters = meters
        self._lane = str(lane)
        self._say_at = 0.0

    def committed(self, commit: Committed) -> None:
        """Count a visible commit."""
        self._count(INGEST_ROWS, commit.rows, event_type=commit.event_type)
        self._count(INGEST_BYTES, commit.bytes, event_type=commit.event_type)
        for reason, count in commit.dead_letters.items():
            self._count(INGEST_DEAD, count, reason=reason.value)
        self._meters.record(INGEST_COMMIT_SECONDS, commit.seconds, self._model)

    def paused(self) -> None:
        """Count that reading begins to wait for writing."""
        self._count(INGEST_PAUSES, 1)

    def waited(self, seconds: float) -> None:
        """Count how long it waited since it said so last."""
        self._count(INGEST_PAUSED_SECONDS, seconds)

    def failed(self) -> None:
        """Count a session that failed."""
        self._count(INGEST_FAILURES, 1)

    def reading(self) -> None:
        """Say that this process reads; to be called again and again, for who does not say it any more does not read."""
        now = time.monotonic()
        if now >= self._say_at:
            self._say_at = now + _SAY_EVERY_S
            self._meters.record(INGEST_READING, 1, {**self._model, "lane": self._lane})

    def ended(self) -> None:
        """Say that it does not read now."""
        self._say_at = 0.0
        self._meters.record(INGEST_READING, 0, {**self._model, "lane": self._lane})

    def _count(self, metric: Metric, value: float, **labels: str) -> None:
        if value > 0:
            self._meters.record(metric, value, {**self._model, **labels})
