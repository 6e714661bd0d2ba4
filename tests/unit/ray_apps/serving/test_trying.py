"""A version that is tried beside the one that serves: in the shadow, in mixed lists, by testers, and who is held back."""

import hashlib
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_apps.serving.assignment import assigned, split_of
from ray_apps.serving.counters import group_of
from ray_apps.serving.interleaving import Picked, team_draft
from ray_apps.serving.liked import Liked
from ray_apps.serving.likeness import overlap, rank_correlation
from ray_apps.serving.mixed_clicks import MOST_OPEN, MixedClicks
from ray_apps.serving.record import RecordRefused, parse
from ray_apps.serving.shadowing import MOST_WAITING, Shadow
from recsys_schemas.serving_record import Arm

lists = st.lists(st.sampled_from("abcdefghij"), max_size=10, unique=True)


@given(lists, lists, st.integers(1, 12), st.lists(st.booleans(), min_size=12, max_size=12))
def test_a_mixed_list_holds_only_what_the_two_hold_each_once_and_the_teams_are_even(
    stable: list[str], candidate: list[str], k: int, coins: list[bool]
):
    tossed = iter(coins)
    drawn = team_draft(stable, candidate, k, lambda: next(tossed))
    items = [place.item for place in drawn]
    assert len(set(items)) == len(items)
    assert len(items) == min(k, len(set(stable) | set(candidate)))
    assert all(place.item in (candidate if place.of_candidate else stable) for place in drawn)
    own = sum(place.of_candidate for place in drawn)
    if len(stable) >= k and len(candidate) >= k and not set(stable) & set(candidate):
        assert abs(2 * own - len(drawn)) <= 1


@given(lists.filter(lambda found: len(found) > 1))
def test_a_list_mixed_with_itself_favours_nobody(items: list[str]):
    first = team_draft(items, items, len(items), lambda: False)
    second = team_draft(items, items, len(items), lambda: True)
    assert [place.item for place in first] == items
    assert all(a.of_candidate != b.of_candidate for a, b in zip(first, second, strict=True))


full = st.lists(st.sampled_from("abcdefghij"), min_size=6, max_size=6, unique=True)


def credit_by_place(stable: list[str], candidate: list[str], tells: Callable[[Picked], bool]) -> list[Fraction]:
    """What the candidate earns at each place, over all coins, from whoever clicks by place alone."""
    earned = [Fraction(0)] * 6
    coins = list(product((False, True), repeat=3))
    for each in coins:
        tossed = iter(each)
        for place, picked in enumerate(team_draft(stable, candidate, 6, lambda tossed=tossed: next(tossed))):
            earned[place] += Fraction((1 if picked.of_candidate else -1) * tells(picked), len(coins))
    return earned


@given(full, full)
def test_who_clicks_by_place_alone_prefers_nobody(stable: list[str], candidate: list[str]):
    assert credit_by_place(stable, candidate, lambda picked: picked.tells) == [0] * 6
    assert credit_by_place(stable, candidate, lambda _: True) == [0] * 6


def test_a_credit_that_leaves_out_all_that_both_lists_hold_is_caught():
    stable, candidate = list("abcdef"), list("bghijc")
    shared = set(stable) & set(candidate)
    assert credit_by_place(stable, candidate, lambda picked: picked.item not in shared) != [0] * 6


@given(full)
def test_a_click_in_a_list_mixed_with_itself_tells_nothing(items: list[str]):
    assert not any(place.tells for place in team_draft(items, items, 6, lambda: True))


def test_where_both_would_pick_the_same_only_what_follows_tells():
    drawn = team_draft(["a", "b", "c"], ["a", "d", "e"], 4, lambda: True)
    assert [(place.item, place.tells) for place in drawn] == [("a", False), ("b", True), ("d", True), ("c", True)]


def test_overlap_and_rank_correlation_of_lists():
    assert overlap([], []) == 1.0
    assert overlap(["a", "b", "c"], ["a"]) == pytest.approx(1 / 3)
    assert rank_correlation(["a", "b"], ["c", "d"]) is None
    assert rank_correlation(["a", "x", "b", "c"], ["a", "b", "y", "c"]) == 1.0


