import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from recsys_schemas import generate
from recsys_schemas.kinds import KINDS, Kind, crd, open_api

ROOT = Path(__file__).resolve().parents[3]
OUTPUTS = generate.outputs()
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def test_what_lies_in_the_repository_is_what_the_schemas_print():
    assert generate.differing(ROOT, OUTPUTS) == []


def test_a_second_run_writes_nothing_and_a_changed_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert generate.main(["--root", str(tmp_path)]) == 0
    written = capsys.readouterr().out.splitlines()
    assert len(written) == len(OUTPUTS)
    assert generate.main(["--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""
    assert generate.main(["--check", "--root", str(tmp_path)]) == 0
    changed = tmp_path / "schemas/events/watch.schema.json"
    changed.write_text(changed.read_text().replace("128", "129"))
    (tmp_path / "docs/reference/metrics.md").unlink()
    assert generate.main(["--check", "--root", str(tmp_path)]) == 1
    named = capsys.readouterr().err
    assert "schemas/events/watch.schema.json differs" in named
    assert "docs/reference/metrics.md differs" in named
    assert named.count("\n") == 2


@pytest.mark.parametrize("path", OUTPUTS)
def test_every_generated_file_says_how_it_is_made(path: str):
    head = OUTPUTS[path].splitlines()[:2]
    assert any(generate.HOW in line for line in head)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_definition_stays_small_enough_for_client_side_apply(kind: Kind):
    # kubectl keeps the whole of it in an annotation, and annotations have at most 262,144 bytes.
    assert len(generate.crd_yaml(crd(kind))) < 200_000


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    if "items" in schema:
        yield f"{path}[]", schema["items"]
        yield from fields(schema["items"], f"{path}[]")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_field_explains_itself(kind: Kind):
    silent = [path for path, schema in fields(open_api(kind), "") if not schema.get("description") and not path.endswith("[]")]
    assert silent == [".metadata"]  # Kubernetes' own


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_lists_and_strings_of_a_spec_are_bounded(kind: Kind):
    """The API server refuses rules whose cost it cannot bound, and a spec must stay small."""
    spec = open_api(kind)["properties"]["spec"]
    unbounded = [
        path
        for path, schema in fields(spec, "spec")
        if (schema["type"] == "array" and "maxItems" not in schema)
        or (schema["type"] == "string" and "maxLength" not in schema and "enum" not in schema)
    ]
    assert unbounded == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_columns_show_what_the_schema_has(kind: Kind):
    known = {path for path, _ in fields(open_api(kind), "")}
    for column in kind.columns:
        path = column.path.split("[?")[0]
        assert path in known or path.startswith(".metadata."), column


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_parses_and_fits_the_schema_for_editors(path: Path):
    by_name = {kind.name: kind for kind in KINDS}
    for document in yaml.safe_load_all(path.read_text()):
        kind = by_name[document["kind"]]
        kind.spec.model_validate(document["spec"])
        jsonschema.validate(document, json.loads(generate.resource_schema(kind)))


def test_the_smallest_example_names_ray_and_kafka_alone():
    document = yaml.safe_load((ROOT / "examples/smallest.yaml").read_text())
    assert document["spec"].keys() == {"ray", "kafka"}
    assert document["spec"]["ray"].keys() == {"dashboardURL"}
    assert document["spec"]["kafka"].keys() == {"bootstrapServers"}
