"""What autoscaling goes by: requests at work, waiting, and waited for."""

import asyncio
import time
from typing import Any

import pytest

from ray_apps.serving.in_hand import InHand
from ray_apps.serving.shedding import BEAT_SECONDS, Shedding, Watch


def looked(in_hand: InHand, seconds: float, *, rate: float, late: float, wanted: float) -> float:
    for _ in range(round(seconds / BEAT_SECONDS)):
        in_hand.look(BEAT_SECONDS, begun=round(rate * BEAT_SECONDS), late=late, wanted=wanted)
    return in_hand.mean


def test_a_replica_that_waits_for_nobody_has_what_it_is_at_work_for():
    assert looked(InHand(), 10, rate=1000, late=0.0005, wanted=0.5) == pytest.approx(0.5, abs=0.01)


def test_whoever_waits_for_their_turn_is_in_hand_though_nothing_is_begun():
    assert looked(InHand(), 10, rate=1000, late=0.021, wanted=1.0) == pytest.approx(21, rel=0.01)


def test_requests_on_threads_and_those_that_wait_for_kafka_are_in_hand():
    in_hand = InHand()
    in_hand.inside = 7
    assert looked(in_hand, 10, rate=0, late=0, wanted=0) == pytest.approx(7, abs=0.01)


def test_a_rush_that_is_over_is_soon_forgotten():
    in_hand = InHand()
    looked(in_hand, 10, rate=1000, late=0.05, wanted=1.0)
    assert looked(in_hand, 10, rate=10, late=0, wanted=0.01) < 0.1


def test_whoever_measures_may_see_it(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    caller.replica.in_hand.mean = 7.5
    caller.role = "operator"
    assert 'recsys_requests_in_hand{model="shop/movies"}' in caller.call("GET", "/metrics").text


def test_a_loop_without_rest_has_more_in_hand_than_one_request():
    in_hand, shedding = InHand(), Shedding(1e9)

    async def busy() -> None:
        Watch(shedding, in_hand).start()
        end = time.monotonic() + 60
        while in_hand.mean <= 10 and time.monotonic() < end:
            until = time.thread_time() + 0.05
            while time.thread_time() < until:
                pass
            shedding.begun += 50
            await asyncio.sleep(0)

    asyncio.run(busy())
    assert in_hand.mean > 10
