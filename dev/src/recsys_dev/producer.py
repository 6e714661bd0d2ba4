"""Writes an audience's events to Kafka, each acknowledged by all in-sync replicas."""

import logging
import time
from collections.abc import Iterable

from confluent_kafka import KafkaError, Message, Producer

from recsys_dev.errors import Unmet
from recsys_dev.events import Event

FLUSH_DEADLINE_S = 180.0
POLL_EVERY = 500
_quiet = logging.getLogger("recsys_dev.producer")


class EventProducer:
    """Sends events; `flush` returns when the brokers have them all."""

    def __init__(self, bootstrap_servers: str) -> None:
        """Connect; nothing is asked of the brokers yet."""
        _quiet.setLevel(logging.CRITICAL)
        settings: dict[str, str | int | bool] = {
            "bootstrap.servers": bootstrap_servers,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 20,
            "delivery.timeout.ms": 150_000,
            "queue.buffering.max.messages": 200_000,
        }
        self._producer = Producer(settings, logger=_quiet)
        self._failed: list[str] = []
        self.acknowledged = 0

    def send(self, events: Iterable[Event]) -> int:
        """Hand events over, keyed by user so that each user's keep their order; returns how many."""
        count = 0
        for event in events:
            self.send_raw(event.event_type, event.user_id.encode(), event.record())
            count += 1
        return count

    def send_raw(self, topic: str, key: bytes, value: bytes) -> None:
        """Hand one record over, whatever it holds."""
        end = time.monotonic() + FLUSH_DEADLINE_S
        while True:
            try:
                self._producer.produce(topic, value=value, key=key, on_delivery=self._delivered)
            except BufferError:
                if time.monotonic() > end:
                    raise Unmet(f"topic {topic}", "the brokers take no records", "See the brokers' logs.") from None
                self._producer.poll(0.2)
            else:
                break
        self._producer.poll(0)

    def flush(self) -> None:
        """Return when everything is acknowledged.

        Raises:
            Unmet: when some records were not, with the broker's words.
        """
        left = self._producer.flush(FLUSH_DEADLINE_S)
        if left or self._failed:
            words = "; ".join(sorted(set(self._failed))[:3]) or "no answer"
            raise Unmet("events sent to Kafka", f"{left + len(self._failed)} not acknowledged: {words}", "See the brokers' logs.")

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.acknowledged += 1
        else:
            self._failed.append(error.str())
