"""Events and answers for ingest under fire: good and bad ones, singly and in transactions, some of which are aborted."""

import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaException, Producer

DAY_MS = 24 * 3600 * 1000


def value(number: int, kind: str, chance: random.Random) -> bytes | None:
    """One record's value: one in twelve is bad, each in its own way; the key may be bad beside it."""
    now = int(time.time() * 1000)
    good = {
        "event_id": f"{kind}-{number}",
        "user_id": f"u{number % 500}",
        "item_id": f"i{chance.randrange(2000)}",
        "timestamp": now,
    }
    if kind == "responses":
        good = answer(number, now, chance)
    else:
        good |= {"rating": chance.randrange(11) / 2} if kind == "rate" else {"fraction": chance.random()}
    if chance.randrange(12):
        return json.dumps(good).encode()
    bad: list[bytes | None] = [
        None,
        b"",
        b"\xff\xfe not JSON",
        b'{"event_id": "cut',
        json.dumps(good | {"timestamp": now + 3 * DAY_MS}).encode(),
        json.dumps(good | {"user_id": 7}).encode(),
        json.dumps({name: seen for name, seen in good.items() if name not in ("item_id", "items")}).encode(),
        json.dumps(good | {"fraction": float("nan"), "rating": float("nan")}).encode(),
    ]
    return chance.choice(bad)


def answer(number: int, now: int, chance: random.Random) -> dict[str, Any]:
    """An answer of the API, as it is logged."""
    listed = [{"item_id": f"i{chance.randrange(2000)}", "score": chance.random(), "propensity": 0.8} for _ in range(chance.randrange(11))]
    return {
        "request_id": f"responses-{number}",
        "user_id": f"u{number % 500}",
        "timestamp": now,
        "model_version": "movies-000001",
        "variant": "stable",
        "reason": "personal",
        "items": listed,
        "epoch": 1,
        "latency_ms": 0.7,
    }


@dataclass(slots=True)
class Sent:
    """What was acknowledged; an aborted transaction's records are not."""

    committed: int = 0
    aborted: int = 0
    unknown: int = 0
    """Records of transactions whose end nobody told: the brokers were away for too long."""
    errors: list[str] = field(default_factory=list)


class Traffic(threading.Thread):
    """Writes bursts until told to stop: every third burst is a transaction, and four in ten of these are aborted."""

    def __init__(self, servers: str, topics: dict[str, str], seed: int, *, bursts_per_s: float = 20.0, burst: int = 100) -> None:
        super().__init__(name="traffic", daemon=True)
        self.sent = Sent()
        self._topics = topics
        self._chance = random.Random(seed)
        self._burst = burst
        self._pause_s = 1.0 / bursts_per_s
        self._enough = threading.Event()
        self._plain = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "linger.ms": 5})
        self._settings = {"bootstrap.servers": servers, "transactional.id": f"traffic-{seed}-{id(self)}", "linger.ms": 5}
        self._transactional = Producer(self._settings)
        self._number = 0
        self._again: deque[tuple[str, bytes | None, str | None]] = deque(maxlen=2000)

    def run(self) -> None:
        self._transactional.init_transactions(120)
        while not self._enough.wait(self._pause_s):
            if self._chance.randrange(3):
                self._write(self._plain, self._acknowledged)
                self._plain.flush(60)
                continue
            try:
                self._transaction()
            except KafkaException:
                self.sent.unknown += self._burst
                self._begin_anew()
        self._plain.flush(60)

    def stop(self) -> Sent:
        """End after the burst under way and say what was sent."""
        self._enough.set()
        self.join(300)
        return self.sent

    def _begin_anew(self) -> None:
        """Another producer of the same name: it ends what the first left open, as soon as there is a coordinator again."""
        while not self._enough.is_set():
            self._transactional = Producer(self._settings)
            try:
                self._transactional.init_transactions(10)
            except KafkaException:
                continue
            return

    def _transaction(self) -> None:
        self._transactional.begin_transaction()
        self._write(self._transactional, self._delivered)
        if self._chance.randrange(10) < 4:
            self._transactional.flush(60)  # so that aborted records do stand in the log
            self._transactional.abort_transaction(60)
            self.sent.aborted += self._burst
        else:
            self._transactional.commit_transaction(60)
            self.sent.committed += self._burst

    def _write(self, producer: Producer, on_delivery: Callable[[Any, Any], None]) -> None:
        for _ in range(self._burst):
            self._number += 1
            topic, kind = self._chance.choice(list(self._topics.items()))
            record = (topic, value(self._number, kind, self._chance), self._key())
            if self._again and not self._chance.randrange(30):
                record = self._chance.choice(self._again)  # as a producer does that heard no answer
            self._again.append(record)
            producer.produce(*record, on_delivery=on_delivery)
        producer.poll(0)

    def _key(self) -> str | None:
        return f"u{self._number % 500}" if self._chance.randrange(50) else self._chance.choice([None, "another"])

    def _acknowledged(self, error: object, _message: object) -> None:
        self.sent.committed += error is None
        if error is not None:
            self.sent.errors.append(str(error))

    def _delivered(self, _error: object, _message: object) -> None:
        """A transaction's record: its end says what became of it."""
