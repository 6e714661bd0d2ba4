"""Who may ask what, and what a bad question gets for an answer."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

GUARDED = [
    ("POST", "/v1/recommendations", {"reader", "writer"}),
    ("POST", "/v1/events", {"writer"}),
    ("GET", "/v1/model", {"reader", "writer", "operator"}),
    ("GET", "/v1/evidence", {"operator"}),
    ("GET", "/metrics", {"operator"}),
    ("GET", "/openapi.json", {"reader", "writer", "operator"}),
    ("GET", "/docs", {"reader", "writer", "operator"}),
]
TOKENS = {"reader": "let-me-read", "writer": "let-me-write", "operator": "let-me-operate"}


@pytest.fixture
def served(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    return caller


def assert_problem(answered: Any, status: int, *named: str):
    assert answered.status_code == status
    assert answered.headers["content-type"] == "application/problem+json"
    problem = answered.json()
    assert problem["status"] == status
    for word in named:
        assert word in problem["detail"], problem["detail"]
    return problem


@pytest.mark.parametrize(("method", "path", "roles"), GUARDED)
@pytest.mark.parametrize("role", ["reader", "writer", "operator"])
def test_each_role_may_do_what_it_is_for_and_nothing_else(served: Any, method: str, path: str, roles: set[str], role: str):
    answered = served.call(method, path, token=TOKENS[role])
    if role in roles:
        assert answered.status_code not in {401, 403}
    else:
        assert_problem(answered, 403, f"role is {role}")


@pytest.mark.parametrize(("method", "path"), [guarded[:2] for guarded in GUARDED])
@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic bGV0"}, {"Authorization": "Bearer "}])
def test_without_a_known_token_nothing_is_open_but_health(served: Any, method: str, path: str, header: dict[str, str]):
    answered = served.call(method, path, token="", headers=header)
    assert_problem(answered, 401, "Authorization")
    assert answered.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_needs_no_token(served: Any, path: str):
    assert served.call("GET", path, token="").status_code == 200


def test_a_path_that_is_not_there(served: Any):
    assert_problem(served.call("GET", "/v2/recommendations"), 404, "/v2/recommendations", "openapi.json")


def test_a_method_that_is_not_there(served: Any):
    answered = served.call("DELETE", "/v1/recommendations")
    assert_problem(answered, 405, "DELETE", "POST")
    assert answered.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("body", "status", "field", "words"),
    [
        ("{", 400, "body", ["JSON"]),
        ("", 400, "body", ["JSON"]),
        ("[]", 422, "body", ["object"]),
        ("{}", 422, "user_id", ["required"]),
        ('{"user_id": ""}', 422, "user_id", ["''", "at least 1"]),
        ('{"user_id": 7}', 422, "user_id", ["7", "string"]),
        ('{"user_id": "a\\u0000b"}', 422, "user_id", ["pattern"]),
        (json.dumps({"user_id": "u" * 129}), 422, "user_id", ["128"]),
        ('{"user_id": "\\ud800"}', 400, "body", ["JSON"]),
        ('{"user_id": "u", "k": 0}', 422, "k", ["saw 0", "greater than or equal to 1"]),
        ('{"user_id": "u", "k": 101}', 422, "k", ["saw 101", "100"]),
        ('{"user_id": "u", "k": "20"}', 422, "k", ["'20'", "integer"]),
        ('{"user_id": "u", "k": 1e400}', 422, "k", ["integer"]),
        ('{"user_id": "u", "colour": "red"}', 422, "colour", ["'red'", "not known"]),
        ('{"user_id": "u", "exclude": "item-1"}', 422, "exclude", ["array"]),
        ('{"user_id": "u", "exclude": ["a", 7]}', 422, "exclude.1", ["saw 7"]),
        (json.dumps({"user_id": "u", "exclude": ["x"] * 1001}), 422, "exclude", ["1000"]),
    ],
)
def test_a_bad_question_is_told_the_field_the_value_and_the_mend(served: Any, body: Any, status: int, field: str, words: list[str]):
    answered = served.call("POST", "/v1/recommendations", content=body)
    assert assert_problem(answered, status, *words)["field"] == field


def test_a_body_that_is_too_large_is_refused_without_reading_it(served: Any):
    assert_problem(served.call("POST", "/v1/recommendations", content=b"x" * ((1 << 20) + 1)), 413, "1048576")


def test_a_body_that_is_too_large_and_hides_its_length_is_refused_too(served: Any):
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b"x" * 65536

    assert_problem(served.call("POST", "/v1/recommendations", content=parts()), 413, "1048576")


WATCH = {"event_id": "e1", "user_id": "user-1", "item_id": "item-9", "timestamp": 1_700_000_000_000}


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"event_type": "click", "events": [WATCH]}, "event_type", ["'click'", "watch"]),
        ({"event_type": "watch", "events": [WATCH, WATCH | {"note": "x" * 950_000}]}, "events.1", ["900000"]),
        ({"event_type": "watch", "events": []}, "events", ["at least 1"]),
        ({"event_type": "watch", "events": [WATCH, {"user_id": "u"}]}, "events.1.event_id", ["required"]),
        ({"event_type": "watch", "events": [WATCH | {"timestamp": "now"}]}, "events.0.timestamp", ["'now'", "integer"]),
        ({"event_type": "watch", "events": [WATCH | {"timestamp": 4_000_000_000_000}]}, "events.0.timestamp", ["milliseconds"]),
        ({"event_type": "watch", "events": [WATCH | {"fraction": 1.5}]}, "events.0.fraction", ["1.5", "less than or equal to 1"]),
        ({"event_type": "watch", "events": [WATCH | {"user_id": True}]}, "events.0.user_id", []),
    ],
)
def test_an_event_that_does_not_fit_is_told_where_and_why(served: Any, body: Any, field: str, words: list[str]):
    answered = served.call("POST", "/v1/events", token=TOKENS["writer"], json=body)
    assert assert_problem(answered, 422, *words)["field"].startswith(field)


def test_fields_that_no_schema_knows_are_passed_on_whatever_they_hold(served: Any):
    strange = json.dumps({"event_type": "watch", "events": [WATCH | {"n": 10**40, "x": float("nan")}]})
    answered = served.call("POST", "/v1/events", token=TOKENS["writer"], content=strange)
    assert_problem(answered, 503, "Kafka")


def test_events_are_not_acknowledged_while_kafka_is_away(served: Any):
    answered = served.call("POST", "/v1/events", token=TOKENS["writer"], json={"event_type": "watch", "events": [WATCH]})
    assert_problem(answered, 503, "Kafka", "same event ids")
    assert answered.headers["retry-after"] == "5"


def test_every_problem_is_one(served: Any):
    for answered in (served.call("GET", "/nowhere"), served.call("POST", "/v1/recommendations", content="{")):
        assert set(answered.json()) <= {"type", "title", "status", "detail", "field"}


def test_a_new_token_opens_and_an_old_one_shuts_with_the_record(served: Any, make_record: Any):
    served.serve(make_record(2, ("good", 100)) | {"tokens": {}})
    assert served.ask().status_code == 401


def test_a_token_that_another_record_does_not_name_is_taken_no_more(served: Any, make_record: Any):
    assert served.call("GET", "/v1/model").status_code == 200
    assert served.call("GET", "/v1/model").status_code == 200
    withdrawn = make_record(2, ("good", 100))
    withdrawn["tokens"] = {digest: role for digest, role in withdrawn["tokens"].items() if role != "reader"}
    served.serve(withdrawn)
    assert_problem(served.call("GET", "/v1/model"), 401, "token is not known")
    assert served.call("GET", "/v1/model", token=TOKENS["operator"]).status_code == 200


def test_a_type_of_events_that_the_model_does_not_take_is_told(served: Any):
    served.replica.arguments.event_topics.pop("rate")
    served.role = "writer"
    answered = served.call("POST", "/v1/events", json={"event_type": "rate", "events": [WATCH | {"rating": 3}]})
    assert assert_problem(answered, 422, "'rate'", "takes: watch")["field"] == "event_type"
