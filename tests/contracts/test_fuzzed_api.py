"""The API, asked by its own description: whatever schemathesis makes of it, no answer is a fault of ours, and each is as described.

`make fuzz-api` asks the same 10,000 times.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from ray_apps.serving.api import Api
from ray_apps.serving.asgi import Receive, Scope, Send
from ray_apps.serving.openapi import openapi
from unit.ray_apps.serving.conftest import Caller, make_replica, record, until

CASES = int(os.environ.get("FUZZ_CASES", "400"))
"""In all; each operation has its part."""
TOO_LARGE = 413
OPERATIONS = sum(len([method for method in path if method != "parameters"]) for path in openapi()["paths"].values())
TOKENS = {"/v1/evidence": "let-me-operate", "/metrics": "let-me-operate", "/v1/model:switch": "let-me-switch"}
"""Of routes that a writer may not ask."""

RUNNING: list[Api] = []


async def api(scope: Scope, receive: Receive, send: Send) -> None:
    """The API of the replica that runs; whoever asks may come and go, and it stays."""
    if scope["type"] == "http":
        await RUNNING[0](scope, receive, send)
        return
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


schema = schemathesis.openapi.from_dict(openapi())
schema.app = api


@pytest.fixture(scope="module", autouse=True)
def replica() -> Iterator[None]:
    made = make_replica(acknowledge_seconds=0.02)
    assert made.arms.apply(record(1, ("described", 100)))
    until(lambda: made.arms.epoch == 1)
    RUNNING[:] = [Caller(made).api]
    yield
    made.close()


@schema.parametrize()  # pyright: ignore[reportUntypedFunctionDecorator] - its own package says no types
@settings(
    max_examples=max(1, CASES // OPERATIONS),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large, HealthCheck.large_base_example],
    derandomize=CASES < 10_000,
)
def test_every_answer_is_as_described(case: Any):
    token = TOKENS.get(case.path, "let-me-write")
    bearer = {"Authorization": f"Bearer {token}"}
    response = case.call(headers=bearer)
    assert response.status_code not in {500, 501, 502, 504}, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"][0] == "application/problem+json"
    case.validate_response(response, headers=bearer, excluded_checks=excluded(response))


def excluded(response: Any) -> list[Any]:
    """No broker has the topics here, so 503 is what writing must give.

    A body above the bound is refused with 413 before anybody looks at what it says. How far ahead an event may be dated no schema can say,
    and events are judged as ingest does: 5.0 is no time. Which versions can be switched to, neither.
    """
    told = response.json() if response.status_code == 422 else {}
    timed = str(told.get("field", "")).startswith("events.") and "timestamp" in told["field"]
    if response.status_code == TOO_LARGE:
        return [not_a_server_error, positive_data_acceptance, negative_data_rejection]
    return [not_a_server_error, *([positive_data_acceptance] if timed or response.status_code == 409 else [])]
