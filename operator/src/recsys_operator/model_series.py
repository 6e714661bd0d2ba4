"""The series of each model: what its newest pass found replaces what the one before did, and a model that is gone has none."""

import threading
from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from recsys_operator.figures import Figure
from recsys_operator.state.observed import Key


class ModelSeries(Collector):
    """Gauges by model. Written by the event loop, collected by the thread that answers Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lock = threading.Lock()
        self._of: dict[Key, tuple[Figure, ...]] = {}
        registry.register(self)

    def replace(self, key: Key, figures: Iterable[Figure]) -> None:
        """Let these be all series of a model."""
        made = tuple(figures)
        with self._lock:
            self._of[key] = made

    def forget(self, key: Key) -> None:
        """A model that is gone leaves no series behind."""
        with self._lock:
            self._of.pop(key, None)

    def clear(self) -> None:
        """Who does not lead any more knows nothing of any model: two would tell two truths."""
        with self._lock:
            self._of.clear()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Families as prometheus_client wants them."""
        with self._lock:
            figures = [figure for each in self._of.values() for figure in each]
        families: dict[str, GaugeMetricFamily] = {}
        for figure in figures:
            metric = figure.metric
            family = families.setdefault(metric.name, GaugeMetricFamily(metric.name, metric.help, labels=metric.labels))
            family.add_metric(figure.labels, figure.value)
        return families.values()
