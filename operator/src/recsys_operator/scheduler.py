"""When each model gets its pass: at once when something happened to it, else when its plan asked; never two at a time."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from recsys_operator import telemetry
from recsys_operator.loop import Clock, PassFailedError
from recsys_operator.state.observed import Key
from recsys_operator.world.errors import WorldError

LOG = logging.getLogger(__name__)

CONCURRENT = 8
"""Passes at work at once."""
PATIENCE_S = 2.0
"""A pass that takes longer waits for somebody silent: it leaves its place to another model's."""
MOST_UNDER_WAY = 32
"""Passes at once, those that wait among them."""
LONGEST_PASS_S = 600.0
"""Every call has a deadline: a pass that takes so long hangs. It is broken off, as by a crash, and its place is another's."""
LEAST_GAP_S = 0.2
"""Between two passes of one model: a burst of events is one reason to look, not many."""
FIRST_BACK_OFF_S = 1.0
LONGEST_BACK_OFF_S = 60.0
LONGEST_WAIT_S = 300.0
"""However quiet it is, each model is looked at this often: an event may be lost."""
DRAIN_S = 10.0
LEISURE_S = 2.0
"""A look that is due after so long or longer is one of leisure: nothing is under way, and whatever happens to the model wakes it.
Less than a plan asks for then, for the pass itself has taken some of it."""
LEISURE_SHARE = 0.2
"""Looks of leisure take so much of one core at most, however many models there are: they come the more seldom."""
_MEMORY = 0.05
"""Weight of the newest pass in what a pass costs."""


@dataclass(slots=True)
class _Line:
    """One model's place: a wake-up that may be pending, how often it failed, and the task that runs its passes."""

    woken: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0
    task: asyncio.Task[None] | None = None


@dataclass(slots=True, kw_only=True)
class Scheduler:
    """Runs passes until told to stop."""

    run: Callable[[Key], Awaitable[datetime | None]]
    clock: Clock
    lines: dict[Key, _Line] = field(default_factory=dict[Key, _Line])
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONCURRENT))
    crowd: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_UNDER_WAY))
    longest_pass_s: float = LONGEST_PASS_S
    stopping: bool = False
    cost_s: float = 0.0
    """CPU-seconds of a pass, over the last ones."""
    _spent_s: float = field(default_factory=time.process_time)

    def wake(self, key: Key) -> None:
        """Something happened to this model: look at it soon."""
        if self.stopping:
            return
        line = self.lines.setdefault(key, _Line())
        line.woken.set()
        if line.task is None:
            line.task = asyncio.create_task(self._keep(key, line), name=f"model {key}")

    def wake_all(self) -> None:
        """Something happened that concerns every model."""
        for key in list(self.lines):
            self.wake(key)

    async def stop(self, *, within: float = DRAIN_S) -> None:
        """Start no other pass; give those under way so many seconds to end, then break them off."""
        self.stopping = True
        for line in self.lines.values():
            line.woken.set()
        tasks = [line.task for line in self.lines.values() if line.task is not None]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=within)
        for task in late:
            task.cancel()
        if late:
            LOG.warning("passes broken off", extra={"passes": [task.get_name() for task in late]})
            await asyncio.wait(late, timeout=1)

    async def _keep(self, key: Key, line: _Line) -> None:
        while not self.stopping:
            line.woken.clear()
            began = time.monotonic()
            wait = await self._pass(key, line)
            if wait is None and not line.woken.is_set():
                break
            try:
                async with asyncio.timeout(self.leisurely(wait or 0.0)):
                    await line.woken.wait()
            except TimeoutError:
                pass
            if not self.stopping:
                await asyncio.sleep(max(0.0, began + LEAST_GAP_S - time.monotonic()))
        self.lines.pop(key, None)

    def leisurely(self, wait: float) -> float:
        """Seconds until the next look; the more models there are, the later one that nothing asks for."""
        if wait < LEISURE_S:
            return wait
        return min(max(wait, len(self.lines) * self.cost_s / LEISURE_SHARE), LONGEST_WAIT_S)

    def _count_cost(self) -> None:
        spent = time.process_time()
        self.cost_s += _MEMORY * (spent - self._spent_s - self.cost_s)
        self._spent_s = spent

    @asynccontextmanager
    async def _place(self) -> AsyncGenerator[None]:
        """A place among those at work, for `PATIENCE_S` seconds at most: who waits for silent brokers keeps no other model waiting."""
        async with self.crowd:
            await self.gate.acquire()
            held = True

            def leave() -> None:
                nonlocal held
                if held:
                    held = False
                    self.gate.release()

            timer = asyncio.get_running_loop().call_later(PATIENCE_S, leave)
            try:
                yield
            finally:
                timer.cancel()
                leave()

    async def _pass(self, key: Key, line: _Line) -> float | None:
        """Seconds until the next look; None when the model is gone."""
        async with self._place():
            if self.stopping:
                return None
            began = time.monotonic()
            outcome = "failed"
            try:
                async with asyncio.timeout(self.longest_pass_s):
                    wake_at = await self.run(key)
            except TimeoutError:
                LOG.exception("pass broken off", extra={"model": str(key)})
                return self.back_off(key, line, f"not through after {self.longest_pass_s:g} s: broken off")
            except (PassFailedError, WorldError) as error:
                return self.back_off(key, line, str(error))
            except Exception as error:
                # A bug must not end the passes of this model, still less of the others.
                LOG.exception("pass failed", extra={"model": str(key)})
                return self.back_off(key, line, f"{type(error).__name__}: {error}")
            else:
                outcome = "done" if wake_at is not None else "gone"
                line.failures = 0
            finally:
                telemetry.RECONCILES.labels(outcome=outcome).inc()
                telemetry.RECONCILE_SECONDS.observe(time.monotonic() - began)
                self._count_cost()
        return None if wake_at is None else max(0.0, (wake_at - self.clock()).total_seconds())

    def back_off(self, key: Key, line: _Line, words: str) -> float:
        """Count a failure; seconds until the next try, doubled each time and bounded."""
        line.failures += 1
        wait = min(LONGEST_BACK_OFF_S, FIRST_BACK_OFF_S * 2 ** min(line.failures - 1, 10))
        LOG.warning("pass ended early", extra={"model": str(key), "error": words, "failures": line.failures, "again_in_s": wait})
        return wait
