"""An event loop in a thread of its own, for what must go on however long the other one computes."""

import asyncio
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

_STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class Apart:
    """Runs coroutines there; what they return, and what they raise, is awaited here."""

    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Begin it there. Cancelled here, it is cancelled there."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))


@contextmanager
def apart(name: str) -> Generator[Apart]:
    """Have such a loop until the end of the block; what still runs on it then is cancelled."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_turn, args=(loop,), name=name, daemon=True)
    thread.start()
    try:
        yield Apart(loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_STOP_S)


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    """Until it is stopped; then everything that has not ended is."""
    try:
        loop.run_forever()
        loop.run_until_complete(_end())
    finally:
        loop.close()


async def _end() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
