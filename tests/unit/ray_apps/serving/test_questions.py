"""Sessions, similar items, popular lists, batches, and clients' own deadlines."""

from typing import Any

import pytest

from ray_apps.serving.online.recent import Deed
from recsys_schemas.serving_api import BatchResponse, RecommendationResponse

ORDER = [f"item-{i}" for i in range(200)]


def ask(caller: Any, path: str, **body: Any) -> RecommendationResponse:
    answered = caller.call("POST", path, json=body)
    assert answered.status_code == 200, answered.text
    return RecommendationResponse.model_validate_json(answered.content)


def ids(answer: RecommendationResponse) -> list[str]:
    return [item.item_id for item in answer.items]


def live(caller: Any) -> Any:
    return caller.replica.arms.serving.stable.live.knowledge


@pytest.fixture
def good(caller: Any, make_record: Any) -> Any:
    caller.serve(make_record(1, ("good", 100)))
    return caller


def test_a_session_is_answered_by_its_items_as_a_user_with_that_history_is(good: Any):
    session = ask(good, "/v1/sessions", session_id="s-1", items=["item-3", "item-1", "item-2", "item-1"], k=10)
    user = ask(good, "/v1/recommendations", user_id="user-1", k=10)
    assert ids(session) == ids(user), "user-1 has liked items 1 to 3"
    assert (session.reason, session.user_id) == ("session", "s-1")
    assert not {"item-1", "item-2", "item-3"} & set(ids(session))


def test_a_session_of_unknown_items_gets_what_is_popular(good: Any):
    answer = ask(good, "/v1/sessions", session_id="s-1", items=["what is this"], k=3)
    assert (ids(answer), answer.reason) == (ORDER[:3], "popular")


def test_similar_items_leave_the_item_itself_out(good: Any):
    answer = ask(good, "/v1/similar-items", item_id="item-7", k=100)
    assert (answer.reason, answer.user_id, len(answer.items)) == ("similar", "anonymous", 100)
    assert "item-7" not in ids(answer)
    assert ask(good, "/v1/similar-items", item_id="nothing", k=2).reason == "popular"


def test_questions_of_nobody_are_no_evidence(good: Any):
    ask(good, "/v1/similar-items", item_id="item-7")
    ask(good, "/v1/popular")
    assert "good" not in good.replica.tallies.counters()
    ask(good, "/v1/sessions", session_id="s-1", items=["item-1"])
    assert good.replica.tallies.counters()["good"].requests == 1


def test_popular_lists_move_with_what_is_liked(good: Any):
    assert ids(ask(good, "/v1/popular", k=2, exclude=["item-1"])) == ["item-0", "item-2"]
    knowledge = live(good)
    for user in range(500):
        knowledge.take(f"fan-{user}", Deed("item-150", 1.0, user))
    knowledge.popularity.refresh()
    first = ask(good, "/v1/popular", k=1).items[0]
    assert (first.item_id, first.score) == ("item-150", 549.0)


def test_the_next_answer_knows_the_last_deed(good: Any):
    before = ids(ask(good, "/v1/recommendations", user_id="user-1", k=10))
    live(good).take("user-1", Deed(before[0], 1.0, 1))
    live(good).take("user-1", Deed(before[1], 0.0, 2))
    after = ids(ask(good, "/v1/recommendations", user_id="user-1", k=10))
    assert not {before[0], before[1]} & set(after), "neither what was just liked nor what was just refused"
    stranger = ask(good, "/v1/recommendations", user_id="somebody new", k=10)
    assert stranger.reason == "popular"
    live(good).take("somebody new", Deed("item-9", 1.0, 3))
    assert ask(good, "/v1/recommendations", user_id="somebody new", k=10).reason == "personal"


def test_a_batch_is_what_each_would_get_alone(good: Any):
    asked = [{"user_id": "user-1", "k": 3}, {"user_id": "somebody new", "k": 2}]
    answered = good.call("POST", "/v1/batch", json={"requests": asked})
    batch = BatchResponse.model_validate_json(answered.content)
    alone = [ask(good, "/v1/recommendations", **one) for one in asked]
    assert [ids(one) for one in batch.answers] == [ids(one) for one in alone]
    assert len({one.request_id for one in [*batch.answers, *alone]}) == 4


def test_an_arm_is_not_blamed_for_a_deadline_that_its_client_set(caller: Any, hasty: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    quick = ask(caller, "/v1/recommendations", user_id="user-1", deadline_ms=0.000001)
    assert quick.reason == "fallback"
    counted = caller.replica.tallies.counters()["good"]
    assert (counted.requests, counted.errors, counted.late) == (1, 0, 0)
    hasty.serve(make_record(2, ("late", 100)))
    assert ask(hasty, "/v1/recommendations", user_id="user-1", deadline_ms=60_000).reason == "fallback", "the spec's own deadline holds"
    assert hasty.replica.tallies.counters()["late"].late == 1


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/sessions", {"session_id": "s", "items": []}, "items"),
        ("/v1/sessions", {"items": ["item-1"]}, "session_id"),
        ("/v1/similar-items", {"item_id": "x", "k": 0}, "k"),
        ("/v1/popular", {"k": 101}, "k"),
        ("/v1/popular", {"kk": 1}, "kk"),
        ("/v1/batch", {"requests": []}, "requests"),
        ("/v1/batch", {"requests": [{"user_id": "a"}, {"user_id": 7}]}, "requests.1.user_id"),
        ("/v1/recommendations", {"user_id": "a", "deadline_ms": -1}, "deadline_ms"),
        ("/v1/recommendations", {"user_id": "a", "deadline_ms": 1e300}, "deadline_ms"),
    ],
)
def test_what_does_not_fit_is_named(good: Any, path: str, body: dict[str, Any], field: str):
    answered = good.call("POST", path, json=body)
    assert answered.status_code == 422
    assert answered.headers["content-type"] == "application/problem+json"
    assert answered.json()["field"] == field
    assert f"{field}: saw" in answered.json()["detail"]
