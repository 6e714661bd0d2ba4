"""How often one client may ask."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ray_apps.serving.limits import RateLimits


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 7)), max_size=60), st.floats(0.5, 20), st.integers(1, 10))
def test_a_client_never_gets_more_than_its_burst_and_what_time_has_given(steps: list[tuple[float, int]], rate: float, burst: int):
    limits, now, taken = RateLimits(rate, burst), 0.0, 0
    for pause, cost in steps:
        now += pause
        wait = limits.wait("c", now, cost)
        if wait:
            assert limits.wait("c", now + wait + 1e-6, cost) == 0.0, "who waits as long as told is served"
            now += wait + 1e-6
        taken += cost
        assert taken <= burst + rate * now + max(0, cost - burst) + 1e-3


def test_clients_do_not_share_a_bucket():
    limits = RateLimits(1, 2)
    assert [limits.wait("a", 0) for _ in range(3)][:2] == [0, 0]
    assert limits.wait("a", 0) > 0
    assert limits.wait("b", 0) == 0


def test_too_many_requests_get_429_with_retry_after_and_nothing_else_is_slowed(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    caller.api._replica = replace(caller.replica, limits=RateLimits(0.5, 3))
    statuses = [caller.ask().status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    late = caller.ask()
    assert late.headers["retry-after"] in {"1", "2"}
    assert "rateLimit" in late.json()["detail"]
    assert caller.call("GET", "/v1/evidence", token="let-me-operate").status_code == 200
    assert caller.call("GET", "/healthz", token="").status_code == 200


def test_a_batch_counts_as_its_requests(caller: Any, make_record: Any):
    caller.serve(make_record(1, ("good", 100)))
    caller.api._replica = replace(caller.replica, limits=RateLimits(0.5, 5))
    five = {"requests": [{"user_id": f"user-{i}"} for i in range(5)]}
    assert caller.call("POST", "/v1/batch", json=five).status_code == 200
    assert caller.ask().status_code == 429
