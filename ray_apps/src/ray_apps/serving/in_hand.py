"""How many requests a replica has in hand: what `spec.serving.autoscaling` goes by.

Ray Serve looks now and then at how many requests it has begun and not ended. Here most answers are begun and ended between two of its
looks, and a request that waits for its turn waits in a socket: a replica without a moment's rest would count as idle. So the replica says
itself what it has in hand, by Little's law: what is asked of it in a second times how long each waits, and what is at work.
"""

import math

SECONDS = 1.0
"""What was so long ago counts little."""
LATE_BY_ITSELF = 0.001
"""Seconds by which a timer comes late where nobody waits."""
RUNNING_REQUESTS = "running_requests"
"""As Ray Serve calls its own count, whose place this takes: `ray.serve._private.common.RUNNING_REQUESTS_KEY`."""


class InHand:
    """A running mean over about `SECONDS`. Used on the event loop only."""

    def __init__(self) -> None:
        self.inside = 0
        """Requests that are begun and not ended."""
        self.mean = 0.0

    def look(self, seconds: float, *, begun: int, late: float, wanted: float) -> None:
        """Take note of a span of time.

        Args:
            seconds: How long it was.
            begun: Requests begun in it.
            late: How long each waited before, seconds.
            wanted: Part of it in which the event loop ran or waited for a core.
        """
        waiting = begun / seconds * max(0.0, late - LATE_BY_ITSELF)
        at_work = self.inside + min(1.0, wanted)
        self.mean += (1 - math.exp(-seconds / SECONDS)) * (waiting + at_work - self.mean)
