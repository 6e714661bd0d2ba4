"""Users of the line: they ask, look at what they are shown, and what they watch goes back as an event that names the answer.

An open loop: visits begin at their rate whether or not earlier ones have been answered, up to a bound in flight. It runs
in a thread of its own, so that whoever watches the line is not in its way.
"""

import asyncio
import contextlib
import json
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

from recsys_dev.events import Audience
from recsys_dev.http_line import DEADLINE_S, PATIENCE_S, TOO_MANY, UNAVAILABLE, HttpLine, LineBrokenError
from recsys_dev.recording import Answered
from recsys_dev.tallies import Latencies, Tally, quantiles

SHOWN = 20
AGAIN = (TOO_MANY, UNAVAILABLE)
"""Events have ids: what is sent twice is taken once."""
MOST_IN_FLIGHT = 64
EVENTS_EVERY_S = 0.25
EVENTS_AT_ONCE = 200
MOST_EXCLUDED = 100
MOST_REMEMBERED_USERS = 20_000
LAST_ANSWER_S = DEADLINE_S + PATIENCE_S
"""Whoever has asked is answered, or has given up, within this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A reaction that waits to be sent."""

    user_id: str
    item_id: str
    request_id: str
    timestamp: int


class Traffic:
    """Live users of one model's API until `stop`; `tally` counts what they get."""

    def __init__(self, url: str, token: str, audience: Audience, *, rate: float) -> None:
        """Prepare `rate` visits per second to the API at `url` (such as http://127.0.0.1:8000/movies)."""
        self.tally = Tally()
        self.rate = rate
        self._audience = audience
        self._line = HttpLine(url=url, token=token)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._to_send: deque[Watched] = deque(maxlen=100_000)
        self._recent: OrderedDict[str, deque[str]] = OrderedDict()
        self._number = 0
        self._born = f"{time.time_ns() // 1_000_000:x}"

    def start(self) -> "Traffic":
        """Begin; returns at once."""
        self._thread.start()
        return self

    def stop(self) -> Tally:
        """End, wait for what is in flight, and return the count."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(2 * LAST_ANSWER_S)
        return self.tally

    def _run(self) -> None:
        asyncio.run(self._visits())

    async def _visits(self) -> None:
        ended = asyncio.Event()
        sender = asyncio.create_task(self._send_events(ended))
        in_flight: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        while not self._stopped.is_set():
            due = max(due + 1 / self.rate, time.monotonic() - 1.0)  # after a stall, at most a second is made up for
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if len(in_flight) >= MOST_IN_FLIGHT:
                self.tally.not_sent += 1
                continue
            task = asyncio.create_task(self._visit())
            in_flight.add(task)
            task.add_done_callback(in_flight.discard)
        if in_flight:
            await asyncio.wait(in_flight, timeout=LAST_ANSWER_S)
        ended.set()
        await sender
        await self._line.close()

    async def _visit(self) -> None:
        user = self._audience.visitor()
        began = time.monotonic()
        self.tally.sent += 1
        recent = list(self._recent.get(user, ()))
        body = json.dumps({"user_id": user, "k": SHOWN, "exclude": recent}).encode()
        try:
            status, answer = await self._line.post("/v1/recommendations", body, self.tally.refuse)
        except (LineBrokenError, OSError, TimeoutError) as error:
            self.tally.fail(f"{type(error).__name__}: {error}")
            return
        took = 1000 * (time.monotonic() - began)
        self.tally.latencies_ms.append(took)
        if status != 200 or not isinstance(answer, dict):
            self.tally.fail(f"HTTP {status}: {answer}")
            return
        watched = self._count(user, answer)
        self.tally.answered.append(Answered(at=began, user=user, variant=str(answer["variant"]), watched=watched, ms=took))

    def _count(self, user: str, answer: dict[str, Any]) -> bool:
        """Count an answer, and let its user react to it; returns whether anything was watched."""
        self.tally.ok += 1
        version = self.tally.of(str(answer["model_version"]))
        version.answers += 1
        version.users.add(user)
        version.variants[str(answer["variant"])] += 1
        version.reasons[str(answer["reason"])] += 1
        items = [str(item["item_id"]) for item in answer["items"]]
        version.good += bool(items) and answer["reason"] != "fallback"
        watched = self._audience.reaction(user, items)
        if watched is None:
            return False
        version.watched += 1
        when = self._audience.watched_at(user, watched, time.time_ns() // 1_000_000)
        self._to_send.append(Watched(user_id=user, item_id=watched, request_id=str(answer["request_id"]), timestamp=when))
        self._recent.setdefault(user, deque(maxlen=MOST_EXCLUDED)).append(watched)
        if len(self._recent) > MOST_REMEMBERED_USERS:
            self._recent.popitem(last=False)
        return True

    async def _send_events(self, ended: asyncio.Event) -> None:
        """Send what users watched; an answer may still bring some until visits have `ended`."""
        while not ended.is_set() or self._to_send:
            batch = [self._to_send.popleft() for _ in range(min(len(self._to_send), EVENTS_AT_ONCE))]
            if not batch:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), EVENTS_EVERY_S)
                continue
            if not await self._post(batch) and self._stopped.is_set():
                return

    async def _post(self, batch: list[Watched]) -> bool:
        """Send reactions; whether the line acknowledged them."""
        events: list[dict[str, Any]] = []
        for watched in batch:
            self._number += 1
            events.append(
                {
                    "event_id": f"t{self._born}-{self._number}",
                    "user_id": watched.user_id,
                    "item_id": watched.item_id,
                    "timestamp": watched.timestamp,
                    "fraction": 1.0,
                    "request_id": watched.request_id,
                }
            )
        body = json.dumps({"event_type": "watch", "events": events}).encode()
        try:
            status, answer = await self._line.post("/v1/events", body, self.tally.refuse, AGAIN)
        except (LineBrokenError, OSError, TimeoutError) as error:
            status, answer = 0, f"{type(error).__name__}: {error}"
        if status == 200:
            self.tally.events_sent += len(events)
            return True
        self.tally.events_failed += len(events)
        self.tally.faults.append(f"events: HTTP {status}: {answer}")
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a probe of the API found."""

    latencies: Latencies
    succeeded: int
    asked: int


def probe(url: str, token: str, audience: Audience, *, users: int = 20, each: int = 24) -> Probe:
    """Let `users` at once ask `each` times one after another; returns quantiles and how many succeeded."""
    return asyncio.run(_probe(HttpLine(url=url, token=token), audience, users, each))


async def _probe(line: HttpLine, audience: Audience, users: int, each: int) -> Probe:
    times: list[float] = []

    async def one(user: str) -> int:
        succeeded = 0
        body = json.dumps({"user_id": user, "k": SHOWN}).encode()
        for _ in range(each):
            began = time.monotonic()
            try:
                status, _answer = await line.post("/v1/recommendations", body)
            except (LineBrokenError, OSError, TimeoutError):
                continue
            times.append(1000 * (time.monotonic() - began))
            succeeded += status == 200
        return succeeded

    succeeded = sum(await asyncio.gather(*(one(audience.visitor()) for _ in range(users))))
    await line.close()
    return Probe(latencies=quantiles(times), succeeded=succeeded, asked=users * each)
