"""Load that cannot be borne is refused before it makes everyone late: by the delay that requests are seen to have before they are begun.

The event loop is looked at fifty times a second. A look that comes late shows how long a request waits before it is begun, if the loop was
at work for most of the time since the last look, or had no rest and many requests: else the machine is slow, not the load too high, and
refusing would help nobody. The share that is refused follows the delay as in
Pan et al., "PIE: a lightweight control scheme to address the bufferbloat problem", HPSR 2013 (RFC 8033): it grows while the delay is above
the target and faster while it rises, and falls as soon as it is below.
"""

import asyncio
import os
import time
from collections.abc import Callable

from ray_apps.serving.in_hand import InHand

BEAT_SECONDS = 0.02
REFUSED_MOST = 0.95
"""Some are always let in, or nobody would see that there is room again."""
ABOVE, RISING = 0.05, 0.25
"""What a delay of twice the target adds to the share at each look, and what a rise by the target adds."""
AT_WORK, SEVERAL = 0.6, 4
"""Part of the time between two looks that the loop ran, and requests that were begun, from which on they waited for each other."""
NO_REST, MANY = 0.8, 32
"""The same where it ran less because others had the core: part of the time in which it wanted to run, and requests."""


class Shedding:
    """The share of requests that is refused now. Pure: looks come from outside."""

    def __init__(self, target_ms: float) -> None:
        self.target_ms = target_ms
        self.delay_ms = 0.0
        """As last seen."""
        self.share = 0.0
        self.begun = 0
        """Requests since the last look, refused ones included."""
        self._due = 0.0

    def look(self, delay_ms: float, ran: float, wanted: float) -> None:
        """Take note of a look that came so late, while the loop ran and wanted to run for these parts of the time since the last one."""
        ours = (ran >= AT_WORK and self.begun >= SEVERAL) or (wanted >= NO_REST and self.begun >= MANY)
        delay = delay_ms if ours else 0.0
        self.begun = 0
        change = ABOVE * (delay - self.target_ms) + RISING * (delay - self.delay_ms)
        self.share = min(REFUSED_MOST, max(0.0, self.share + change / self.target_ms))
        self.delay_ms = delay

    def refuses(self) -> bool:
        """Whether to refuse this request: every so manieth, without chance."""
        self.begun += 1
        self._due += self.share
        if self._due < 1:
            return False
        self._due -= 1
        return True

    @property
    def refuses_bulk(self) -> bool:
        """Whether work that can wait is refused: as long as anything is."""
        return self.share > 0


class Worked:
    """How much of its time a thread ran, and how much it wanted to: what it waited for a core counts too."""

    def __init__(self) -> None:
        """Begin with the thread that calls."""
        try:
            self._schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        except OSError:  # not on Linux: then what it ran has to do
            self._schedstat = -1
        self._before = self._seconds()

    def _seconds(self) -> tuple[float, float]:
        if self._schedstat < 0:
            return time.thread_time(), time.thread_time()
        ran, waited, _ = os.pread(self._schedstat, 128, 0).split()
        return int(ran) / 1e9, (int(ran) + int(waited)) / 1e9

    def since(self) -> tuple[float, float]:
        """Seconds since it was last asked."""
        now = self._seconds()
        before, self._before = self._before, now
        return now[0] - before[0], now[1] - before[1]


class Watch:
    """Looks at the event loop that it is started on."""

    def __init__(self, shedding: Shedding, in_hand: InHand, clock: Callable[[], float] = time.monotonic) -> None:
        self._shedding, self._in_hand, self._clock = shedding, in_hand, clock
        self._worked: Worked | None = None
        self._last = 0.0

    @property
    def started(self) -> bool:
        """Whether it looks."""
        return self._worked is not None

    def start(self) -> None:
        """Look from now on; called on the loop."""
        self._worked, self._last = Worked(), self._clock()
        asyncio.get_running_loop().call_later(BEAT_SECONDS, self._look)

    def _look(self) -> None:
        assert self._worked is not None
        now = self._clock()
        elapsed = max(now - self._last, 1e-9)
        ran, wanted = self._worked.since()
        late = max(0.0, elapsed - BEAT_SECONDS)
        self._in_hand.look(elapsed, begun=self._shedding.begun, late=late, wanted=wanted / elapsed)
        self._shedding.look(late * 1000, ran / elapsed, wanted / elapsed)
        self._last = now
        asyncio.get_running_loop().call_later(BEAT_SECONDS, self._look)
