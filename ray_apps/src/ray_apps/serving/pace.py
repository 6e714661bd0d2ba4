"""How long an arm takes to score, and where it is scored so that the deadline holds.

Scoring is a fraction of a millisecond of numpy: done inline on the event loop, where handing it to a thread would cost
more than it takes. An arm whose recent scoring took more CPU time than `INLINE_MS` is scored on a thread of its own instead, with a
deadline on the wait; when it is quick again it comes back inline. So one request at a time can be late inline (its
answer is then replaced by the fallback), and a version that hangs holds only its own thread; the preflight has
refused versions that are slow from the start.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ray_apps.serving.ranking import ArmFailure

INLINE_MS = 5.0
"""An arm expected to take longer than this is scored on its own thread."""
MAX_WAITING = 16
"""Requests that may wait for one slow arm; more are late at once."""
DECAY = 0.9
"""How fast a slow moment is forgotten: 22 quick requests bring 50 ms below INLINE_MS."""

T = TypeVar("T")


class ArmLate(ArmFailure):
    """The arm missed the deadline."""


class Pace:
    """The expected scoring time of one arm, in milliseconds of CPU: rises at once, falls slowly."""

    def __init__(self) -> None:
        self.expected_ms = 0.0
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread: ThreadPoolExecutor | None = None

    def _timed(self, work: Callable[[], T]) -> T:
        """Do the work and learn from the CPU time it took: a busy machine makes every arm late, but none of them slow."""
        started = time.thread_time()
        try:
            return work()
        finally:
            self.expected_ms = max((time.thread_time() - started) * 1000, DECAY * self.expected_ms)

    async def run(self, work: Callable[[], T], budget_ms: float) -> T:
        """Do the work inline, or on the arm's thread when it is slow.

        Raises:
            ArmLate: it did not end within the budget.
        """
        if self.expected_ms <= INLINE_MS:
            return self._timed(work)
        if self._waiting >= MAX_WAITING:
            raise ArmLate(f"{self._waiting} requests wait for this arm already")
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="slow-arm")
        with self._lock:
            self._waiting += 1
        future = self._thread.submit(self._timed, work)
        future.add_done_callback(self._done)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), timeout=budget_ms / 1000)
        except TimeoutError:
            raise ArmLate(f"no answer after {budget_ms:.0f} ms") from None

    def _done(self, _: object) -> None:
        with self._lock:
            self._waiting -= 1

    def close(self) -> None:
        """Let the thread go; work that has not begun is cancelled."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
