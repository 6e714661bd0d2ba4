"""How long an arm takes to score, and where it is scored so that the deadline holds.

Scoring is a fraction of a millisecond of numpy: done inline on the event loop, where handing it to a thread would cost
more than it takes. An arm that is expected to take more CPU time than `INLINE_MS` is scored on a thread of its own instead, with a
deadline on the wait; when it is quick again it comes back inline. A single slow moment (a page that was not in memory, a core that was
shared) is no slow arm: a sample counts for `OUTLIER` times what was expected at most, so that an arm that has become slow is late inline
a few times (its answers are then replaced by the fallback) before it is known as slow, and a version that hangs holds only its own
thread; the preflight has refused versions that are slow from the start.
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
LEARNED = 0.2
"""How much of what was expected a new sample replaces: 11 quick requests bring 50 ms below INLINE_MS."""
OUTLIER = 8.0
"""A sample counts for so many times what was expected at most."""
LEAST_MS = 0.25
"""As far as outliers go, nothing is expected to be quicker."""

T = TypeVar("T")


class ArmLate(ArmFailure):
    """The arm missed the deadline."""


class Pace:
    """The expected scoring time of one arm, in milliseconds of CPU; its first scoring is believed as it is."""

    def __init__(self) -> None:
        self.expected_ms = 0.0
        self._sampled = False
        self._doubted = True
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread: ThreadPoolExecutor | None = None

    def _timed(self, work: Callable[[], T]) -> T:
        """Do the work and learn from the CPU time it took: a busy machine makes every arm late, but none of them slow.

        To ask for CPU time is a call to the kernel, and the time of day is none. So the latter is taken where it is as short as was
        expected, for CPU time is no more; where it was longer, the next scoring is the one that tells.
        """
        exact = self._doubted
        clock = time.thread_time if exact else time.perf_counter
        started = clock()
        try:
            return work()
        finally:
            self._learn((clock() - started) * 1000, exact=exact)

    def _learn(self, milliseconds: float, *, exact: bool) -> None:
        longer = milliseconds > max(self.expected_ms, LEAST_MS)
        if exact or not longer:
            self.took(milliseconds)
        self._doubted = longer

    def took(self, milliseconds: float) -> None:
        """Learn from one scoring."""
        if not self._sampled:
            self._sampled, self.expected_ms = True, milliseconds
            return
        believed = min(milliseconds, OUTLIER * max(self.expected_ms, LEAST_MS))
        self.expected_ms += LEARNED * (believed - self.expected_ms)

    def _forget(self) -> None:
        """An arm that is not tried cannot show that it is quick again: expect a little less each time, until it is tried."""
        if not self._waiting:
            self.expected_ms *= 1 - LEARNED / 4

    @property
    def wait_ms(self) -> float:
        """How long a scoring that is asked for now is expected to take, those before it included."""
        return self.expected_ms * (1 + self._waiting)

    @property
    def inline(self) -> bool:
        """Whether it is quick enough to be scored on the event loop."""
        return self.expected_ms <= INLINE_MS

    async def run(self, work: Callable[[], T], budget_ms: float) -> T:
        """Do the work inline, or on the arm's thread when it is slow.

        Raises:
            ArmLate: it did not end within the budget, or is not expected to: then it is not begun.
        """
        if not self.inline and self.wait_ms > budget_ms:
            expected = self.wait_ms
            self._forget()
            raise ArmLate(f"expected to take {expected:.0f} ms; {budget_ms:.0f} ms were left")
        if self.inline:
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
