"""Every Prometheus metric that the product exports: name → (type, labels, help). Dashboards and alerts use these names only."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric as it is exported."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str


RECONCILES = Metric(name="recsys_reconciles_total", kind="counter", labels=("outcome",), help="Passes over a model, by outcome.")
RECONCILE_SECONDS = Metric(name="recsys_reconcile_seconds", kind="histogram", labels=(), help="Wall time of one pass.")
ACTIONS = Metric(name="recsys_actions_total", kind="counter", labels=("action", "outcome"), help="Actions applied, by kind and outcome.")
LEADER = Metric(name="recsys_leader", kind="gauge", labels=(), help="1 while this process holds the lease.")
MODEL_READY = Metric(
    name="recsys_model_ready", kind="gauge", labels=("namespace", "model"), help="1 while the model's Ready condition is True."
)
ARM_SHARE = Metric(name="recsys_arm_share_percent", kind="gauge", labels=("namespace", "model", "variant"), help="Share of users, percent.")
INGEST_LAG = Metric(
    name="recsys_ingest_lag_records",
    kind="gauge",
    labels=("namespace", "model"),
    help="Committed records on the event topics that no snapshot covers yet.",
)
UPKEEP_TIME = Metric(
    name="recsys_upkeep_timestamp_seconds",
    kind="gauge",
    labels=("namespace", "model"),
    help="When upkeep last compacted the tables and enforced retention, in seconds since 1970.",
)
TABLE_FILES = Metric(
    name="recsys_table_files", kind="gauge", labels=("namespace", "model"), help="Files of all tables after the last run of upkeep."
)
INGEST_ROWS = Metric(name="recsys_ingest_rows_total", kind="counter", labels=("model", "event_type"), help="Rows published in snapshots.")
INGEST_DEAD = Metric(
    name="recsys_ingest_dead_letters_total", kind="counter", labels=("model", "reason"), help="Records put aside, by reason."
)
INGEST_COMMIT_SECONDS = Metric(
    name="recsys_ingest_commit_seconds", kind="histogram", labels=("model",), help="Time from cutting a batch to its visible commit."
)
SERVE_REQUESTS = Metric(
    name="recsys_requests_total", kind="counter", labels=("model", "variant", "reason", "status"), help="Answers of the serving API."
)
SERVE_SECONDS = Metric(name="recsys_request_seconds", kind="histogram", labels=("model", "variant"), help="Time in the replica.")
SERVE_LOG_DROPPED = Metric(
    name="recsys_answer_log_dropped_total",
    kind="counter",
    labels=("model",),
    help="Answers that could not be logged to Kafka because the queue was full.",
)

ALL = (
    RECONCILES,
    RECONCILE_SECONDS,
    ACTIONS,
    LEADER,
    MODEL_READY,
    ARM_SHARE,
    INGEST_LAG,
    UPKEEP_TIME,
    TABLE_FILES,
    INGEST_ROWS,
    INGEST_DEAD,
    INGEST_COMMIT_SECONDS,
    SERVE_REQUESTS,
    SERVE_SECONDS,
    SERVE_LOG_DROPPED,
)
