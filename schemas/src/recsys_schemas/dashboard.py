"""The Grafana dashboard of one model, in Grafana's own JSON: the first row is ingest, the next ones follow the events' way."""

from dataclasses import dataclass
from typing import Any

from recsys_schemas import metric_names as names
from recsys_schemas.metric_names import Metric

UID = "recsys-model"
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH, _HEIGHT = 24, 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One PromQL expression, and how its series are named."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One graph."""

    title: str
    unit: str
    """Grafana's name of the unit."""
    words: str
    """What to see in it, and what to do."""
    queries: tuple[Query, ...]


def _of(metric: Metric, series: str = "", **more: str) -> str:
    """The model's series of a metric."""
    own = {"model": "$namespace/$model"} if metric.source == "serving" else {"namespace": "$namespace", "model": "$model"}
    words = ",".join(f'{label}="{value}"' for label, value in (own | more).items())
    return f"{metric.name}{series}{{{words}}}"


def _rate(metric: Metric, by: str = "", series: str = "", **more: str) -> str:
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({_of(metric, series, **more)}[$__rate_interval]))"


def _p99(metric: Metric, by: str = "") -> str:
    grouped = f"le, {by}" if by else "le"
    return f"histogram_quantile(0.99, {_rate(metric, grouped, '_bucket')})"


def _one(title: str, unit: str, words: str, *queries: tuple[str, str]) -> Panel:
    return Panel(title=title, unit=unit, words=words, queries=tuple(Query(expr=expr, legend=legend) for expr, legend in queries))


INGEST = (
    _one(
        "Lag, records",
        "short",
        "Offsets that can be read and that no snapshot covers; 0 at rest. Told by the operator, also while ingest is dead.",
        (_of(names.INGEST_LAG), "{{topic}}-{{partition}}"),
    ),
    _one(
        "Lag, seconds",
        "s",
        "How long the oldest of them could have been read. Growing in a straight line: ingest stands still.",
        (_of(names.INGEST_LAG_SECONDS), "{{topic}}-{{partition}}"),
        (_of(names.INGEST_HELD_SECONDS), "held by an open transaction"),
    ),
    _one("Rows/s", "rows/s", "Published in snapshots, by event type.", (_rate(names.INGEST_ROWS, "event_type"), "{{event_type}}")),
    _one(
        "Dead letters/s",
        "cps",
        "Put aside, by reason; the dead-letter topic holds each of them.",
        (_rate(names.INGEST_DEAD, "reason"), "{{reason}}"),
    ),
    _one(
        "Commit p99",
        "s",
        "From a written batch to its visible commit, and the part of the time that reading waited for writing.",
        (_p99(names.INGEST_COMMIT_SECONDS), "p99"),
        (_rate(names.INGEST_PAUSED_SECONDS), "paused, s/s"),
    ),
    _one(
        "Consumers",
        "short",
        "Processes that are to read, and those that do.",
        (_of(names.INGEST_CONSUMERS), "wanted"),
        (f"sum ({_of(names.INGEST_READING)})", "reading"),
    ),
)
SNAPSHOTS = (
    _one("Age of the newest snapshot", "s", "It grows while no event comes, too.", (f"time() - {_of(names.SNAPSHOT_TIME)}", "age")),
    _one(
        "Dead letters among the newest records",
        "percentunit",
        "Above the limit training is held.",
        (_of(names.DEAD_LETTER_FRACTION), "fraction"),
        (_of(names.DEAD_LETTER_LIMIT), "limit"),
    ),
    _one("Bytes/s", "Bps", "Of the Parquet files published.", (_rate(names.INGEST_BYTES, "event_type"), "{{event_type}}")),
    _one(
        "Restarts and failed sessions, 15 min",
        "short",
        "Jobs that ended by themselves, and sessions that failed inside one.",
        (f"increase({_of(names.INGEST_RESTARTS)}[15m])", "jobs"),
        (f"sum (increase({_of(names.INGEST_FAILURES)}[15m]))", "sessions"),
    ),
)
SERVING = (
    _one("Ready", "short", "1 while a champion serves.", (_of(names.MODEL_READY), "ready")),
    _one("Share of users", "percent", "By arm, as the replicas report it.", (_of(names.ARM_SHARE), "{{variant}}")),
    _one("Answers/s", "reqps", "By arm and reason.", (_rate(names.SERVE_REQUESTS, "variant, reason"), "{{variant}} {{reason}}")),
    _one("Answer p99", "s", "In the replica, by arm.", (_p99(names.SERVE_SECONDS, "variant"), "{{variant}}")),
)
OPERATOR = (
    _one("Leaders", "short", "1, always.", (f"sum ({names.LEADER.name})", "leaders")),
    _one(
        "Passes/s",
        "ops",
        "Over all models, by outcome.",
        (f"sum by (outcome) (rate({names.RECONCILES.name}[$__rate_interval]))", "{{outcome}}"),
    ),
    _one(
        "Pass p99",
        "s",
        "Over all models.",
        (f"histogram_quantile(0.99, sum by (le) (rate({names.RECONCILE_SECONDS.name}_bucket[$__rate_interval])))", "p99"),
    ),
)
ROWS = {"Ingest": INGEST, "Snapshots": SNAPSHOTS, "Serving": SERVING, "Operator (all models)": OPERATOR}


def dashboard(how: str) -> dict[str, Any]:
    """The document that Grafana imports; `how` says how it was made."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": _at(0, top, _WIDTH, 1)}
        )
        width = _WIDTH // len(row)
        for place, panel in enumerate(row):
            panels.append(_panel(panel, len(panels) + 1, _at(place * width, top + 1, width, _HEIGHT)))
        top += 1 + _HEIGHT
    return {
        "description": how,
        "uid": UID,
        "title": "Recommender model",
        "tags": ["recsys"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_datasource(), _variable("namespace"), _variable("model", namespace="$namespace")]},
        "panels": panels,
    }


def _at(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": query.expr, "legendFormat": query.legend}
        for index, query in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.words,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": targets,
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _variable(label: str, **given: str) -> dict[str, Any]:
    words = ",".join(f'{name}="{value}"' for name, value in given.items())
    query = f"label_values({names.MODEL_READY.name}{{{words}}}, {label})"
    return {"name": label, "type": "query", "datasource": _SOURCE, "query": query, "refresh": 2, "sort": 1, "label": label.capitalize()}
