"""Messages on their way: each place has a line of its own, and a task that sends what is in it, the oldest first.

Nothing waits for a courier. A message that cannot be delivered is tried again with growing pauses, and given up after a day; those
behind it wait, for order matters more than haste. What is in line is lost with the process: the plan offers it again.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from recsys_operator.state.observed import Delivery
from recsys_operator.world.errors import WorldError

LOG = logging.getLogger(__name__)

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 300.0
PATIENT_PAUSE_S = 30.0
GIVEN_UP_S = 24 * 3600.0
MOST = 100
"""Messages in one line."""
_REMEMBERED = 500

Send: TypeAlias = Callable[[], Awaitable[None]]
"""Tries once; raises WorldError when it failed."""


@dataclass(slots=True)
class _Line:
    """Messages for one place."""

    waiting: dict[str, Send] = field(default_factory=dict[str, Send])
    sent: deque[str] = field(default_factory=lambda: deque[str](maxlen=_REMEMBERED))
    given_up: int = 0
    attempts: int = 0
    message: str = ""
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class Courier:
    """All lines, by the uid of the model and the name of the place."""

    first_pause_s: float = FIRST_PAUSE_S
    given_up_s: float = GIVEN_UP_S
    lines: dict[tuple[str, str], _Line] = field(default_factory=dict[tuple[str, str], _Line])

    def offer(self, uid: str, place: str, message_id: str, send: Send, *, patient: bool = False) -> None:
        """Put a message in line; one that is in it, or was sent, is left alone. One who is patient never gives a message up."""
        line = self.lines.setdefault((uid, place), _Line())
        if message_id in line.waiting or message_id in line.sent or len(line.waiting) >= MOST:
            return
        line.waiting[message_id] = send
        if line.task is None or line.task.done():
            line.task = asyncio.create_task(self._keep(place, line, patient=patient), name=f"telling {place}")

    def deliveries(self, uid: str) -> Mapping[str, Delivery]:
        """How far each place of a model is."""
        return {
            place: Delivery(sent=frozenset(line.sent), given_up=line.given_up, attempts=line.attempts, message=line.message)
            for (owner, place), line in self.lines.items()
            if owner == uid
        }

    def forget(self, uid: str) -> None:
        """The model is gone: so is what was to be told of it, but for what is being sent."""
        for key in [key for key in self.lines if key[0] == uid]:
            line = self.lines.pop(key)
            if line.task is not None and line.attempts:
                line.task.cancel()

    async def stop(self) -> None:
        """Send nothing more; whoever leads next goes on."""
        tasks = [line.task for line in self.lines.values() if line.task is not None]
        self.lines.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, place: str, line: _Line, *, patient: bool) -> None:
        while line.waiting:
            message_id, send = next(iter(line.waiting.items()))
            began = time.monotonic()
            while not await self._try(place, line, message_id, send):
                if not patient and time.monotonic() - began > self.given_up_s:
                    line.given_up += 1
                    LOG.error("a message is given up", extra={"place": place, "message_id": message_id, "error": line.message})
                    break
                longest = PATIENT_PAUSE_S if patient else LONGEST_PAUSE_S
                await asyncio.sleep(min(longest, self.first_pause_s * 2 ** min(line.attempts - 1, 20)))
            line.attempts = 0
            line.sent.append(message_id)
            line.waiting.pop(message_id, None)

    async def _try(self, place: str, line: _Line, message_id: str, send: Send) -> bool:
        try:
            await send()
        except WorldError as error:
            words = str(error)
        except Exception as error:
            # A bug must not end the line.
            LOG.exception("telling failed", extra={"place": place})
            words = f"{type(error).__name__}: {error}"
        else:
            line.message = "" if not line.given_up else line.message
            return True
        line.attempts, line.message = line.attempts + 1, words[:1000]
        LOG.warning("not told", extra={"place": place, "message_id": message_id, "attempts": line.attempts, "error": words})
        return False
