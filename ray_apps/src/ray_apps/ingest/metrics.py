"""What ingest exports to Prometheus; names and labels are `recsys_schemas.metric_names`."""

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from ray_apps.ingest.publishing import Committed
from recsys_schemas.metric_names import INGEST_COMMIT_SECONDS, INGEST_DEAD, INGEST_LAG, INGEST_ROWS
from recsys_schemas.train_job import ModelIdentity


class Metrics:
    """Counts commits of one model."""

    def __init__(self, model: ModelIdentity, registry: CollectorRegistry = REGISTRY) -> None:
        self._model = model
        self._rows = Counter(INGEST_ROWS.name, INGEST_ROWS.help, INGEST_ROWS.labels, registry=registry)
        self._dead = Counter(INGEST_DEAD.name, INGEST_DEAD.help, INGEST_DEAD.labels, registry=registry)
        seconds = Histogram(INGEST_COMMIT_SECONDS.name, INGEST_COMMIT_SECONDS.help, INGEST_COMMIT_SECONDS.labels, registry=registry)
        lag = Gauge(INGEST_LAG.name, INGEST_LAG.help, INGEST_LAG.labels, registry=registry)
        self._seconds = seconds.labels(model=model.name)
        self._lag = lag.labels(namespace=model.namespace, model=model.name)

    def committed(self, commit: Committed) -> None:
        """Count a visible commit."""
        self._rows.labels(model=self._model.name, event_type=commit.event_type).inc(commit.rows)
        for reason, count in commit.dead_letters.items():
            self._dead.labels(model=self._model.name, reason=reason.value).inc(count)
        self._seconds.observe(commit.seconds)

    def behind(self, records: int) -> None:
        """Note how many records no snapshot covers yet."""
        self._lag.set(records)
