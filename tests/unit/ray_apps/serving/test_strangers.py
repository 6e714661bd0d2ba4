"""Users of whom no deed is known: what they said, what is popular, and what is tried out with a propensity that is true."""

import math
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest

from ray_apps.algorithms.onboarding import onboarding_of
from ray_apps.evaluation.ranking import best
from ray_apps.serving.beside import Beside
from ray_apps.serving.online.recent import Deed
from recsys_schemas.events import PreferenceEvent

WRITER = "let-me-write"
PATH = "/v1/users/ann%20b/preferences"


@pytest.fixture
def described(caller: Any, make_record: Any) -> Any:
    caller.serve(make_record(1, ("described", 100)))
    return caller


def says(caller: Any, user: str, **fields: Any) -> None:
    said = PreferenceEvent.model_validate({"user_id": user, "timestamp": 5} | fields)
    assert caller.replica.arms.beside.told.take_preferences(user, said.model_dump_json().encode())


def ask(caller: Any, user: str, **fields: Any) -> dict[str, Any]:
    return caller.ask(user_id=user, **fields).json()


def test_who_said_what_they_like_is_answered_by_it(described: Any):
    before = ask(described, "ann")
    assert before["reason"] == "popular"
    says(described, "ann", genres=["comedy"], items=["item-31"])
    answer = ask(described, "ann", k=10)
    shown = [item["item_id"] for item in answer["items"]]
    assert answer["reason"] == "onboarding"
    assert sum(int(item.removeprefix("item-")) % 2 for item in shown) >= 8, "mostly comedies"
    assert "item-31" not in shown
    described.replica.arms.serving.stable.live.knowledge.take("ann", Deed("item-9", 1.0, 1))
    assert ask(described, "ann")["reason"] == "personal", "deeds say more than words"


def numbers(answer: dict[str, Any]) -> list[int]:
    return [int(item["item_id"].removeprefix("item-")) for item in answer["items"]]


def test_who_said_what_they_like_is_answered_by_what_is_liked_these_days(described: Any, caller: Any, make_record: Any):
    says(described, "ann", genres=["comedy"])
    assert max(numbers(ask(described, "ann", k=5))) < 50, "a version that does not know when counts all likes alike"
    caller.serve(make_record(2, ("described-lately", 100)))
    assert min(numbers(ask(caller, "ann", k=5))) > 150


def test_serving_answers_newcomers_with_the_very_scores_that_are_measured(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("described-lately", 100)))
    arm = caller.replica.arms.serving.stable
    lately, live = arm.version.recent, arm.live.knowledge.popularity
    said = PreferenceEvent(user_id="ann", timestamp=5, genres=["Comedy"], items=["item-31"])
    measured = onboarding_of(arm.version.content, lately)
    words = (["Comedy"], np.array([31], dtype=np.int32))
    np.testing.assert_array_equal(arm.newcomers.scores(arm.shelf, said, live.worth), measured.scores(*words))
    live.liked("item-9")
    live.refresh()
    since = onboarding_of(arm.version.content, lately + (np.arange(lately.size) == 9), measured)
    np.testing.assert_array_equal(arm.newcomers.scores(arm.shelf, said, live.worth), since.scores(*words), "a like since counts one")


def test_who_said_nothing_is_shown_what_is_liked_these_days_and_so_is_whoever_asks_for_what_is_popular(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("described", 100)))
    assert numbers(ask(caller, "ann", k=3)) == [0, 1, 2], "a version that does not know when counts all likes alike"
    caller.serve(make_record(2, ("described-lately", 100)))
    answer = ask(caller, "ann", k=3)
    assert (answer["reason"], numbers(answer)) == ("popular", [199, 198, 197])
    assert [item["score"] for item in answer["items"]] == [99.5, 99.0, 98.5]
    assert numbers(caller.call("POST", "/v1/popular", json={"k": 3}).json()) == [199, 198, 197]


def test_a_like_since_training_counts_one_beside_those_that_have_faded(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("described-lately", 100)))
    live = caller.replica.arms.serving.stable.live.knowledge.popularity
    for _ in range(2):
        live.liked("item-197")
    live.refresh()
    answer = ask(caller, "ann", k=3)
    assert numbers(answer) == [197, 199, 198]
    assert answer["items"][0]["score"] == 100.5


def test_who_asks_without_being_known_is_shown_the_very_list_that_the_card_judges(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("described-lately", 100)))
    shown = numbers(ask(caller, "ann", k=20))
    assert shown == best(caller.replica.arms.serving.stable.version.recent, 20, np.empty(0, dtype=np.int32)).tolist()


def test_what_was_liked_long_ago_is_not_tried_out_as_new(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("described-lately", 100)))
    arm = caller.replica.arms.serving.stable
    assert arm.version.recent[0] == 0
    assert arm.shelf.unliked(arm.live.knowledge.popularity).tolist() == [199], "liked by nobody in training"


