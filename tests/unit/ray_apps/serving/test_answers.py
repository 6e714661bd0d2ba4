"""The chain of answers: own arm, stable arm, popular items."""

from typing import Any

import pytest

from ray_apps.serving.pace import INLINE_MS


def test_an_answer_names_version_variant_and_reason(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    answered = caller.ask(k=5)
    body = answered.json()
    assert answered.status_code == 200
    assert (body["model_version"], body["variant"], body["reason"]) == ("good", "stable", "personal")
    assert len(body["items"]) == 5
    assert [item["score"] for item in body["items"]] == sorted((item["score"] for item in body["items"]), reverse=True)
    assert all(item["propensity"] == 1.0 for item in body["items"])


def test_neither_seen_nor_excluded_items_are_shown(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    first = {item["item_id"] for item in caller.ask(k=10).json()["items"]}
    second = {item["item_id"] for item in caller.ask(k=10, exclude=[*first, "an item nobody knows"]).json()["items"]}
    assert first.isdisjoint({"item-1", "item-2", "item-3"})
    assert len(second) == 10
    assert first.isdisjoint(second)


def test_an_unknown_user_gets_what_is_popular(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    body = caller.ask(user_id="somebody new", k=3, exclude=["item-1"]).json()
    assert body["reason"] == "popular"
    assert [item["item_id"] for item in body["items"]] == ["item-0", "item-2", "item-3"]


@pytest.mark.parametrize("rule", ["broken", "not-finite"])
def test_a_broken_candidate_is_answered_by_the_stable_arm_and_counted(caller: Any, make_record: Any, rule: str):
    caller.serve(make_record(1, ("good", 0), (rule, 100)))
    body = caller.ask().json()
    caller.replica.ripening.ripen(-2)
    counters = caller.replica.tallies.counters()
    assert (body["model_version"], body["variant"], body["reason"]) == ("good", "stable", "personal")
    assert (counters[rule].requests, counters[rule].errors, counters[rule].impressions) == (1, 1, 0)
    assert (counters["good"].requests, counters["good"].impressions) == (0, 1)


def test_a_broken_only_arm_is_answered_by_the_popular_fallback(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("broken", 100)))
    body = caller.ask(k=3).json()
    caller.replica.ripening.ripen(-2)
    counters = caller.replica.tallies.counters()["broken"]
    assert (body["variant"], body["reason"]) == ("fallback", "fallback")
    assert [item["item_id"] for item in body["items"]] == ["item-0", "item-4", "item-5"], "seen items 1 to 3 are left out"
    assert (counters.requests, counters.errors, counters.late, counters.impressions) == (1, 1, 0, 0)


def test_a_late_arm_is_answered_by_the_fallback_and_counted_as_late(hasty: Any, make_record: Any):
    hasty.serve(make_record(1, ("late", 100)))
    first, second = hasty.ask().json(), hasty.ask().json()
    counters = hasty.replica.tallies.counters()["late"]
    assert first["variant"] == second["variant"] == "fallback"
    assert (counters.requests, counters.errors, counters.late) == (2, 2, 2)


def test_a_slow_candidate_is_scored_on_its_own_thread_and_the_stable_arm_is_not(hasty: Any, make_record: Any):
    hasty.serve(make_record(1, ("good", 0), ("late", 100)))
    arms = hasty.replica.arms.serving.arms
    assert arms["late"].pace.expected_ms > INLINE_MS >= arms["good"].pace.expected_ms
    for _ in range(40):  # it is known to be late and not begun at all, until its turn comes to show otherwise
        assert hasty.ask().json()["model_version"] == "good"
    assert arms["late"].pace._thread is not None


def test_buckets_count_every_request_once(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    for _ in range(7):
        caller.ask()
    counters = caller.replica.tallies.counters()["good"]
    counts = list(counters.latency_buckets.values())
    assert list(counters.latency_buckets)[-1] == "+Inf"
    assert counts == sorted(counts)
    assert counts[-1] == counters.requests == 7


def test_before_a_version_is_mapped_the_answer_is_503_with_a_time_to_ask_again(caller: Any, make_record: Any):
    unready = caller.ask()
    caller.replica.arms.apply(make_record(1, ("good", 100), digest="sha256:wrong"))
    refused = caller.ask()
    assert unready.status_code == refused.status_code == 503
    assert unready.headers["retry-after"] == refused.headers["retry-after"] == "2"
    assert unready.headers["content-type"] == "application/problem+json"


def test_a_model_without_a_version_says_so(caller: Any, make_record: Any):
    caller.serve(make_record(0))
    answered = caller.ask()
    assert answered.status_code == 503
    assert "no version yet" in answered.json()["detail"]
    assert caller.call("GET", "/readyz").status_code == 503
    assert caller.call("GET", "/healthz").status_code == 200


def test_answers_are_logged_without_a_broker_and_without_waiting(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    assert all(caller.ask().status_code == 200 for _ in range(50))
