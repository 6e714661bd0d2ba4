"""Load that cannot be borne is refused before it makes everyone late: by the delay that requests are seen to have before they are begun.

The event loop is looked at fifty times a second. A look that comes late shows how long a request waits before it is begun, if the loop had
no rest since the last look; if it had, the machine was slow, not the load too high. The share that is refused follows the delay as in
Pan et al., "PIE: a lightweight control scheme to address the bufferbloat problem", HPSR 2013 (RFC 8033): it grows while the delay is above
the target and faster while it rises, and falls as soon as it is below.
"""

import asyncio
import os
import time
from collections.abc import Callable

BEAT_SECONDS = 0.02
REFUSED_MOST = 0.95
"""Some are always let in, or nobody would see that there is room again."""
ABOVE, RISING = 0.05, 0.25
"""What a delay of twice the target adds to the share at each look, and what a rise by the target adds."""
NO_REST = 0.8
"""Part of the time between two looks in which the loop wanted to run, from which on it had no rest."""


class Shedding:
    """The share of requests that is refused now. Pure: looks come from outside."""

    def __init__(self, target_ms: float) -> None:
        self.target_ms = target_ms
        self.delay_ms = 0.0
        """As last seen."""
        self.share = 0.0
        self._due = 0.0

    def look(self, delay_ms: float, wanted: float) -> None:
        """Take note of a look that came so late, while the loop wanted to run for this part of the time since the last one."""
        delay = delay_ms if wanted >= NO_REST else 0.0
        change = ABOVE * (delay - self.target_ms) + RISING * (delay - self.delay_ms)
        self.share = min(REFUSED_MOST, max(0.0, self.share + change / self.target_ms))
        self.delay_ms = delay

    def refuses(self) -> bool:
        """Whether to refuse this request: every so manieth, without chance."""
        self._due += self.share
        if self._due < 1:
            return False
        self._due -= 1
        return True

    @property
    def refuses_bulk(self) -> bool:
        """Whether work that can wait is refused: as long as anything is."""
        return self.share > 0


class Wanted:
    """How much of its time a thread wanted to run: what it ran, and what it waited for a core."""

    def __init__(self) -> None:
        """Begin with the thread that calls."""
        try:
            self._schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        except OSError:  # not on Linux: then what it ran has to do
            self._schedstat = -1
        self._before = self._seconds()

    def _seconds(self) -> float:
        if self._schedstat < 0:
            return time.thread_time()
        ran, waited, _ = os.pread(self._schedstat, 128, 0).split()
        return (int(ran) + int(waited)) / 1e9

    def since(self) -> float:
        """Seconds since it was last asked."""
        now = self._seconds()
        before, self._before = self._before, now
        return now - before


class Watch:
    """Looks at the event loop that it is started on."""

    def __init__(self, shedding: Shedding, clock: Callable[[], float] = time.monotonic) -> None:
        self._shedding, self._clock = shedding, clock
        self._wanted: Wanted | None = None
        self._last = 0.0

    @property
    def started(self) -> bool:
        """Whether it looks."""
        return self._wanted is not None

    def start(self) -> None:
        """Look from now on; called on the loop."""
        self._wanted, self._last = Wanted(), self._clock()
        asyncio.get_running_loop().call_later(BEAT_SECONDS, self._look)

    def _look(self) -> None:
        assert self._wanted is not None
        now = self._clock()
        elapsed = max(now - self._last, 1e-9)
        self._shedding.look(max(0.0, elapsed - BEAT_SECONDS) * 1000, self._wanted.since() / elapsed)
        self._last = now
        asyncio.get_running_loop().call_later(BEAT_SECONDS, self._look)
