"""schemas/openapi.json is what the Ray app prints, and speaks of the schemas' own messages."""

import json
from pathlib import Path

import pytest

from recsys_dev import openapi

TARGET = Path(__file__).resolve().parents[2] / "schemas" / "openapi.json"


def test_the_description_in_the_repository_is_what_the_app_prints():
    assert TARGET.read_text() == openapi.text()


def test_a_description_that_differs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    target = tmp_path / "openapi.json"
    assert openapi.main(["--check", "--target", str(target)]) == 1
    assert "openapi.json differs" in capsys.readouterr().err
    assert openapi.main(["--target", str(target)]) == 0
    assert openapi.main(["--check", "--target", str(target)]) == 0


def test_every_reference_in_the_description_leads_somewhere():
    document = json.loads(TARGET.read_text())
    names = set(document["components"]["schemas"])
    text = json.dumps(document)
    referred = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert referred <= names
    assert {"RecommendationRequest", "RecommendationResponse", "Problem"} <= referred