def test_who_came_since_training_and_who_has_but_a_session_are_scored_as_newcomers_and_who_is_known_is_not(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    arm = caller.replica.arms.serving.stable
    assert arm.welcoming is arm.version.model, "a model that does not tell them apart scores them itself"
    object.__setattr__(arm, "welcoming", Backwards())
    for user in ("ann", "user-3"):
        arm.live.knowledge.take(user, Deed("item-9", 1.0, 1))
    shown = {user: numbers(ask(caller, user, k=1)) for user in ("ann", "user-3")}
    assert shown["ann"] == [199], "all that is known of her came since"
    assert shown["user-3"] != [199]
    session = caller.call("POST", "/v1/sessions", json={"session_id": "s", "items": ["item-9"], "k": 1}).json()
    assert (session["reason"], numbers(session)) == ("session", [199])


class Backwards:
    """Scores the last item best."""

    def scores(self, history: Any, weights: Any) -> Any:
        del history, weights
        return np.arange(200, dtype=np.float32)


def test_an_experts_words_weigh_more_than_a_beginners(described: Any):
    comedies = {}
    for level in ("beginner", "regular", "expert"):
        says(described, level, genres=["Comedy"], level=level)
        shown = [item["item_id"] for item in ask(described, level, k=100)["items"]]
        comedies[level] = sum(int(item.removeprefix("item-")) % 2 for item in shown)
    assert comedies["beginner"] < comedies["regular"] < comedies["expert"]


def test_words_that_the_version_does_not_know_give_what_is_popular(described: Any, caller: Any, make_record: Any):
    says(described, "ann", genres=["Opera"], items=["nothing"])
    assert ask(described, "ann")["reason"] == "popular"
    caller.serve(make_record(2, ("good", 100)))
    says(caller, "bob", genres=["Comedy"])
    assert ask(caller, "bob")["reason"] == "popular", "a version without a catalogue knows no genres"


def test_what_was_taken_back_is_forgotten(described: Any):
    says(described, "ann", genres=["Comedy"])
    described.replica.arms.beside.told.take_preferences("ann", None)
    assert ask(described, "ann")["reason"] == "popular"


def test_preferences_are_refused_while_kafka_is_away_and_read_back_when_known(described: Any):
    answered = described.call("POST", PATH, token=WRITER, json={"genres": ["Comedy"]})
    assert (answered.status_code, answered.headers["retry-after"]) == (503, "5")
    assert described.call("GET", PATH).status_code == 404
    says(described, "ann b", genres=["Comedy"], level="expert")
    told = described.call("GET", PATH).json()
    assert told == {"user_id": "ann b", "said_at": 5, "genres": ["Comedy"], "items": [], "level": "expert"}


REFUSED: dict[str, tuple[str, str, Any, int, str | None]] = {
    "an empty genre": ("POST", PATH, {"genres": [""]}, 422, "genres.0"),
    "an unknown level": ("POST", PATH, {"level": "wise"}, 422, "level"),
    "an unknown field": ("POST", PATH, {"genre": []}, 422, "genre"),
    "a long id": ("POST", f"/v1/users/{'x' * 129}/preferences", {}, 422, "user_id"),
    "an id of a line break": ("GET", "/v1/users/%0A/preferences", None, 422, "user_id"),
    "no items": ("POST", "/v1/items", {"items": []}, 422, "items"),
    "a release before 1970": ("POST", "/v1/items", {"items": [{"item_id": "a", "released_at": -1}]}, 422, "items.0.released_at"),
    "an item while Kafka is away": ("POST", "/v1/items", {"items": [{"item_id": "a"}]}, 503, None),
    "withdrawn while Kafka is away": ("DELETE", "/v1/items/a", None, 503, None),
    "an item without a record": ("GET", "/v1/items/a", None, 404, "item_id"),
    "another method": ("PUT", "/v1/items/a", None, 405, "method"),
    "no id": ("GET", "/v1/users//preferences", None, 404, "path"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_named(described: Any, case: str):
    method, path, body, status, field = REFUSED[case]
    answered = described.call(method, path, token=WRITER, **({} if body is None else {"json": body}))
    assert answered.headers["content-type"] == "application/problem+json"
    assert (answered.status_code, answered.json().get("field")) == (status, field), answered.text


def test_readers_may_not_speak_for_others(described: Any):
    for method, path in (("POST", PATH), ("DELETE", PATH), ("POST", "/v1/items"), ("DELETE", "/v1/items/a")):
        assert described.call(method, path, json={}).status_code == 403


def test_something_new_is_tried_out_in_the_last_place_as_often_as_its_propensity_says(described: Any):
    described.replica.arms.serving.stable.beside.told.take_item("new", b'{"item_id": "new", "timestamp": 1}')
    described.replica.arms.renew()
    part = 0.2
    object.__setattr__(described.replica.arms.serving.stable, "beside", exploring(described, part))
    asked = 600
    last, told = Counter[str](), Counter[float]()
    for number in range(asked):
        items = ask(described, f"stranger {number}", k=5)["items"]
        assert [item["propensity"] for item in items[:-1]] == [1.0] * 4
        last[items[-1]["item_id"]] += 1
        told[items[-1]["propensity"]] += 1
    # Item 199 was liked by nobody in training, and `new` is new.
    assert set(last) == {"item-4", "item-199", "new"}
    assert told == {0.8: last["item-4"], 0.1: last["item-199"] + last["new"]}
    assert abs(last["item-4"] / asked - 0.8) < 4 * math.sqrt(0.8 * 0.2 / asked)
    short = ask(described, "stranger", k=4)["items"]
    assert {item["propensity"] for item in short} == {1.0}, "a short list has no place to spare"
    explored = [
        line for line in described.call("GET", "/metrics", token="let-me-operate").text.splitlines() if line.startswith("recsys_explored")
    ]
    assert explored[-1].endswith(f" {float(last['item-199'] + last['new'])}")


def exploring(caller: Any, part: float) -> Beside:
    return Beside(told=caller.replica.arms.beside.told, exploration=part, chance=random.Random(7))