def trying(record: dict[str, Any], **fields: int) -> dict[str, Any]:
    """The second arm, tried in some way."""
    record["arms"][1] |= fields
    return record


def user_below(record: dict[str, Any], version: str) -> str:
    """Somebody whom an arm of that share would have got."""
    split = split_of(record["salt"], [Arm.model_validate(arm) for arm in record["arms"]])
    return next(name for name in (f"user-{number}" for number in range(50)) if assigned(split, name) == version)


def test_copies_are_answered_by_a_version_that_nobody_sees(caller: Any, make_record: Any, wait_until: Any):
    caller.replica = caller.api._replica
    caller.serve(trying(make_record(1, ("good", 100), ("other", 0)), mirrored=100))
    answers = [caller.ask(user_id=f"user-{number}", k=5).json() for number in range(8)]
    assert {answer["model_version"] for answer in answers} == {"good"}
    wait_until(lambda: caller.replica.report().shadow["other"].latency_buckets["+Inf"] == 8)
    scored = caller.replica.report().shadow["other"]
    assert (sum(scored.requests), sum(scored.errors)) == (8, 0)
    assert 0 <= scored.overlap_sum < 8
    assert "other" not in caller.replica.report().counters


def test_what_fails_in_the_shadow_is_counted_and_answered_by_nobody(caller: Any, make_record: Any, wait_until: Any):
    caller.serve(trying(make_record(1, ("good", 100), ("broken", 0)), mirrored=100))
    assert caller.ask().json()["variant"] == "stable"
    wait_until(lambda: sum(caller.replica.report().shadow.get("broken", Nothing).errors) == 1)


class Nothing:
    errors: tuple[int, ...] = ()


def test_a_busy_replica_drops_copies_and_never_waits():
    shadow = Shadow(Liked(), rest=1e9)
    shadow.close()

    class Arm:
        name = "other"

    class Copy:
        arm = Arm()

    for _ in range(MOST_WAITING + 7):
        shadow.offer(Copy())  # pyright: ignore[reportArgumentType]
    assert shadow.counters()["other"].dropped == 7


def test_some_users_get_lists_of_both_and_each_item_names_its_version(caller: Any, make_record: Any):
    caller.serve(trying(make_record(1, ("good", 100), ("other", 0)), interleaved=100))
    body = caller.ask(k=10).json()
    assert body["variant"] == "interleaved"
    assert Counter(item["model_version"] for item in body["items"]) == {"good": 5, "other": 5}
    assert [item["score"] for item in body["items"]] == sorted((item["score"] for item in body["items"]), reverse=True)
    counters = caller.replica.tallies.counters()
    assert (counters["good"].requests, counters["other"].requests) == (1, 1)
    assert not caller.replica.credits.credit(body["request_id"], "user-1", 60), "a mixed list is no arm's answer"


def test_a_candidate_that_fails_is_left_out_of_the_mix_and_counted(caller: Any, make_record: Any):
    caller.serve(trying(make_record(1, ("good", 100), ("broken", 0)), interleaved=100))
    body = caller.ask(k=5).json()
    assert (body["variant"], body["model_version"]) == ("stable", "good")
    counters = caller.replica.tallies.counters()
    assert (counters["broken"].errors, counters["good"].errors) == (1, 0)


def test_clicks_on_mixed_lists_are_counted_once_for_the_side_that_has_more(caller: Any, make_record: Any):
    caller.serve(trying(make_record(1, ("good", 100), ("other", 0)), interleaved=100))
    ledger = caller.replica.mixed
    wins = [caller.ask(k=6).json() for _ in range(2)]
    for body in wins:
        own = [item["item_id"] for item in body["items"] if item["model_version"] == "other"]
        for item in (own[0], own[0], own[1], body["items"][0]["item_id"], "an item that was not there"):
            ledger.clicked(body["request_id"], item)
    lost = caller.ask(k=6).json()
    ledger.clicked(lost["request_id"], next(item["item_id"] for item in lost["items"] if item["model_version"] == "good"))
    ledger.clicked("made up", "item-1")
    caller.ask(k=6)
    assert ledger.counters() == {}, "an open answer proves nothing yet"
    ledger.ripen(-1)
    seen = ledger.counters()["other"]
    assert (seen.against, sum(seen.answers), sum(seen.wins), sum(seen.losses)) == ("good", 4, 2, 1)
    assert seen.answers[group_of("user-1")] == 4


