"""Every Prometheus metric that the product exports, and the process that exports it. Dashboards and alerts use these names only.

What the operator exports is there also while ingest is dead, for the operator reads it from the brokers, the snapshots and Ray.
What processes on Ray count is exported by their node's Ray agent, which puts `ray_` before each name and labels of its own to it;
the chart's PodMonitor takes that prefix off again (ADR 15). Counters begin at 0 with each process, as `rate()` expects: the exact
numbers of rows and dead letters are the snapshot's.
"""

from dataclasses import dataclass
from typing import Literal

Source = Literal["operator", "ingest", "serving"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric as it is exported."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    source: Source
    unit: str
    """What one of it is; empty for words such as 0 and 1."""
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, without the last one (+Inf); empty: those of the client library."""


MODEL = ("namespace", "model")
PLACE = (*MODEL, "topic", "partition")
COMMIT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


def _operator(name: str, unit: str, labels: tuple[str, ...], help_: str) -> Metric:
    return Metric(name=name, kind="gauge", source="operator", unit=unit, labels=labels, help=help_)


def _ingest(name: str, unit: str, labels: tuple[str, ...], help_: str) -> Metric:
    return Metric(name=name, kind="counter", source="ingest", unit=unit, labels=(*MODEL, *labels), help=help_)


def _serving(name: str, unit: str, labels: tuple[str, ...], help_: str) -> Metric:
    return Metric(name=name, kind="counter", source="serving", unit=unit, labels=("model", *labels), help=help_)


RECONCILES = Metric(
    name="recsys_reconciles_total",
    kind="counter",
    source="operator",
    unit="passes",
    labels=("outcome",),
    help="Passes over a model, by outcome.",
)
RECONCILE_SECONDS = Metric(
    name="recsys_reconcile_seconds", kind="histogram", source="operator", unit="seconds", labels=(), help="Wall time of one pass."
)
ACTIONS = Metric(
    name="recsys_actions_total",
    kind="counter",
    source="operator",
    unit="actions",
    labels=("action", "outcome"),
    help="Actions applied, by kind and outcome.",
)
LEADER = _operator("recsys_leader", "", (), "1 while this process holds the lease.")
MODEL_READY = _operator("recsys_model_ready", "", MODEL, "1 while the model's Ready condition is True.")
ARM_SHARE = _operator("recsys_arm_share_percent", "percent", (*MODEL, "variant"), "Share of users, percent.")

INGEST_LAG = _operator(
    "recsys_ingest_lag_records",
    "offsets",
    PLACE,
    "Offsets that can be read and that no snapshot covers yet: an upper bound of such records, and 0 when there are none.",
)
INGEST_LAG_SECONDS = _operator(
    "recsys_ingest_lag_seconds", "seconds", PLACE, "How long the oldest of them could have been read by now; 0 when there are none."
)
INGEST_HELD_SECONDS = _operator(
    "recsys_ingest_held_seconds",
    "seconds",
    MODEL,
    "How long records have stood behind an open transaction, where nobody may read them, at the partition where it is longest.",
)
INGEST_CONSUMERS = _operator("recsys_ingest_consumers", "processes", MODEL, "Processes that are to read, between consumers.min and max.")
INGEST_RESTARTS = Metric(
    name="recsys_ingest_restarts_total",
    kind="counter",
    source="operator",
    unit="jobs",
    labels=MODEL,
    help="Ingest jobs that ended by themselves and were started again.",
)
SNAPSHOT_TIME = _operator(
    "recsys_snapshot_timestamp_seconds", "seconds", MODEL, "When the newest snapshot was committed, in seconds since 1970."
)
SNAPSHOT_ROWS = _operator("recsys_snapshot_rows", "rows", MODEL, "Rows in the newest snapshot.")
DEAD_LETTER_FRACTION = _operator("recsys_dead_letter_fraction", "ratio", MODEL, "Part of the newest records that was put aside.")
DEAD_LETTER_LIMIT = _operator(
    "recsys_dead_letter_fraction_limit", "ratio", MODEL, "What spec.data.snapshot.maxDeadLetterFraction allows of it."
)
UPKEEP_TIME = _operator(
    "recsys_upkeep_timestamp_seconds",
    "seconds",
    MODEL,
    "When upkeep last compacted the tables and enforced retention, in seconds since 1970.",
)
TABLE_FILES = _operator("recsys_table_files", "files", MODEL, "Files of all tables after the last run of upkeep.")

INGEST_ROWS = _ingest("recsys_ingest_rows_total", "rows", ("event_type",), "Rows published in snapshots.")
INGEST_BYTES = _ingest("recsys_ingest_bytes_total", "bytes", ("event_type",), "Bytes of the Parquet files published in snapshots.")
INGEST_DEAD = _ingest("recsys_ingest_dead_letters_total", "records", ("reason",), "Records put aside, by reason.")
INGEST_COMMIT_SECONDS = Metric(
    name="recsys_ingest_commit_seconds",
    kind="histogram",
    source="ingest",
    unit="seconds",
    labels=MODEL,
    help="Time from a written batch to its visible commit.",
    buckets=COMMIT_BUCKETS,
)
INGEST_PAUSES = _ingest("recsys_ingest_pauses_total", "pauses", (), "Times that reading waited because writing had two batches before it.")
INGEST_PAUSED_SECONDS = _ingest("recsys_ingest_paused_seconds_total", "seconds", (), "How long reading waited for writing.")
INGEST_FAILURES = _ingest(
    "recsys_ingest_session_failures_total", "sessions", (), "Sessions of reading and publishing that failed; the next one begins by itself."
)
INGEST_READING = Metric(
    name="recsys_ingest_reading",
    kind="gauge",
    source="ingest",
    unit="",
    labels=(*MODEL, "lane"),
    help="1 for each process that reads now; its series ends with it.",
)

SERVE_REQUESTS = _serving("recsys_requests_total", "answers", ("variant", "reason", "status"), "Answers of the serving API.")
SERVE_SECONDS = Metric(
    name="recsys_request_seconds",
    kind="histogram",
    source="serving",
    unit="seconds",
    labels=("model", "variant"),
    help="Time in the replica.",
)
SERVE_LOG_DROPPED = _serving(
    "recsys_answer_log_dropped_total", "answers", (), "Answers that could not be logged to Kafka because the queue was full."
)
SERVE_SHED = _serving(
    "recsys_requests_shed_total", "answers", (), "Requests refused with 429 because a replica had more to do than it could bear."
)
SERVE_IN_HAND = Metric(
    name="recsys_requests_in_hand",
    kind="gauge",
    source="serving",
    unit="requests",
    labels=("model",),
    help="Requests that a replica has in hand, waiting ones among them, over the last second or so: what spec.serving.autoscaling goes by.",
)
SERVE_FILTERED = _serving("recsys_filtered_answers_total", "answers", (), "Answers to questions with filters.")
SERVE_EXPLORED = _serving("recsys_explored_answers_total", "answers", (), "Answers in whose last place something new was tried out.")
SERVE_SWITCH_SECONDS = Metric(
    name="recsys_switch_seconds",
    kind="histogram",
    source="serving",
    unit="seconds",
    labels=("model",),
    help="From a serving record's coming to a replica that serves until it is in force there; versions are loaded meanwhile.",
    buckets=(0.001, 0.01, 0.05, 0.2, 1.0, 5.0, 30.0),
)
SERVE_SHORTLIST_RECALL = Metric(
    name="recsys_shortlist_recall",
    kind="gauge",
    source="serving",
    unit="",
    labels=("model", "version"),
    help="Part of the exact best 20 that a version's shortlist finds, 0 to 1, measured on users of its own; for versions that have one.",
)

ALL = (
    RECONCILES,
    RECONCILE_SECONDS,
    ACTIONS,
    LEADER,
    MODEL_READY,
    ARM_SHARE,
    INGEST_LAG,
    INGEST_LAG_SECONDS,
    INGEST_HELD_SECONDS,
    INGEST_CONSUMERS,
    INGEST_RESTARTS,
    SNAPSHOT_TIME,
    SNAPSHOT_ROWS,
    DEAD_LETTER_FRACTION,
    DEAD_LETTER_LIMIT,
    UPKEEP_TIME,
    TABLE_FILES,
    INGEST_ROWS,
    INGEST_BYTES,
    INGEST_DEAD,
    INGEST_COMMIT_SECONDS,
    INGEST_PAUSES,
    INGEST_PAUSED_SECONDS,
    INGEST_FAILURES,
    INGEST_READING,
    SERVE_REQUESTS,
    SERVE_SECONDS,
    SERVE_LOG_DROPPED,
    SERVE_SHED,
    SERVE_IN_HAND,
    SERVE_FILTERED,
    SERVE_EXPLORED,
    SERVE_SWITCH_SECONDS,
    SERVE_SHORTLIST_RECALL,
)
