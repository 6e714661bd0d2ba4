"""Metrics of the spec, read from a server that answers as Prometheus does."""

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from recsys_operator.plan import findings
from recsys_operator.plan.evidence import Levels
from recsys_operator.state.observed import Measured, RolloutState, Unavailable
from recsys_operator.world import metrics
from recsys_operator.world.metrics import read_metrics
from recsys_schemas.v1alpha1.analysis import Analysis, Metric
from recsys_schemas.v1alpha1.rollout import Pinned, RolloutPhase, RolloutSpec, RolloutStatus
from recsys_schemas.v1alpha1.strategy import Step
from recsys_schemas.v1alpha1.version import ModelReference

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(seconds=90)


class Prometheus(BaseHTTPRequestHandler):
    """Answers instant queries from a table."""

    answers: ClassVar[dict[str, Any]] = {}

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        query = parse_qs(where.query)["query"][0]
        known = where.path == "/api/v1/query" and query in self.answers
        samples = [{"metric": {}, "value": [1767225600.1, value]} for value in self.answers.get(query, [])]
        body = {"status": "success", "data": {"resultType": "vector", "result": samples}}
        self.send_response(200 if known else 400)
        self.end_headers()
        self.wfile.write(json.dumps(body if known else {"status": "error", "errorType": "bad_data"}).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the class names it
        """Nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(metrics, "CALL_S", 60.0)  # however busy the machine is
    served = ThreadingHTTPServer(("127.0.0.1", 0), Prometheus)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


def metric(address: str) -> Metric:
    hits, trials = (f'sum(increase({name}{{version="$version"}}[$range]))' for name in ("skips", "plays"))
    return Metric(name="skips", address=address, hits=hits, trials=trials)


def rollout(asked: Metric, phase: RolloutPhase = RolloutPhase.PROGRESSING) -> RolloutState:
    spec = RolloutSpec(
        model_ref=ModelReference(name="movies", uid="1"),
        stable=Pinned(name="old", digest="sha256:old"),
        candidate=Pinned(name="new", digest="sha256:new"),
        steps=[Step(set_weight=10)],
        analysis=Analysis(metrics=[asked]),
    )
    return RolloutState(name="new", spec=spec, status=RolloutStatus(phase=phase, weight=10, step_since=START))


def table(**values: list[str]) -> dict[str, list[str]]:
    """Answers by arm and counter: `old_skips`."""
    return {f'sum(increase({key.partition("_")[2]}{{version="{key.partition("_")[0]}"}}[90s]))': samples for key, samples in values.items()}


def read_of(walking: RolloutState | None) -> Mapping[str, Measured | Unavailable]:
    async def reading() -> Mapping[str, Measured | Unavailable]:
        async with httpx.AsyncClient(trust_env=False) as http:
            return await read_metrics(http, walking, NOW)

    return asyncio.run(reading())


def read(server: str, **values: list[str]) -> Measured | Unavailable:
    Prometheus.answers = table(**values)
    return read_of(rollout(metric(server)))["skips"]


def test_both_arms_are_counted_since_the_share_is_served_and_harm_is_shown(server: str):
    found = read(server, old_skips=["90.2"], old_plays=["9000"], new_skips=["60"], new_plays=["1000.5"])
    assert found == Measured(stable=(90.2, 9000.0), candidate=(60.0, 1000.5))
    told = findings.metric(metric(server), found, Levels(worse=1e-4, not_worse=0.05))
    assert (told.verdict, told.words) == ("Worse", "skips 60/1000 = 6.0 % against 90/9000 = 1.0 %")


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        ([], "0 samples"),
        (["1", "2"], "sum() it"),
        (["NaN"], "a count is needed"),
        (["-1"], "a count is needed"),
        (["x"], "a count is needed"),
    ],
)
def test_what_is_no_count_says_nothing_and_why(server: str, samples: list[str], says: str):
    found = read(server, old_skips=samples, old_plays=["9000"], new_skips=["6"], new_plays=["1000"])
    assert isinstance(found, Unavailable)
    assert says in found.message
    told = findings.metric(metric(server), found, Levels(worse=1e-4, not_worse=0.05))
    assert told.verdict == "InsufficientData"
    assert "spec.rollout.analysis.metrics, skips" in told.words


def test_a_server_that_refuses_or_is_gone_says_nothing(server: str):
    refused = read(server)
    assert isinstance(refused, Unavailable)
    assert "400" in refused.message
    gone = read_of(rollout(metric("http://127.0.0.1:9")))["skips"]
    assert isinstance(gone, Unavailable)
    assert "does not answer within 60 s" in gone.message


def test_nothing_is_asked_while_no_share_is_served(server: str):
    assert read_of(rollout(metric(server), RolloutPhase.LOADING)) == {}
    assert read_of(None) == {}
