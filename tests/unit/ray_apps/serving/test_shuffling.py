"""A part of the answers in an order drawn by lot: what is logged as the chance of an item at a place is how often it stands there."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from ray_apps.serving import fallback as chain
from ray_apps.serving.shuffling import Item, shuffled
from recsys_schemas.serving_record import Shuffle

DRAWS = 40_000


def best(count: int) -> list[Item]:
    return [(f"item-{place}", float(count - place)) for place in range(count)]


def told(ranked: Sequence[Item], k: int, shuffle: Shuffle) -> tuple[Counter[tuple[int, str]], dict[tuple[int, str], float]]:
    """How often each item stood at each place, and the chance that the log gave it there."""
    lot, seen, chances = random.Random(3), Counter[tuple[int, str]](), dict[tuple[int, str], float]()
    for _ in range(DRAWS):
        items, logged = shuffled(ranked, k, shuffle, lot)
        for place, ((item, _), chance) in enumerate(zip(items, logged, strict=True)):
            seen[place, item] += 1
            assert chances.setdefault((place, item), chance) == chance, "the chance does not depend on how the lot fell"
    return seen, chances


@pytest.mark.parametrize(("count", "k", "share", "depth"), [(12, 5, 0.4, 6), (12, 12, 0.9, 4), (3, 10, 0.5, 6), (8, 3, 1.0, 8)])
def test_the_chances_in_the_log_are_those_of_the_answers(count: int, k: int, share: float, depth: int):
    seen, chances = told(best(count), k, Shuffle(share=share, depth=depth))
    for what, chance in chances.items():
        error = (chance * (1 - chance) / DRAWS) ** 0.5
        assert abs(seen[what] / DRAWS - chance) <= 5 * error + 1e-12, what
    for place in range(min(k, count)):
        assert sum(chance for (at, _), chance in chances.items() if at == place) == pytest.approx(1)


def test_a_list_that_cannot_be_shuffled_is_certain():
    assert shuffled(best(1), 5, Shuffle(share=0.5, depth=10), random.Random(0)) == (best(1), [1.0])
    assert shuffled([], 5, Shuffle(share=0.5, depth=10), random.Random(0)) == ([], [])


def test_the_api_tells_the_chances_and_never_shuffles_a_fallback(caller: Any, make_record: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chain, "LOT", random.Random(1))
    caller.serve(make_record(1, ("good", 100)) | {"shuffle": {"share": 0.5, "depth": 10}})
    answers = [caller.ask(k=5).json()["items"] for _ in range(40)]
    assert {item["propensity"] for items in answers for item in items} == {0.05, 0.55}
    own = [items for items in answers if all(item["propensity"] == 0.55 for item in items)]
    assert 5 < len(own) < 35
    caller.serve(make_record(2, ("broken", 100)) | {"shuffle": {"share": 1.0, "depth": 10}})
    fallback = caller.ask(k=3).json()
    assert fallback["reason"] == "fallback"
    assert [item["item_id"] for item in fallback["items"]] == ["item-0", "item-4", "item-5"]
    assert {item["propensity"] for item in fallback["items"]} == {1.0}


def test_an_answer_that_nobody_is_credited_for_is_not_shuffled(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)) | {"shuffle": {"share": 1.0, "depth": 10}})
    items = caller.call("POST", "/v1/similar-items", json={"item_id": "item-5", "k": 5}).json()["items"]
    assert [item["score"] for item in items] == sorted((item["score"] for item in items), reverse=True)
    assert {item["propensity"] for item in items} == {1.0}
