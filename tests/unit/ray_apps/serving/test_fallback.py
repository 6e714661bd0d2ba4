"""The steps of the fallback: each by its name, in the order of the spec, and none of them an error."""

from typing import Any

import numpy as np
import pytest

from ray_apps.serving.answering import attempt
from ray_apps.serving.fallback import Chain, answer
from ray_apps.serving.lasts import Last, Lasts
from ray_apps.serving.pace import Pace
from ray_apps.serving.questions import of_user
from recsys_schemas.serving_api import Reason, RecommendationRequest
from recsys_schemas.serving_record import FallbackStep, Variant

CACHED_FIRST = (FallbackStep.CACHED, FallbackStep.CHAMPION, FallbackStep.POPULAR)
POPULAR_ONLY = (FallbackStep.POPULAR,)
LONG_MS = 60_000
"""However busy the machine is that runs the tests, an arm that is not slow answers within it."""


class Near:
    """A shortlist that knows the first items only."""

    expected_ms = 0.1

    def __init__(self, known: int) -> None:
        self.known = known

    unseen = -1.0

    def look(self, allowed: float) -> "Near":
        self.allowed = allowed
        return self

    def scores(self, history: Any, weights: Any) -> Any:
        del history, weights
        found = np.full(200, self.unseen, dtype=np.float32)
        found[: self.known] = np.arange(self.known, dtype=np.float32)
        return found


async def told(caller: Any, chain: Chain, user: str = "user-1", **fields: Any) -> Any:
    question = of_user(RecommendationRequest(user_id=user, **fields))
    return await answer(caller.replica.arms.serving, question, caller.replica.tallies, chain)


def busy(arm: Any, milliseconds: float = 10 * LONG_MS) -> None:
    """Make an arm one that is known to be too slow."""
    for _ in range(60):
        arm.pace.took(milliseconds)


def arms(caller: Any) -> Any:
    return caller.replica.arms.serving.arms


@pytest.mark.anyio
async def test_a_late_arm_answers_from_its_shortlist_and_is_not_to_blame(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    busy(arms(caller)["good"])
    arms(caller)["good"].near.shortlist = Near(30)
    answered = await told(caller, Chain(timeout_ms=LONG_MS), k=5)
    assert (answered.reason, answered.variant, answered.version) == (Reason.APPROXIMATE, Variant.STABLE, "good")
    assert [item for item, _ in answered.items] == [f"item-{place}" for place in (29, 28, 27, 26, 25)]
    counters = caller.replica.tallies.counters()["good"]
    assert (counters.requests, counters.errors) == (1, 0)


@pytest.mark.anyio
@pytest.mark.parametrize(("filters", "allowed"), [(None, 1.0), ({"categories": ["books"]}, 0.5)])
async def test_a_shortlist_is_told_what_part_may_be_shown(caller: Any, make_record: Any, filters: Any, allowed: float):
    caller.serve(make_record(1, ("described", 100)))
    arm, near = arms(caller)["described"], Near(200)
    busy(arm)
    arm.near.shortlist = near
    answered = await told(caller, Chain(timeout_ms=LONG_MS), filters=filters)
    assert answered.reason is Reason.APPROXIMATE
    assert near.allowed == pytest.approx(allowed)


@pytest.mark.anyio
async def test_what_a_shortlist_did_not_look_at_is_not_shown(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    busy(arms(caller)["good"])
    arms(caller)["good"].near.shortlist = Near(6)
    answered = await told(caller, Chain(timeout_ms=LONG_MS), k=20)
    assert [item for item, _ in answered.items] == ["item-5", "item-4", "item-0"]  # 1, 2 and 3 are the user's own


@pytest.mark.anyio
async def test_without_the_step_there_is_no_shortlist(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    busy(arms(caller)["good"])
    arms(caller)["good"].near.shortlist = Near(30)
    answered = await told(caller, Chain(timeout_ms=LONG_MS, steps=POPULAR_ONLY))
    assert (answered.reason, answered.variant) == (Reason.FALLBACK, Variant.FALLBACK)


@pytest.mark.anyio
async def test_the_last_answer_is_given_again_without_what_was_seen_since(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    chain = Chain(timeout_ms=LONG_MS, steps=CACHED_FIRST)
    first = await told(caller, chain, k=5)
    busy(arms(caller)["good"])
    shut = first.items[0][0]
    again = await told(caller, chain, k=5, exclude=[shut])
    assert (again.reason, again.variant, again.version) == (Reason.CACHED, Variant.FALLBACK, "good")
    assert again.items == first.items[1:]


@pytest.mark.anyio
async def test_a_last_answer_of_a_version_that_serves_no_more_is_not_given(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    lasts = Lasts()
    lasts.keep("user-1", Last("gone", [("item-9", 1.0)]))
    busy(arms(caller)["good"])
    assert (await told(caller, Chain(timeout_ms=LONG_MS, lasts=lasts))).reason is Reason.FALLBACK


@pytest.mark.anyio
async def test_the_steps_are_taken_in_their_order(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 0), ("broken", 100)))
    lasts = Lasts()
    lasts.keep("user-1", Last("good", [("item-9", 1.0)]))
    assert (await told(caller, Chain(timeout_ms=LONG_MS, lasts=lasts, steps=CACHED_FIRST))).reason is Reason.CACHED
    assert (await told(caller, Chain(timeout_ms=LONG_MS, lasts=lasts))).variant is Variant.STABLE  # Champion before Cached
    assert (await told(caller, Chain(timeout_ms=LONG_MS, lasts=lasts, steps=POPULAR_ONLY))).variant is Variant.FALLBACK


@pytest.mark.anyio
async def test_a_failed_arm_answers_from_no_shortlist_of_its_own(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("broken", 100)))
    arms(caller)["broken"].near.shortlist = Near(30)
    assert (await told(caller, Chain(timeout_ms=LONG_MS))).reason is Reason.FALLBACK
    counters = caller.replica.tallies.counters()["broken"]
    assert (counters.requests, counters.errors) == (1, 1)


@pytest.mark.anyio
async def test_an_attempt_within_its_budget_is_the_arms_own(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    assert isinstance(arms(caller)["good"].pace, Pace)
    ranked = await attempt(arms(caller)["good"], of_user(RecommendationRequest(user_id="user-1")), LONG_MS)
    assert ranked.reason is Reason.PERSONAL


def test_the_longest_unasked_are_forgotten_first():
    lasts = Lasts(most=2)
    for who in ("ann", "bob", "ann", "cid"):
        lasts.keep(who, Last("v", []))
    assert lasts.of("bob") is None
    assert lasts.of("ann") is not None


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
