"""The load generator against a real server on loopback."""

import asyncio
import contextlib
import http.server
import itertools
import json
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytest

from recsys_dev.events import Event
from recsys_dev.http_line import HttpLine
from recsys_dev.processes import wait_until
from recsys_dev.tallies import quantiles
from recsys_dev.traffic import EVENTS_EVERY_S, Traffic, probe


class Reader:
    """One user, who watches the first item shown."""

    name = "one reader"

    def history(self) -> list[Event]:
        return []

    def live(self, count: int, now_ms: int) -> list[Event]:
        del count, now_ms
        return []

    def visitor(self) -> str:
        return "u1"

    def reaction(self, user_id: str, items: Sequence[str]) -> str | None:
        return items[0] if user_id == "u1" and items else None

    def watched_at(self, user_id: str, item_id: str, now_ms: int) -> int:
        del user_id, item_id
        return now_ms


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # a connection that finds no room is tried again seconds later only
    status = 200
    hang_up = False
    chunked = False
    answers_after_s = 0.0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.numbers = itertools.count(1)
        self.asked: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.tokens: set[str] = set()
        self.sheds = deque[None]()
        """One for each request that is refused for load."""
        self.silences = deque[None]()
        """One for each parcel of events that Kafka does not acknowledge in time, though it may have it."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def own(self) -> Server:
        assert isinstance(self.server, Server)
        return self.server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.own.tokens.add(self.headers["Authorization"])
        if self.own.hang_up:
            self.close_connection = True
            return
        with contextlib.suppress(IndexError):
            self.own.sheds.pop()
            self.answer(429, {}, {"Retry-After": "1"})
            return
        if self.path == "/movies/v1/events":
            self.own.events += body["events"]
            with contextlib.suppress(IndexError):
                self.own.silences.pop()
                self.answer(503, {}, {"Retry-After": "1"})
                return
            self.answer(200, {"accepted": len(body["events"])})
            return
        self.own.asked.append(body)
        time.sleep(self.own.answers_after_s)
        number = next(self.own.numbers)
        request_id = f"r{number}"
        items = [{"item_id": f"m{number}", "score": 1.0}]
        told = {"request_id": request_id, "model_version": "movies-000001", "variant": "stable", "reason": "personal", "items": items}
        self.answer(self.own.status, told)

    def answer(self, status: int, told: dict[str, Any], fields: Mapping[str, str] = MappingProxyType({})) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        if self.own.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            half = len(body) // 2
            for part in (body[:half], body[half:], b""):
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


@pytest.fixture
def server() -> Iterator[Server]:
    serving = Server()
    thread = threading.Thread(target=serving.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield serving
    serving.shutdown()
    thread.join()
    serving.server_close()


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/movies"


def after(traffic: Traffic, requests: int) -> None:
    wait_until(lambda: traffic.tally.sent >= requests, what="requests", deadline_s=90)


def test_answers_are_counted_by_version_and_reactions_come_back_with_their_request(server: Server):
    traffic = Traffic(url_of(server), "secret", Reader(), rate=200).start()
    after(traffic, 20)
    tally = traffic.stop()
    version = tally.versions["movies-000001"]
    assert (tally.failed, tally.events_failed) == (0, 0)
    assert version.answers == version.good == version.watched == tally.ok == tally.sent
    assert tally.events_sent == len(server.events) == tally.ok
    assert {event["request_id"] for event in server.events} == {f"r{n + 1}" for n in range(tally.ok)}
    assert len({event["event_id"] for event in server.events}) == tally.ok
    assert server.tokens == {"Bearer secret"}
    assert tally.users_of("movies-000001") == 1


def test_what_is_watched_in_an_answer_that_comes_after_the_end_is_sent_too(server: Server):
    server.answers_after_s = 3 * EVENTS_EVERY_S
    traffic = Traffic(url_of(server), "secret", Reader(), rate=50).start()
    after(traffic, 1)
    tally = traffic.stop()
    assert tally.events_sent == len(server.events) == tally.ok == tally.sent


def test_what_was_just_watched_is_not_asked_for_again(server: Server):
    traffic = Traffic(url_of(server), "secret", Reader(), rate=50).start()
    # Some are asked before the first answer has come.
    wait_until(lambda: any("m1" in asked["exclude"] for asked in list(server.asked)), what="m1 to be left out", deadline_s=60)
    traffic.stop()


def test_a_status_other_than_200_is_a_failed_request(server: Server):
    server.status = 503
    traffic = Traffic(url_of(server), "secret", Reader(), rate=100).start()
    after(traffic, 10)
    tally = traffic.stop()
    assert tally.failed == tally.sent
    assert "HTTP 503" in tally.faults[0]


def test_who_is_refused_for_load_asks_again_when_the_refusal_says_and_has_not_failed(server: Server):
    server.sheds.extend([None] * 5)
    traffic = Traffic(url_of(server), "secret", Reader(), rate=50).start()
    wait_until(lambda: traffic.tally.ok > 5, what="answers", deadline_s=60)
    tally = traffic.stop()
    assert (tally.shed, tally.failed, tally.events_failed) == (5, 0, 0), list(tally.faults)
    assert tally.ok == tally.sent


def test_events_that_were_not_acknowledged_are_sent_again_with_the_same_ids_and_a_recommendation_is_not_asked_again(server: Server):
    server.silences.extend([None] * 2)
    traffic = Traffic(url_of(server), "secret", Reader(), rate=50).start()
    wait_until(lambda: traffic.tally.unacknowledged == 2 and traffic.tally.events_sent > 0, what="events", deadline_s=60)
    tally = traffic.stop()
    ids = [event["event_id"] for event in server.events]
    assert (tally.events_failed, tally.shed, tally.failed) == (0, 0, 0), list(tally.faults)
    assert len(ids) > len(set(ids)) == tally.events_sent


def test_who_is_refused_for_load_for_longer_than_their_patience_has_failed(server: Server):
    server.sheds.extend([None] * 100)
    line, refused = HttpLine(url=url_of(server), token="secret", patience_s=1.5), list[int]()
    status, _ = asyncio.run(line.post("/v1/recommendations", b"{}", refused.append))
    assert status == 429
    assert 1 <= len(refused) <= 2


def test_a_connection_that_ends_without_an_answer_is_a_failed_request(server: Server):
    server.hang_up = True
    traffic = Traffic(url_of(server), "secret", Reader(), rate=100).start()
    after(traffic, 10)
    tally = traffic.stop()
    assert tally.failed == tally.sent
    assert tally.ok == 0


def test_chunked_answers_are_read(server: Server):
    server.chunked = True
    found = probe(url_of(server), "secret", Reader(), users=2, each=3)
    assert (found.succeeded, found.asked) == (6, 6)
    assert found.latencies.count == 6


def test_the_probe_counts_what_did_not_succeed(server: Server):
    server.status = 500
    found = probe(url_of(server), "secret", Reader(), users=2, each=3)
    assert (found.succeeded, found.asked) == (0, 6)


def test_quantiles_are_nearest_ranks():
    found = quantiles(float(n) for n in range(1, 101))
    assert (found.p50, found.p95, found.p99, found.count) == (50.0, 95.0, 99.0, 100)
