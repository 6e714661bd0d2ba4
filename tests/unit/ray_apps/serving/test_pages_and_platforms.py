"""Browsers of other origins, the Open Inference Protocol, sampled logs, and who is told to have done what."""

import asyncio
import logging
from typing import Any

import httpx
import pytest

from ray_apps.serving.cross_origin import CrossOrigin

SHOP = "https://shop.example.com"
OPERATOR, WRITER = "let-me-operate", "let-me-write"


@pytest.fixture
def good(caller: Any, make_record: Any) -> Any:
    caller.serve(make_record(1, ("good", 100)))
    return caller


def browse(caller: Any, method: str, origin: str, **headers: str) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(CrossOrigin(caller.api, frozenset({SHOP})), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://replica") as client:
            told = {"Origin": origin, "Authorization": "Bearer let-me-read"} | headers
            return await client.request(method, "/v1/recommendations", headers=told, json={"user_id": "user-1"})

    return asyncio.run(send())


def test_a_page_of_a_named_origin_may_ask_and_read(good: Any):
    asked = browse(good, "OPTIONS", SHOP, **{"Access-Control-Request-Method": "POST", "Authorization": ""})
    assert asked.status_code == 204
    assert "Authorization" in asked.headers["access-control-allow-headers"]
    answered = browse(good, "POST", SHOP)
    assert (answered.status_code, answered.headers["access-control-allow-origin"], answered.headers["vary"]) == (200, SHOP, "Origin")
    refused = browse(good, "POST", SHOP, Authorization="Bearer wrong")
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, SHOP), "its page may read why"


@pytest.mark.parametrize("origin", ["https://evil.example.com", "https://shop.example.com.evil.example", "null", "http://shop.example.com"])
def test_a_page_of_another_origin_may_not(good: Any, origin: str):
    asked = browse(good, "OPTIONS", origin, **{"Access-Control-Request-Method": "POST"})
    answered = browse(good, "POST", origin)
    for each in (asked, answered):
        assert not [name for name in each.headers if name.startswith("access-control")]
    assert asked.status_code == 405


def test_without_origins_nothing_is_said_of_them(good: Any):
    assert good.call("OPTIONS", "/v1/popular", headers={"Origin": SHOP}).status_code == 405


def test_a_platform_finds_the_model_by_the_open_inference_protocol(good: Any):
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert good.call("GET", path, token="").status_code == 200
    assert good.call("GET", "/v2").json() == {"name": "recsys", "version": "1", "extensions": []}
    told = {"name": "movies", "versions": ["good"], "platform": "recsys_als", "inputs": [], "outputs": []}
    assert good.call("GET", "/v2/models/movies").json() == told
    assert good.call("GET", "/v2/models/movies/versions/good").json() == told
    for path, field in (("/v2/models/books", "name"), ("/v2/models/movies/versions/other", "version"), ("/v2/models/", "path")):
        answered = good.call("GET", path)
        assert (answered.status_code, answered.json()["field"]) == (404, field)
    assert good.call("GET", "/v2/models/movies", token="").status_code == 401


def test_of_sampled_answers_a_part_is_logged_and_the_same_everywhere(good: Any):
    ids = [f"request-{number}" for number in range(4000)]

    def logged(percent: int) -> list[bool]:
        object.__setattr__(good.replica, "arguments", good.replica.arguments.model_copy(update={"logged_percent": percent}))
        return [good.replica.logs(one) for one in ids]

    assert not any(logged(0))
    assert all(logged(100))
    assert 300 < sum(logged(10)) < 500
    assert all(more or not less for less, more in zip(logged(10), logged(20), strict=True))


def test_who_withdraws_an_item_is_told_in_the_log(good: Any, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="ray_apps.serving.audit"):
        good.call("DELETE", "/v1/items/a", token=WRITER)
        good.ask()
    told = [record.__dict__ for record in caplog.records if record.__dict__.get("event") == "Audit"]
    assert [(each["action"], each["outcome"]) for each in told] == [("DELETE /v1/items/a", "503")]
    assert told[0]["client"].startswith("key:")
    assert WRITER not in caplog.text
