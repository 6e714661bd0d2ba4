"""Events onto Kafka: acknowledged to the client only when all in-sync replicas have them."""

import asyncio
import contextlib
import threading
from collections.abc import Sequence

from confluent_kafka import KafkaError, Message

from ray_apps.serving.renewed_producer import RenewedProducer
from recsys_schemas.kafka_access import KafkaSecurity

ACKNOWLEDGE_SECONDS = 10.0
"""Deadline for all events of one request; one broker lost stalls about six seconds and is not yet an error."""
POLL_SECONDS = 0.1


class NotAcknowledged(Exception):  # noqa: N818 - it says what Kafka did not do
    """Kafka has not acknowledged all events; the client may send them again with the same event ids."""


class EventWriter:
    """An idempotent producer with acks=all; delivery reports are served on a thread of its own."""

    def __init__(
        self, bootstrap_servers: list[str], security: KafkaSecurity | None = None, acknowledge_seconds: float = ACKNOWLEDGE_SECONDS
    ) -> None:
        self._deadline = acknowledge_seconds
        self._producer = RenewedProducer(
            bootstrap_servers,
            security,
            {
                "client.id": "recsys-events",
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 2,
                "compression.type": "lz4",
                "message.timeout.ms": int(acknowledge_seconds * 950),
                "queue.buffering.max.kbytes": 65_536,
                "queue.buffering.max.messages": 50_000,
            },
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="event-writer", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread that serves delivery reports runs."""
        return self._thread.is_alive()

    async def write(self, topic: str, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Write (key, value) records, without a value to take one back, and wait until every one is acknowledged.

        Raises:
            NotAcknowledged: at least one was not, within the deadline.
        """
        batch = _Batch(len(records), asyncio.get_running_loop())
        try:
            for key, value in records:
                self._producer.produce(topic, value, key, on_delivery=batch.delivered)
        except BufferError:
            raise NotAcknowledged("too many events wait for Kafka already") from None
        try:
            error = await asyncio.wait_for(batch.done, timeout=self._deadline)
        except TimeoutError:
            raise NotAcknowledged(f"not all acknowledged after {self._deadline:g} s") from None
        if error:
            raise NotAcknowledged(error)

    def close(self) -> None:
        """Stop serving reports, after what is in flight has ended or timed out."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(POLL_SECONDS)
        self._producer.flush(3)


class _Batch:
    """Counts delivery reports of one request; called on the producer's thread."""

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self.done: asyncio.Future[str | None] = loop.create_future()
        self._loop = loop
        self._left = size
        self._error: str | None = None

    def delivered(self, error: KafkaError | None, _: Message) -> None:
        """One record is on Kafka, or will not be."""
        if error is not None:
            self._error = str(error)
        self._left -= 1
        if self._left == 0:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it the one who waits
                self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(self._error)
