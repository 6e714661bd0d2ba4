"""Filters are exact: what an answer shows is what a plain walk over everything would show."""

import time
from typing import Any

import pytest

from ray_apps.serving.online.recent import Deed
from recsys_schemas.events import ItemEvent
from recsys_schemas.serving_api import RecommendationResponse

DAY_MS = 86_400_000
ROUTES = {
    "/v1/recommendations": {"user_id": "user-1"},
    "/v1/sessions": {"session_id": "s", "items": ["item-3"]},
    "/v1/similar-items": {"item_id": "item-7"},
    "/v1/popular": {},
}


@pytest.fixture
def described(caller: Any, make_record: Any) -> Any:
    caller.serve(make_record(1, ("described", 100)))
    return caller


def ids(caller: Any, path: str, **body: Any) -> list[str]:
    answered = caller.call("POST", path, json=ROUTES[path] | {"k": 100} | body)
    assert answered.status_code == 200, answered.text
    return [item.item_id for item in RecommendationResponse.model_validate_json(answered.content).items]


def told(caller: Any, **fields: Any) -> None:
    item = ItemEvent.model_validate({"timestamp": 1} | fields)
    assert caller.replica.arms.beside.told.take_item(item.item_id, item.model_dump_json().encode())
    caller.replica.arms.renew()


PASSES = {
    "category": ({"categories": ["books"]}, lambda place: place < 100),
    "genre": ({"genres": ["WAR ", "nothing"]}, lambda place: place % 2 == 0),
    "tag and category": ({"tags": ["Classic"], "categories": ["films"]}, lambda place: place >= 100 and place % 10 == 0),
    "newest": ({"max_age_days": 20.5}, lambda place: place % 3 and place <= 20),
    "oldest": ({"min_age_days": 150.5}, lambda place: place % 3 and place > 150),
    "of no item": ({"genres": ["Western"]}, lambda _: False),
}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("case", PASSES)
def test_a_filtered_answer_is_the_answer_without_what_does_not_pass(described: Any, path: str, case: str):
    filters, passes = PASSES[case]
    wanted = {f"item-{place}" for place in range(190) if passes(place)}
    everything = [*ids(described, path), *ids(described, path, exclude=ids(described, path))]
    assert len(everything) > 190
    assert ids(described, path, filters=filters) == [item for item in everything if item in wanted][:100]


def test_filtered_answers_are_counted(described: Any):
    ids(described, "/v1/popular", filters={"categories": ["books"]})
    ids(described, "/v1/popular")
    assert 'recsys_filtered_answers_total{model="shop/movies"} 1.0' in described.call("GET", "/metrics", token="let-me-operate").text


def test_a_fallback_answer_passes_the_filters_too(described: Any):
    shown = ids(described, "/v1/recommendations", filters={"categories": ["films"]}, deadline_ms=0.000001, k=5)
    assert shown == [f"item-{place}" for place in range(100, 105)]


UNKNOWN = {
    "no catalogue": ("good", {"genres": ["Comedy"]}, "filters.genres", "without a catalogue; set spec.data.catalogue"),
    "no catalogue, ages": ("good", {"min_age_days": 1}, "filters.min_age_days", "released_at"),
    "not a list": ("described", {"genres": "Comedy"}, "filters.genres", "array"),
    "no such filter": ("described", {"genre": ["Comedy"]}, "filters.genre", "not known"),
    "negative": ("described", {"max_age_days": -1}, "filters.max_age_days", "greater"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_filter_that_the_catalogue_cannot_tell_is_named(caller: Any, make_record: Any, case: str):
    version, filters, field, words = UNKNOWN[case]
    caller.serve(make_record(1, (version, 100)))
    for path, body in ROUTES.items():
        answered = caller.call("POST", path, json=body | {"filters": filters})
        assert (answered.status_code, answered.json()["field"]) == (422, field)
        assert words in answered.json()["detail"]
    batch = {"requests": [{"user_id": "user-1"}, {"user_id": "user-1", "filters": filters}]}
    assert caller.call("POST", "/v1/batch", json=batch).json()["field"] == f"requests.1.{field}"


def test_what_a_catalogue_cannot_tell_is_no_fault_of_the_arm(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    caller.ask(filters={"genres": ["Comedy"]})
    counters = caller.replica.tallies.counters()
    assert "good" not in counters or counters["good"].errors == 0


def test_a_live_record_takes_the_place_of_what_the_file_says(described: Any):
    told(described, item_id="item-150", category="books", genres=["Western"])
    assert ids(described, "/v1/popular", filters={"genres": ["western"]}) == ["item-150"]
    assert "item-150" not in ids(described, "/v1/popular", filters={"categories": ["films"]})
    described.replica.arms.beside.told.take_item("item-150", None)
    described.replica.arms.renew()
    assert ids(described, "/v1/popular", filters={"genres": ["western"]}) == []


def test_a_withdrawn_item_is_shown_nowhere(described: Any):
    told(described, item_id="item-0", withdrawn=True)
    for path in ROUTES:
        assert "item-0" not in ids(described, path)
        assert "item-0" not in ids(described, path, filters={"categories": ["books"]})
    assert "item-0" not in ids(described, "/v1/recommendations", user_id="somebody new")


def test_a_new_item_is_shown_from_its_record_on_by_what_is_like_it(described: Any):
    body = {"genres": ["Comedy"], "title": "Title 7", "released_at": int(time.time() * 1000) - DAY_MS}
    told(described, item_id="brand-new", **body)
    assert ids(described, "/v1/recommendations", filters={"max_age_days": 1.5})[0:2].count("brand-new") == 1
    assert "brand-new" in ids(described, "/v1/popular", filters={"max_age_days": 2})
    shelf = described.replica.arms.serving.stable.shelf
    speaking = {shelf.names[place] for place in shelf.near[0]}
    assert all(int(item.removeprefix("item-")) % 2 for item in speaking), "comedies speak for a comedy"
    assert "brand-new" not in ids(described, "/v1/similar-items", item_id="brand-new")
    alike = described.call("POST", "/v1/similar-items", json={"item_id": "brand-new"}).json()
    assert alike["reason"] == "similar"
    stable = described.replica.arms.serving.stable.live.knowledge
    for fan in range(300):
        stable.take(f"fan-{fan}", Deed("brand-new", 1.0, fan))
    stable.popularity.refresh()
    assert ids(described, "/v1/popular", k=1) == ["brand-new"]
    stable.take("user-1", Deed("brand-new", 1.0, 1))
    assert "brand-new" not in ids(described, "/v1/recommendations", filters={"max_age_days": 1.5})


def test_without_a_catalogue_a_new_item_comes_last_and_is_tried_out(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    told(caller, item_id="brand-new")
    assert "brand-new" not in ids(caller, "/v1/recommendations")
    assert ids(caller, "/v1/recommendations", exclude=[f"item-{place}" for place in range(200)]) == ["brand-new"]
