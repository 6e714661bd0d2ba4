"""Questions and answers on Kafka, written beside the request path: a full queue drops and counts, it never waits."""

import logging
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from confluent_kafka import KafkaError, Message

from ray_apps.serving.renewed_producer import RenewedProducer
from recsys_schemas.filters import ContextValue, Filters
from recsys_schemas.kafka_access import KafkaSecurity

QUEUE_LIMIT = 20_000
"""Answers that may wait to be written; more are dropped and counted."""
POLL_SECONDS = 0.02
"""How long the writer waits for delivery reports before it looks at the queue again."""
FLUSH_SECONDS = 3.0
"""How long a stopping replica tries to write what is queued."""

logger = logging.getLogger(__name__)
encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One answered request, as it was: the fields of RequestEvent and ResponseEvent."""

    request_id: str
    user_id: str
    k: int
    asked_at: int
    answered_at: int
    model_version: str
    variant: str
    reason: str
    items: bytes
    epoch: int
    latency_ms: float
    context: Mapping[str, ContextValue]
    filters: Filters | None


class AnswerLog:
    """Writes answers to Kafka on a thread of its own."""

    def __init__(
        self,
        bootstrap_servers: list[str],
        requests_topic: str,
        responses_topic: str,
        *,
        security: KafkaSecurity | None = None,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._flush_seconds = flush_seconds
        self.dropped = 0
        self._requests_topic = requests_topic
        self._responses_topic = responses_topic
        self._queue: deque[Logged] = deque()
        self._stop = threading.Event()
        self._failed = False
        self._producer = RenewedProducer(
            bootstrap_servers,
            security,
            {
                "client.id": "recsys-answers",
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 50,
                "compression.type": "lz4",
                "message.timeout.ms": 60_000,
                "queue.buffering.max.kbytes": 65_536,
                "queue.buffering.max.messages": 100_000,
            },
        )
        self._thread = threading.Thread(target=self._run, name="answer-log", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the writing thread runs."""
        return self._thread.is_alive()

    def log(self, answer: Logged) -> None:
        """Queue an answer; dropped and counted when the queue is full. Never waits."""
        if len(self._queue) >= QUEUE_LIMIT:
            self.dropped += 1
            return
        self._queue.append(answer)

    def close(self) -> None:
        """Write what is queued, for a few seconds at most; what is left is counted as dropped."""
        self._stop.set()
        self._thread.join(timeout=2 * self._flush_seconds + 1)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._drain()
            self._producer.poll(POLL_SECONDS)
        self._drain()
        self.dropped += self._producer.flush(self._flush_seconds)

    def _drain(self) -> None:
        for _ in range(len(self._queue)):
            self._write(self._queue.popleft())

    def _write(self, answer: Logged) -> None:
        key = answer.user_id.encode()
        try:
            self._producer.produce(self._requests_topic, request_value(answer), key)
            self._producer.produce(self._responses_topic, response_value(answer), key, on_delivery=self._delivered)
        except BufferError:
            self.dropped += 1
            self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self._failed = False
            return
        self.dropped += 1
        if not self._failed:
            self._failed = True
            logger.error("answers cannot be logged", extra={"event": "AnswerLogFailed", "reason": str(error)})


def request_value(answer: Logged) -> bytes:
    """The RequestEvent of an answer, as JSON."""
    told: dict[str, object] = {"request_id": answer.request_id, "user_id": answer.user_id, "k": answer.k, "timestamp": answer.asked_at}
    if answer.filters is not None:
        told["filters"] = answer.filters.model_dump(exclude_defaults=True)
    if answer.context:
        told["context"] = answer.context
    return encode(told)


def response_value(answer: Logged, asked_id: str | None = None) -> bytes:
    """The ResponseEvent of an answer, as JSON; of a question that came by Kafka with its id."""
    return encode(
        {
            "request_id": answer.request_id,
            "user_id": answer.user_id,
            "timestamp": answer.answered_at,
            "model_version": answer.model_version,
            "variant": answer.variant,
            "reason": answer.reason,
            "items": msgspec.Raw(answer.items),
            "epoch": answer.epoch,
            "latency_ms": answer.latency_ms,
        }
        | ({} if asked_id is None else {"asked_id": asked_id})
    )
