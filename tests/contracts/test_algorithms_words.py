"""What a RecommenderModel may say of algorithms is what the Ray apps take."""

import math
import re
from typing import Any, get_args

import pytest

from ray_apps.algorithms import ALGORITHMS
from ray_apps.training.choosing import CANDIDATES
from recsys_schemas.train_job import AUTO
from recsys_schemas.v1alpha1.model import Algorithm, Asked, Hyperparameters

FIELDS: dict[str, dict[str, Any]] = Hyperparameters.model_json_schema(by_alias=True)["properties"]


def _kind(name: str) -> dict[str, Any]:
    return next(each for each in FIELDS[name]["anyOf"] if each.get("type") != "null")


def _edges(name: str) -> list[Any]:
    """The least and the most that the resource admits; or its words."""
    kind = _kind(name)
    if "enum" in kind:
        return kind["enum"]
    least = kind["minimum"] if "minimum" in kind else math.nextafter(kind["exclusiveMinimum"], math.inf)
    return [least, kind["maximum"]]


def test_the_resource_offers_the_algorithms_that_there_are():
    assert set(get_args(Algorithm)) == set(ALGORITHMS)


def test_what_may_be_asked_for_is_an_algorithm_or_auto():
    assert set(get_args(Asked)) == {AUTO, *get_args(Algorithm)}


def test_auto_tries_algorithms_that_there_are():
    assert set(CANDIDATES) <= set(ALGORITHMS)


def test_every_hyperparameter_of_an_algorithm_can_be_set_and_none_else():
    assert set(FIELDS) == {name for algorithm in ALGORITHMS.values() for name in algorithm.parameters}


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_the_description_of_a_hyperparameter_names_the_algorithms_that_take_it(name: str):
    taking = sorted(each for each, algorithm in ALGORITHMS.items() if name in algorithm.parameters)
    told = re.findall(r"(?:^|(?<=\. ))([A-Za-z]+(?:, [A-Za-z]+)*): ", FIELDS[name]["description"])
    assert sorted(each for names in told for each in names.split(", ")) == taking


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_the_resource_admits_what_any_of_the_algorithms_takes_and_no_more(name: str):
    parameters = [algorithm.parameters[name] for algorithm in ALGORITHMS.values() if name in algorithm.parameters]
    if parameters[0].choices:
        assert _edges(name) == list(parameters[0].choices)
        return
    assert _edges(name) == pytest.approx([min(each.low for each in parameters), max(each.high for each in parameters)], abs=0.01)
    assert {_kind(name)["type"]} == {"integer" if isinstance(each.default, int) else "number" for each in parameters}
