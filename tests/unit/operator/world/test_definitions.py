"""What definitions lack, and what of a status they take."""

import json
from typing import Any

import pytest

from recsys_operator.world.definitions import Definitions, outdated, read_served, tree
from recsys_operator.world.objects import MODELS
from recsys_schemas import kinds
from unit.operator.world.between import answering, speak

NAME = "recommendermodels.recsys.dev"


def document(**changes: Any) -> dict[str, Any]:
    """OpenAPI of our kinds as the API server publishes it, `without` a field of models or with `more` fields."""
    schemas: dict[str, Any] = {}
    for kind in kinds.KINDS:
        named = {"group": "recsys.dev", "version": "v1alpha1", "kind": kind.name}
        schemas[f"dev.recsys.v1alpha1.{kind.name}"] = kinds.open_api(kind) | {"x-kubernetes-group-version-kind": [named]}
    *parents, last = changes.get("without", "spec.nothing").split(".")
    place = schemas["dev.recsys.v1alpha1.RecommenderModel"]
    for name in parents:
        place = place["properties"][name]
        place = place.get("items", place)
    place["properties"].pop(last, None)
    place["properties"] |= changes.get("more", {})
    return {"components": {"schemas": schemas}}


def test_definitions_of_this_release_lack_nothing_and_newer_ones_neither():
    assert outdated(read_served(document())) == {}
    assert outdated(read_served(document(more={"mood": {"type": "string"}}))) == {}


@pytest.mark.parametrize(
    "path", ["spec.rollout", "spec.data.snapshot.storageURI", "spec.kafka.topics.replicas", "status.conditions.reason"]
)
def test_a_field_that_lacks_is_named_by_its_path_in_lists_too(path: str):
    assert outdated(read_served(document(without=path))) == {NAME: (path,)}


def test_a_kind_that_is_not_served_at_all_is_not_called_old():
    assert outdated({}) == {}


def test_what_an_older_definition_does_not_know_is_left_out_of_a_status_and_nothing_else():
    old = read_served(document(without="status.conditions.message"))
    seen = Definitions(served=old, outdated=outdated(old))
    status = {"phase": "Serving", "conditions": [{"type": "Ready", "message": "words", "status": "True"}], "history": []}
    assert seen.fitted(MODELS, status) == {"phase": "Serving", "conditions": [{"type": "Ready", "status": "True"}], "history": []}


def test_before_the_first_look_and_under_present_definitions_a_status_is_written_as_it_is():
    status = {"mood": "calm", "conditions": []}
    assert Definitions().fitted(MODELS, status) == status
    assert Definitions(served=read_served(document())).fitted(MODELS, status) == status


def test_what_a_map_holds_is_kept_under_whatever_keys():
    known = tree({"properties": {"labels": {"type": "object", "additionalProperties": {"type": "string"}}, "free": {"type": "object"}}})
    assert known is not None
    old = Definitions(served={MODELS: {"status": known}}, outdated={NAME: ("status.x",)})
    status = {"labels": {"a": "b"}, "free": {"c": [{"d": 1}]}, "x": 1}
    assert old.fitted(MODELS, status) == {"labels": {"a": "b"}, "free": {"c": [{"d": 1}]}}


@pytest.mark.parametrize("answer", [{"paths": 3}, {"paths": {"apis/recsys.dev/v1alpha1": {}}}, {"paths": {"apis/recsys.dev/v1alpha1": 7}}])
def test_an_answer_of_another_shape_leaves_what_was_known(answer: dict[str, Any]):
    known = {MODELS: {"spec": None}}
    seen = Definitions(served=known)

    with answering({"/openapi/v3": (200, json.dumps(answer).encode())}) as url:
        speak(url, seen.look)
    assert seen.served == known
