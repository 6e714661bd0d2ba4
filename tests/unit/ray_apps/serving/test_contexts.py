"""What strangers get who say where they are: a drawn world where that matters, and twins that do not see it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from ray_apps.serving.arms import Arms
from ray_apps.serving.beside import Beside
from ray_apps.serving.contexts import counting
from ray_apps.serving.contexts.counting import Contexts, in_context
from ray_apps.serving.online.deeds import context_of
from ray_apps.serving.online.live import still
from recsys_schemas.filters import ContextValue
from recsys_schemas.serving_record import ContextCounting, ContextKey, Skip
from unit.ray_apps.serving.conftest import ITEMS, Caller, make_replica, opener, record

DAY_S = 86_400
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()
DEVICES = ("tv", "phone")
COUNTING = ContextCounting(
    keys=[ContextKey(name="device", values=[*DEVICES]), ContextKey(name="country", values=["no", "fr"])], half_life_days=7, shrinkage=20
)


class Followed:
    """What a follower keeps, without its brokers."""

    def __init__(self, contexts: Contexts) -> None:
        self.contexts = contexts
        self.skipped: tuple[Skip, ...] = ()

    def skip(self, ranges: tuple[Skip, ...]) -> None:
        self.skipped = ranges

    def close(self) -> None:
        """Nothing to end."""


def drawn(likes: int = 4000, seed: int = 3, spread: float = 1.2) -> tuple[Contexts, dict[str, np.ndarray]]:
    """A world in which each device has a taste of its own; and the true chances of each item there."""
    chance = np.random.default_rng(seed)
    everywhere = 1 / np.sqrt(np.arange(1, ITEMS + 1))
    truth = {device: everywhere * chance.lognormal(0, spread, ITEMS) for device in DEVICES}
    truth = {device: part / part.sum() for device, part in truth.items()}
    made = Contexts(COUNTING, lambda: NOON)
    for device, part in truth.items():
        for number, place in enumerate(chance.choice(ITEMS, likes, p=part).tolist()):
            made.take(f"{device}-{number}", f"item-{place}", int(NOON * 1000), {"device": device})
    assert made.refresh()
    return made, truth


def counts_of(truth: dict[str, np.ndarray]) -> np.ndarray:
    """What was liked everywhere."""
    return (1e4 * np.mean(list(truth.values()), axis=0)).astype(np.int64)


class ShelfOf:
    """A shelf as far as counting reads it."""

    def place(self, item: str) -> int | None:
        number = int(item.removeprefix("item-"))
        return number if number < ITEMS else None


SHELF: Any = ShelfOf()


def worth(contexts: Contexts, truth: dict[str, np.ndarray], said: dict[str, ContextValue], device: str) -> float:
    """What the first ten are worth on a device, as a part of what the best ten there are."""
    scores = in_context(counts_of(truth), SHELF, contexts.within(said), contexts.counting.shrinkage)
    part = truth[device]
    return float(part[np.argsort(-scores)[:10]].sum() / np.sort(part)[-10:].sum())


def test_lists_by_context_are_nearer_to_what_is_liked_there():
    contexts, truth = drawn()
    for device in DEVICES:
        assert worth(contexts, truth, {"device": device}, device) > worth(contexts, truth, {}, device) + 0.05


def test_few_likes_change_next_to_nothing_and_many_do():
    few, truth = drawn(likes=30)
    many, _ = drawn(likes=20_000)
    for device in DEVICES:
        assert abs(worth(few, truth, {"device": device}, device) - worth(few, truth, {}, device)) < 0.08
        assert worth(many, truth, {"device": device}, device) > 0.9


def test_a_twin_without_shrinkage_is_led_astray_by_few_likes_where_the_context_does_not_matter():
    for seed in range(5):
        few, truth = drawn(likes=30, seed=seed, spread=0)
        careless = Contexts(COUNTING.model_copy(update={"shrinkage": 1e-3}), lambda: NOON)
        careless.cells = few.cells
        shrunk, led = (sum(worth(each, truth, {"device": device}, device) for device in DEVICES) for each in (few, careless))
        assert led + 0.2 < shrunk


def test_a_twin_that_counts_every_like_in_every_cell_is_caught(monkeypatch: pytest.MonkeyPatch):
    def blind(key: ContextKey, said: Any, seconds: float) -> str | None:
        del said, seconds
        return key.values[0]

    monkeypatch.setattr(counting, "_value", blind)
    contexts, truth = drawn()
    with pytest.raises(AssertionError):
        for device in DEVICES:
            assert worth(contexts, truth, {"device": device}, device) > worth(contexts, truth, {}, device) + 0.05


def test_several_keys_are_taken_together():
    made = Contexts(COUNTING, lambda: NOON)
    for number in range(400):
        made.take(f"a{number}", "item-50", int(NOON * 1000), {"device": "tv", "country": "fr"})
        made.take(f"b{number}", f"item-{number % 20}", int(NOON * 1000), {"device": "tv", "country": "no"})
        made.take(f"c{number}", f"item-{number % 20}", int(NOON * 1000), {"device": "phone", "country": "fr"})
    made.refresh()
    counts = np.full(ITEMS, 40, dtype=np.int64)
    lift = {
        words: in_context(counts, SHELF, made.within(dict(words)), 20)[50]
        for words in ((), (("device", "tv"),), (("device", "tv"), ("country", "fr")), (("device", "phone"),))
    }
    by_number = list(lift.values())
    assert by_number[3] < by_number[0] < by_number[1] < by_number[2]


@pytest.mark.parametrize(
    "said", [{}, {"device": "watch"}, {"colour": "tv"}, {"device": 7}, {"device": True}, {"device": "x" * 256}, {"Device": "tv"}]
)
def test_what_was_not_declared_says_nothing(said: dict[str, ContextValue]):
    contexts, _ = drawn()
    assert contexts.within(said) == []


@pytest.mark.parametrize("word", ["TV", " tv ", "tV"])
def test_values_are_told_apart_in_any_case(word: str):
    contexts, _ = drawn()
    assert contexts.within({"device": word}) == contexts.within({"device": "tv"}) != []


def test_a_like_fades_by_half_in_a_half_life_and_each_user_counts_once():
    now = [NOON]
    made = Contexts(COUNTING, lambda: now[0])
    for _ in range(3):
        made.take("ann", "item-1", int(NOON * 1000), {"device": "tv"})
    made.refresh()
    assert made.cells["device", "tv"].total == 1
    now[0] += 7 * DAY_S
    made.take("bob", "item-2", int(now[0] * 1000), {"device": "tv"})
    made.refresh()
    cell = made.cells["device", "tv"]
    assert dict(zip(cell.items, cell.weights.round(6).tolist(), strict=True)) == {"item-1": 0.5, "item-2": 1.0}


def test_weights_stay_small_however_long_a_replica_lives():
    now = [NOON]
    made = Contexts(COUNTING, lambda: now[0])
    for year in range(12):
        now[0] = NOON + year * 365 * DAY_S
        made.take(f"user-{year}", "item-1", int(now[0] * 1000), {"device": "tv"})
        made.refresh()
    assert made.cells["device", "tv"].total == pytest.approx(1.0)


def test_cells_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counting, "MOST_ITEMS", 10)
    monkeypatch.setattr(counting, "MOST_PAIRS", 5)
    made = Contexts(COUNTING, lambda: NOON)
    for number in range(100):
        made.take(f"u{number}", f"item-{number}", int(NOON * 1000), {"device": "tv"})
    made.refresh()
    assert made.cells["device", "tv"].items == [f"item-{number}" for number in range(90, 100)]
    assert len(made._pairs) == 5


def test_the_part_of_the_day_is_known_without_being_said():
    key = ContextKey(name="daypart", hours=[6, 12, 18], time_zone="Europe/Paris")
    made = Contexts(ContextCounting(keys=[key], half_life_days=7, shrinkage=20), lambda: NOON)
    for hour in range(24):
        made.take(f"u{hour}", "item-1", int((NOON + (hour - 12) * 3600) * 1000), {})
    made.refresh()
    assert {value: cell.total for (_, value), cell in made.cells.items()} == pytest.approx({"6": 6, "12": 6, "18": 12}, rel=0.1)
    (cell,) = made.within({"daypart": "whatever is said"})
    assert cell is made.cells["daypart", "12"]  # 14:00 in Paris


def test_a_clock_that_nobody_knows_says_nothing_and_is_told_in_the_log(caplog: pytest.LogCaptureFixture):
    key = ContextKey(name="daypart", hours=[6], time_zone="Middle/Earth")
    made = Contexts(ContextCounting(keys=[key], half_life_days=7, shrinkage=20), lambda: NOON)
    made.take("ann", "item-1", int(NOON * 1000), {})
    assert not made.refresh()
    assert made.within({}) == []
    assert "the part of the day says nothing" in caplog.text


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b'{"user_id": "u", "device": "tv", "country": null, "n": 7}', {"device": "tv"}),
        (b'\x00\x00\x00\x00\x01{"device": "tv"}', {"device": "tv"}),
        (b'{"device": ["tv"], "country": {"a": 1}}', {}),
        (b"{", {}),
        (b"[]", {}),
    ],
)
def test_an_event_says_it_in_fields_of_its_own(value: bytes, told: dict[str, ContextValue]):
    assert context_of(value, ["device", "country"]) == told


@pytest.fixture
def asked() -> Iterator[Callable[..., dict[str, Any]]]:
    """A replica that counts by context, and a stranger who asks it."""
    contexts, _ = drawn()
    replica = make_replica()
    replica.arms.close()
    followed: Any = Followed(contexts)
    replica = replace(replica, arms=Arms(opener, still, Beside(contexts=followed)))  # pyright: ignore[reportArgumentType] - a version in memory
    caller = Caller(replica)
    caller.serve(record(1, ("good", 100)) | {"skips": [{"topic": "watch", "partition": 0, "first": 1, "last": 2}]})
    assert followed.skipped

    def ask(path: str = "/v1/recommendations", **fields: Any) -> dict[str, Any]:
        named = {"user_id": "a stranger"} if path == "/v1/recommendations" else {}
        answered = caller.call("POST", path, json=named | fields)
        assert answered.status_code == 200, answered.text
        return json.loads(answered.content)

    yield ask
    replica.close()


@pytest.mark.parametrize("path", ["/v1/recommendations", "/v1/popular"])
def test_a_stranger_gets_what_is_liked_where_they_are_and_is_told_so(asked: Callable[..., dict[str, Any]], path: str):
    plain, tv, phone = asked(path), asked(path, context={"device": "tv"}), asked(path, context={"device": "phone"})
    lists = [[item["item_id"] for item in answer["items"]] for answer in (plain, tv, phone)]
    assert [answer["reason"] for answer in (plain, tv, phone)] == ["popular", "context", "context"]
    assert lists[0] != lists[1] != lists[2] != lists[0]
    assert all(len(set(each)) == 20 for each in lists)
    assert [item["score"] for item in tv["items"]] == sorted((item["score"] for item in tv["items"]), reverse=True)


def test_an_unknown_context_changes_nothing(asked: Callable[..., dict[str, Any]]):
    plain, other = asked(), asked(context={"device": "fridge", "mood": "good"})
    assert (other["items"], other["reason"]) == (plain["items"], "popular")


def test_excluded_items_and_known_users_are_as_ever(asked: Callable[..., dict[str, Any]]):
    first = asked(context={"device": "tv"})["items"][0]["item_id"]
    assert first not in [item["item_id"] for item in asked(context={"device": "tv"}, exclude=[first])["items"]]
    known = [asked(user_id="user-1", context=context) for context in ({}, {"device": "tv"})]
    assert known[0]["items"] == known[1]["items"]
    assert {answer["reason"] for answer in known} == {"personal"}
