"""What this replica has counted, as Prometheus text. Names come from the schemas."""

from collections import Counter
from collections.abc import Iterable, Mapping

from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from ray_apps.serving.counters import BOUNDS_MS, Tally
from ray_apps.serving.switch_times import SwitchTimes
from recsys_schemas.metric_names import (
    SERVE_EXPLORED,
    SERVE_FILTERED,
    SERVE_IN_HAND,
    SERVE_LOG_DROPPED,
    SERVE_REQUESTS,
    SERVE_SECONDS,
    SERVE_SHED,
    SERVE_SHORTLIST_RECALL,
    SERVE_SWITCH_SECONDS,
)


class AnswerMetrics(Collector):
    """Counts of every answer of the recommendations endpoint, errors included."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._answers: Counter[tuple[str, str, str]] = Counter()
        self._times: dict[str, Tally] = {}
        self.dropped = self.filtered = self.explored = self.shed = 0
        self.in_hand = 0.0
        self.switches = SwitchTimes()
        self.recalls: Mapping[str, float] = {}

    def count(self, variant: str, reason: str, status: int, milliseconds: float) -> None:
        """Count one answer; variant and reason are empty for errors."""
        self._answers[variant, reason, str(status)] += 1
        if variant:
            self._times.setdefault(variant, Tally()).observe(milliseconds)

    def text(self) -> bytes:
        """The exposition format of Prometheus."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterable[Metric]:
        """Families as prometheus_client wants them."""
        answers = CounterMetricFamily(SERVE_REQUESTS.name, SERVE_REQUESTS.help, labels=SERVE_REQUESTS.labels)
        for (variant, reason, status), count in list(self._answers.items()):
            answers.add_metric([self._model, variant, reason, status], count)
        times = HistogramMetricFamily(SERVE_SECONDS.name, SERVE_SECONDS.help, labels=SERVE_SECONDS.labels)
        for variant, tally in list(self._times.items()):
            times.add_metric([self._model, variant], buckets=_in_seconds(tally), sum_value=tally.latency_ms_sum / 1000)
        dropped = CounterMetricFamily(SERVE_LOG_DROPPED.name, SERVE_LOG_DROPPED.help, labels=SERVE_LOG_DROPPED.labels)
        dropped.add_metric([self._model], self.dropped)
        switches = HistogramMetricFamily(SERVE_SWITCH_SECONDS.name, SERVE_SWITCH_SECONDS.help, labels=SERVE_SWITCH_SECONDS.labels)
        switches.add_metric([self._model], buckets=self.switches.buckets(), sum_value=self.switches.seconds)
        in_hand = GaugeMetricFamily(SERVE_IN_HAND.name, SERVE_IN_HAND.help, labels=SERVE_IN_HAND.labels)
        in_hand.add_metric([self._model], self.in_hand)
        recalls = GaugeMetricFamily(SERVE_SHORTLIST_RECALL.name, SERVE_SHORTLIST_RECALL.help, labels=SERVE_SHORTLIST_RECALL.labels)
        for version, recall in self.recalls.items():
            recalls.add_metric([self._model, version], recall)
        return [answers, times, dropped, switches, in_hand, recalls, *self._plain()]

    def _plain(self) -> Iterable[Metric]:
        for metric, count in ((SERVE_FILTERED, self.filtered), (SERVE_EXPLORED, self.explored), (SERVE_SHED, self.shed)):
            family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
            family.add_metric([self._model], count)
            yield family


def _in_seconds(tally: Tally) -> list[tuple[str, float]]:
    cumulative = tally.counters().latency_buckets.values()
    names = [str(bound / 1000) for bound in BOUNDS_MS] + ["+Inf"]
    return list(zip(names, cumulative, strict=True))
