"""The chart speaks only words that the schemas and the operator know."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from recsys_schemas import metric_names
from recsys_schemas.kinds import KINDS

CHART = Path(__file__).resolve().parents[2] / "charts" / "recsys-operator"
METRICS = {metric.name: metric for metric in metric_names.ALL}
HISTOGRAM_SERIES = ("_bucket", "_sum", "_count")


def used(text: str) -> set[str]:
    """Metric names in a text, series of a histogram told by their base."""
    names = set(re.findall(r"\brecsys_[a-z0-9_]+\b", text))
    bases = {name: name.rsplit("_", 1)[0] for name in names if name.endswith(HISTOGRAM_SERIES)}
    return {bases[name] if name in bases and bases[name] in METRICS else name for name in names}


def test_alerts_and_dashboards_use_only_metrics_that_are_exported():
    texts = [path.read_text() for path in CHART.rglob("*") if path.suffix in {".yaml", ".json", ".txt"} and "crds" not in path.parts]
    words = {"recsys_operator", "recsys_schemas"}  # modules: the one that it starts, and the one that prints files of it
    assert {name for text in texts for name in used(text)} - METRICS.keys() - words == set()


def leaves(values: Any, path: str = "") -> dict[str, Any]:
    if isinstance(values, dict) and values:
        return {name: value for key, child in values.items() for name, value in leaves(child, f"{path}.{key}").items()}
    return {path: values}


def test_the_default_values_fit_their_schema_and_every_value_is_in_it():
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.validate(values, schema)
    for path in leaves(values):
        node = schema
        for key in path.strip(".").split("."):
            if "properties" not in node:
                break  # a free object, such as resources
            node = node["properties"][key]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replica": 3}, "replica"),
        ({"replicas": -1}, "-1"),
        ({"operator": {"logLevel": "LOUD"}}, "LOUD"),
        ({"operator": {"watchNamespaces": ["Bad_Name"]}}, "Bad_Name"),
        ({"storage": {"root": "/var/lib"}}, "/var/lib"),
        ({"networkPolicy": {"egress": {"kafkaPorts": [0]}}}, "0"),
    ],
)
def test_values_that_mean_nothing_are_refused(values: dict[str, Any], words: str):
    schema = json.loads((CHART / "values.schema.json").read_text())
    with pytest.raises(jsonschema.ValidationError, match=re.escape(words)):
        jsonschema.validate(values, schema)


def test_every_kind_is_in_the_chart_and_stays_when_the_chart_goes():
    names: set[str] = set()
    for path in (CHART / "files" / "crds").glob("*.yaml"):
        document = yaml.safe_load(path.read_text())
        assert document["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        names.add(document["spec"]["names"]["kind"])
    assert names == {kind.name for kind in KINDS}