def test_mixed_lists_that_are_open_are_bounded():
    now = [0.0]
    ledger = MixedClicks(lambda: now[0])
    for number in range(MOST_OPEN + 3):
        ledger.shown(f"request-{number}", "a", "b", 0, {"x": True})
    ledger.clicked("request-0", "x")
    now[0] = 99.0
    ledger.ripen(10)
    seen = ledger.counters()["b"]
    assert (sum(seen.answers), sum(seen.wins)) == (MOST_OPEN + 3, 0)
    assert not ledger.waiting


def test_a_tester_names_the_arm_that_answers_and_it_is_no_evidence(caller: Any, make_record: Any):
    record = make_record(1, ("good", 100), ("other", 0))
    record["tokens"][hashlib.sha256(b"let-me-test").hexdigest()] = "tester"
    caller.serve(record)
    asked = {"token": "let-me-test", "json": {"user_id": "user-1"}}
    body = caller.call("POST", "/v1/recommendations", headers={"x-recsys-variant": "candidate"}, **asked).json()
    assert (body["model_version"], body["variant"]) == ("other", "preview")
    assert not caller.replica.credits.credit(body["request_id"], "user-1", 60)
    assert "other" not in caller.replica.tallies.counters()
    assert caller.call("POST", "/v1/recommendations", **asked).json()["variant"] == "stable"


@pytest.mark.parametrize(("token", "variant", "status"), [("let-me-read", "candidate", 403), ("let-me-test", "nobody", 404)])
def test_others_may_not_name_an_arm_nor_testers_one_that_is_not_there(caller: Any, make_record: Any, token: str, variant: str, status: int):
    record = make_record(1, ("good", 100), ("other", 0))
    record["tokens"][hashlib.sha256(b"let-me-test").hexdigest()] = "tester"
    caller.serve(record)
    answered = caller.call("POST", "/v1/recommendations", token=token, json={"user_id": "user-1"}, headers={"x-recsys-variant": variant})
    assert answered.status_code == status
    assert answered.json()["field"] == "x-recsys-variant"


def test_who_is_held_back_stays_on_the_version_before(caller: Any, make_record: Any):
    first = make_record(1, ("good", 50), ("other", 50))
    caller.serve(first)
    stayed = user_below(first, "good")
    second = make_record(2, ("other", 95), ("good", 5))
    second["arms"][1]["variant"] = "holdback"
    caller.serve(second)
    kept = [name for name in (f"user-{number}" for number in range(400)) if caller_arm(second, name) == "good"]
    assert all(caller_arm(first, name) == "good" for name in kept), "nobody is moved to what they had left"
    assert caller.ask(user_id=kept[0]).json()["variant"] == "holdback"
    assert stayed


def caller_arm(record: dict[str, Any], user: str) -> str:
    return assigned(split_of(record["salt"], [Arm.model_validate(arm) for arm in record["arms"]]), user)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([{"mirrored": 5}, {}], "only one candidate may be"),
        ([{"share": 60}, {"share": 40, "interleaved": 70}], "mix the stable arm's users only"),
        ([{"share": 60}, {"share": 40, "ceded": 10}], "only a candidate without a share cedes"),
        ([{"share": 100, "ceded": 10}, {}], "only a candidate without a share cedes"),
    ],
)
def test_records_that_no_replica_could_serve_are_refused(make_record: Any, changes: list[dict[str, int]], words: str):
    record = make_record(1, ("good", 100), ("other", 0))
    record["arms"] = [arm | change for arm, change in zip(record["arms"], changes, strict=True)]
    with pytest.raises(RecordRefused, match=words):
        parse(record)


def test_a_list_is_worth_what_its_items_earn():
    liked = Liked()
    for _ in range(100):
        liked.shown(["a", "b"])
    for _ in range(50):
        liked.rewarded("a")
    liked.rewarded("never shown")
    assert liked.worth(["a"]) > 2 * liked.worth(["b"]) > 0
    assert liked.worth(["unknown"]) == pytest.approx(0.25)
