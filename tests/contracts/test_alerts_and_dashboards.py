"""Alerts and dashboards read what is exported, as it is exported, and somebody is told what to do."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.promql_words import WrongError, labels_of

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "recsys-operator"
SETTINGS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())["metrics"]["prometheusRule"]
THRESHOLDS = {key: value for key, value in SETTINGS.items() if key not in ("enabled", "labels", "runbook")}
TEXT = (CHART / "files" / "alerts.yaml").read_text()
FILLED = re.sub(r"__(\w+?)__", lambda found: str(THRESHOLDS[found[1]]), TEXT)
GROUPS: list[dict[str, Any]] = yaml.safe_load(FILLED)
ALERTS: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
GUIDE = (ROOT / "docs" / "guides" / "alerts.md").read_text()
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
named = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])


@named
def test_an_alert_reads_only_what_is_exported_and_names_only_labels_that_it_has(alert: dict[str, Any]):
    labels = labels_of(alert["expr"])
    words = " ".join(alert["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", words)) <= labels


@named
def test_an_alert_says_what_is_and_with_which_numbers(alert: dict[str, Any]):
    assert alert.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert alert["labels"].keys() == {"severity"}
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    told = alert["annotations"]
    assert told.keys() == {"summary", "description"}
    says_a_word = ("RecsysOperatorHasNoLeader", "RecsysModelNotReady", "RecsysIngestIsUnseen")
    assert ("$value" in told["summary"]) == (alert["alert"] not in says_a_word)


@named
def test_what_to_do_about_an_alert_stands_under_its_name_in_the_guide(alert: dict[str, Any]):
    section = GUIDE.split(f"\n### {alert['alert']}\n", 1)
    assert len(section) == 2
    assert len(section[1].split("\n#", 1)[0].split()) >= 20


def test_the_guide_knows_no_alert_that_there_is_none_of():
    assert set(re.findall(r"^### (Recsys\w+)$", GUIDE, re.MULTILINE)) == {alert["alert"] for alert in ALERTS}


def test_every_threshold_is_used_and_every_one_used_can_be_set():
    assert set(re.findall(r"__(\w+?)__", TEXT)) == THRESHOLDS.keys()


def queries(dashboard: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Title of the panel, expression and legend of each query."""
    found = [(panel["title"], target) for panel in dashboard["panels"] for target in panel.get("targets", [])]
    return [(title, target["expr"].replace("$__rate_interval", "5m"), target["legendFormat"]) for title, target in found]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_reads_only_what_is_exported_and_names_its_series_by_labels_that_they_have(path: Path):
    found = queries(json.loads(path.read_text()))
    assert found
    for _, expr, legend in found:
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= labels_of(expr)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_panels_fill_the_grid_without_lying_on_each_other(path: Path):
    dashboard = json.loads(path.read_text())
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_first_row_is_ingest():
    (path,) = DASHBOARDS
    panels = json.loads(path.read_text())["panels"]
    rows = [number for number, panel in enumerate(panels) if panel["type"] == "row"]
    assert (rows[0], panels[0]["title"]) == (0, "Ingest")
    first = " ".join(target["expr"] for panel in panels[1 : rows[1]] for target in panel["targets"])
    for metric in (
        "lag_records",
        "lag_seconds",
        "rows_total",
        "dead_letters_total",
        "commit_seconds_bucket",
        "consumers",
        "paused_seconds",
    ):
        assert f"recsys_ingest_{metric}" in first


@pytest.mark.parametrize(
    ("expr", "words"),
    [
        ("recsys_ingest_lag_recrods > 1", "no such metric"),
        ('recsys_ingest_lag_records{topics="watch"} > 1', r"label \['topics'\] is not among"),
        ("sum by (lane) (recsys_ingest_lag_records) > 1", r"label \['lane'\] is not among"),
        ("recsys_ingest_rows_total > 1", "counters are read by rate"),
        ("rate(recsys_ingest_lag_records[5m]) > 1", "gauges are not"),
        ("recsys_ingest_commit_seconds > 1", "a histogram is read by"),
        ("histogram_quantile(0.99, sum by (model) (rate(recsys_ingest_commit_seconds_bucket[5m])))", r"label \['le'\]"),
        ("sum by (model) (recsys_ingest_reading) < recsys_ingest_consumers", "never match"),
        ("sum by (model) (recsys_ingest_reading) < on (namespace) recsys_ingest_consumers", r"label \['namespace'\]"),
        ("sum by (model (recsys_ingest_reading)", "unclosed left parenthesis"),
    ],
)
def test_an_expression_that_could_not_work_is_caught(expr: str, words: str):
    with pytest.raises(WrongError, match=words):
        labels_of(expr)
