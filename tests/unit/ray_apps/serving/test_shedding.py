"""When load is refused, and how much of it."""

import asyncio
import time
from typing import Any

import pytest

from ray_apps.serving.in_hand import InHand
from ray_apps.serving.shedding import BEAT_SECONDS, Shedding, Watch


def looked(shedding: Shedding, looks: int, delay_ms: float, *, ran: float = 1.0, wanted: float = 1.0, begun: int = 50) -> Shedding:
    for _ in range(looks):
        shedding.begun = begun
        shedding.look(delay_ms, ran, wanted)
    return shedding


def refused(shedding: Shedding, requests: int = 1000) -> int:
    return sum(shedding.refuses() for _ in range(requests))


def test_nothing_is_refused_while_requests_are_begun_at_once():
    assert refused(looked(Shedding(25), 100, 20)) == 0


def test_a_part_is_refused_when_they_wait_too_long_and_none_when_they_do_not_any_more():
    shedding = looked(Shedding(25), 3, 60)
    assert 0 < refused(shedding) < 1000
    looked(shedding, 30, 1)
    assert refused(shedding) == 0


def test_some_are_always_let_in():
    assert refused(looked(Shedding(25), 1000, 500)) == pytest.approx(950, abs=2)


def test_bulk_is_refused_first():
    shedding = looked(Shedding(25), 1, 30)
    assert shedding.refuses_bulk
    assert refused(shedding, 10) < 10


def test_a_slow_machine_with_little_load_is_no_reason_to_refuse():
    assert refused(looked(Shedding(25), 100, 200, ran=0.2, wanted=0.3)) == 0
    assert refused(looked(Shedding(25), 100, 200, begun=2)) == 0
    assert refused(looked(Shedding(25), 100, 200, ran=0.1, begun=10)) == 0


def test_a_replica_that_gets_little_of_its_core_refuses_when_many_wait():
    assert refused(looked(Shedding(25), 100, 200, ran=0.1, begun=100)) > 0


def steered(capacity: float, offered: float, seconds: float) -> tuple[float, float]:
    """A queue that is served at `capacity` a second while `offered` arrive: the share refused and the delay in ms at its end."""
    shedding, waiting, shares = Shedding(25), 0.0, list[float]()
    for _ in range(int(seconds / BEAT_SECONDS)):
        waiting = max(0.0, waiting + (offered * (1 - shedding.share) - capacity) * BEAT_SECONDS)
        shedding.begun = int(offered * BEAT_SECONDS)
        shedding.look(waiting / capacity * 1000, 1.0, 1.0)
        shares.append(shedding.share)
    last = shares[len(shares) // 2 :]
    return sum(last) / len(last), waiting / capacity * 1000


@pytest.mark.parametrize("times", [1.2, 2.0, 5.0])
def test_the_share_comes_to_what_is_too_much_and_the_delay_to_its_target(times: float):
    share, delay_ms = steered(1000, 1000 * times, 20)
    assert share == pytest.approx(1 - 1 / times, abs=0.05)
    assert delay_ms < 75


def test_without_refusing_the_delay_would_grow_without_bound():
    """The broken twin of the test above."""
    waiting = 20 / BEAT_SECONDS * (2000 - 1000) * BEAT_SECONDS
    assert waiting / 1000 * 1000 > 75


async def kept_busy(shedding: Shedding, most_seconds: float = 60) -> float:
    """Give the loop no rest until some are refused, however little of a core there is for it."""
    Watch(shedding, InHand()).start()
    end = time.monotonic() + most_seconds
    while shedding.share == 0 and time.monotonic() < end:
        until = time.thread_time() + 0.08
        while time.thread_time() < until:
            shedding.begun += 1
        await asyncio.sleep(0)
    return shedding.share


def test_a_loop_that_has_no_rest_is_seen_and_one_that_rests_is_not():
    assert asyncio.run(kept_busy(Shedding(25))) > 0

    async def resting() -> float:
        shedding = Shedding(25)
        Watch(shedding, InHand()).start()
        await asyncio.sleep(0.5)
        return shedding.share

    assert asyncio.run(resting()) == 0


def test_what_is_refused_gets_429_and_events_never_are(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    caller.api._shedding = Shedding(25)  # one that nobody looks at: what the machine does meanwhile is not the point
    looked(caller.api._shedding, 1000, 500)
    answers = [caller.ask() for _ in range(20)]
    refusals = [answered for answered in answers if answered.status_code == 429]
    assert len(refusals) >= 18
    assert refusals[0].headers["retry-after"] == "1"
    assert "queueMilliseconds" in refusals[0].json()["detail"]
    assert caller.call("POST", "/v1/batch", json={"requests": [{"user_id": "ann"}]}).status_code == 429
    assert caller.call("GET", "/v1/model").status_code == 200
    caller.role = "operator"
    text = caller.call("GET", "/metrics").text
    assert f'recsys_requests_shed_total{{model="shop/movies"}} {len(refusals) + 1}.0' in text
