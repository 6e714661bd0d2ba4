"""Figures of a process on Ray: its node's Ray agent exports them, with `ray_` before each name (ADR 15).

Ray ends a worker's gauges some seconds after the worker; its counters stay until the agent restarts and stand still.
"""

from ray.util.metrics import Counter, Gauge, Histogram

from ray_apps.ingest.metrics import EXPORTED
from recsys_schemas.metric_names import Metric


class RayMeters:
    """Figures through Ray's agent; what is recorded before `ray.init` or without an agent goes nowhere, and harms nothing."""

    def __init__(self) -> None:
        self._made = {metric.name: _made(metric) for metric in EXPORTED}

    def record(self, metric: Metric, value: float, labels: dict[str, str]) -> None:
        """As `Meters.record`."""
        match self._made[metric.name]:
            case Counter() as counter:
                counter.inc(value, labels)
            case Gauge() as gauge:
                gauge.set(value, labels)
            case histogram:
                histogram.observe(value, labels)


def _made(metric: Metric) -> Counter | Gauge | Histogram:
    match metric.kind:
        case "counter":
            return Counter(metric.name, metric.help, metric.labels)
        case "gauge":
            return Gauge(metric.name, metric.help, metric.labels)
        case "histogram":
            return Histogram(metric.name, metric.help, list(metric.buckets), metric.labels)
