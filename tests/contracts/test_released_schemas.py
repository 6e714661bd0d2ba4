"""What was released stays readable: the present schemas are judged against every frozen release."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft4Validator

from recsys_schemas import generate
from recsys_schemas.evolution import Breach, compatible

ROOT = Path(__file__).resolve().parents[2]
RELEASED = ROOT / "schemas" / "released"
FROZEN = sorted(path.relative_to(RELEASED) for path in RELEASED.rglob("*.schema.json"))
PRESENT = generate.outputs()


def test_the_first_release_froze_every_event_and_what_is_kept_for_years():
    frozen = {str(path.relative_to("v0.1.0")) for path in FROZEN if path.parts[0] == "v0.1.0"}
    assert frozen == {f"events/{name}.schema.json" for name in ("watch", "rate", "reco_requests", "reco_responses", "dead_letter")} | {
        "artifacts/snapshot_manifest.schema.json",
        "artifacts/version_card.schema.json",
    }


@pytest.mark.parametrize("path", FROZEN, ids=str)
def test_the_present_schema_may_follow_what_was_released(path: Path):
    old = json.loads((RELEASED / path).read_text())
    new = json.loads(PRESENT["schemas/" + str(Path(*path.parts[1:]))])
    assert [str(violation) for violation in compatible(old, new)] == []


@pytest.mark.parametrize("path", FROZEN, ids=str)
def test_taking_any_field_out_of_a_released_schema_is_noticed(path: Path):
    schema = json.loads((RELEASED / path).read_text())
    for field in schema["properties"]:
        without = schema | {"properties": {name: child for name, child in schema["properties"].items() if name != field}}
        assert (f".{field}", Breach.REMOVED) in [(v.path, v.breach) for v in compatible(schema, without)]


def test_a_release_is_frozen_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert generate.main(["--release", "v9.9.9", "--root", str(tmp_path)]) == 0
    assert sum(path.is_file() for path in (tmp_path / "schemas/released/v9.9.9").rglob("*")) == len(generate.released(PRESENT))
    assert generate.main(["--release", "v9.9.9", "--root", str(tmp_path)]) == 1
    assert "frozen once" in capsys.readouterr().err


DEFINITIONS = sorted(path.relative_to(RELEASED) for path in RELEASED.glob("*/definitions/*.yaml"))


def object_schema(text: str) -> dict[str, Any]:
    """The schema of the version that a definition stores."""
    (stored,) = [version for version in yaml.safe_load(text)["spec"]["versions"] if version["storage"]]
    return stored["schema"]["openAPIV3Schema"]


@pytest.mark.parametrize("path", DEFINITIONS, ids=str)
def test_a_present_definition_may_follow_what_was_released(path: Path):
    old = object_schema((RELEASED / path).read_text())
    new = object_schema(PRESENT[f"{generate.CRD_FOLDER}/{path.name}"])
    assert [str(violation) for violation in compatible(old, new)] == []


@pytest.mark.parametrize("path", DEFINITIONS, ids=str)
def test_taking_any_field_out_of_a_released_spec_is_noticed(path: Path):
    schema = object_schema((RELEASED / path).read_text())
    fields = schema["properties"]["spec"]["properties"]
    for field in fields:
        spec = schema["properties"]["spec"] | {"properties": {name: child for name, child in fields.items() if name != field}}
        without = schema | {"properties": schema["properties"] | {"spec": spec}}
        assert (f".spec.{field}", Breach.REMOVED) in [(v.path, v.breach) for v in compatible(schema, without)]


def unknown_defaults(old: dict[str, Any], new: dict[str, Any], path: str = "") -> Iterator[str]:
    """Defaults that the older schema refuses: they are in every object at once, and the operator of the release before stalls on them."""
    for error in Draft4Validator(old).iter_errors(new["default"]) if "default" in new else ():
        yield f"{path}: {error.message[:200]}"
    for name, child in new.get("properties", {}).items():
        if name in old.get("properties", {}):
            yield from unknown_defaults(old["properties"][name], child, f"{path}.{name}")
    if isinstance(new.get("items"), dict) and isinstance(old.get("items"), dict):
        yield from unknown_defaults(old["items"], new["items"], f"{path}[]")


@pytest.mark.parametrize("path", DEFINITIONS, ids=str)
def test_no_default_has_a_value_that_the_release_before_does_not_know(path: Path):
    old = object_schema((RELEASED / path).read_text())
    new = object_schema(PRESENT[f"{generate.CRD_FOLDER}/{path.name}"])
    assert list(unknown_defaults(old, new)) == []


def test_a_default_of_a_role_that_is_new_is_noticed():
    new = object_schema(PRESENT[f"{generate.CRD_FOLDER}/recommendermodels.yaml"])
    old = json.loads(json.dumps(new))
    role = old["properties"]["spec"]["properties"]["kafka"]["properties"]["topics"]["items"]["properties"]["role"]
    role["enum"].remove("Decisions")
    (found,) = unknown_defaults(old, new)
    assert found.startswith(".spec.kafka.topics: 'Decisions' is not one of")
