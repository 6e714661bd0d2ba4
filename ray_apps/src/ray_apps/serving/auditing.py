"""Who did what: one line of the log for each audited call, and a record on the topic of the role Audit, where the model has one."""

import asyncio
import itertools
import logging
import time

from ray_apps.serving.event_writer import EventWriter, NotAcknowledged
from recsys_schemas.events import AuditEvent
from recsys_schemas.serving_record import ServingArguments

MOST_WAITING = 1_000
"""Records that may wait for their acknowledgement; of more the log alone tells."""
LONGEST_PATH = 300

logger = logging.getLogger("ray_apps.serving.audit")


class Audit:
    """Tells of calls, after they were answered; nobody waits for it."""

    def __init__(self, arguments: ServingArguments, replica_id: str, events: EventWriter) -> None:
        """Nothing is written before the first call."""
        self._topic, self._model = arguments.audit_topic, f"{arguments.namespace}/{arguments.name}"
        self._replica_id, self._events = replica_id, events
        self._numbers = itertools.count()
        self._begun = time.time_ns()
        self._waiting: set[asyncio.Task[None]] = set()

    def tell(self, client: str, method: str, path: str, status: str) -> None:
        """One call and how it ended; called on the event loop."""
        path = path[:LONGEST_PATH]
        logger.info("audit", extra={"event": "Audit", "client": client, "action": f"{method} {path}", "outcome": status})
        if self._topic is None:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._untold(f"{MOST_WAITING} records wait for Kafka already")
            return
        told = AuditEvent(
            audit_id=f"{self._replica_id[:64]}-{self._begun:x}-{next(self._numbers)}",
            timestamp=time.time_ns() // 1_000_000,
            model=self._model,
            replica_id=self._replica_id[:128],
            client=client,
            method=method,
            path=path,
            status=int(status),
        )
        task = asyncio.get_running_loop().create_task(self._write(self._topic, told))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _write(self, topic: str, told: AuditEvent) -> None:
        try:
            await self._events.write(topic, [(told.client.encode(), told.model_dump_json().encode())])
        except NotAcknowledged as error:
            self._untold(str(error))

    def _untold(self, why: str) -> None:
        logger.error("audit not on Kafka", extra={"event": "AuditNotWritten", "reason": why})
