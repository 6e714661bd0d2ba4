"""How often one client may ask: a token bucket for each, in bounded memory."""

from collections import OrderedDict

MOST_CLIENTS = 10_000
"""Clients remembered; the longest silent go first, and begin with a full bucket when they come back."""


class RateLimits:
    """Buckets of one replica. Called on the event loop only."""

    def __init__(self, per_second: float, burst: int) -> None:
        """Let each client ask `burst` times at once and `per_second` times a second on."""
        self._per_second, self._burst = per_second, burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str, now: float, cost: float = 1.0) -> float:
        """Take `cost` from a client's bucket: 0.0, or the seconds after which there is enough in it (and nothing is taken).

        A cost above the burst is taken from a full bucket, which then is in debt: one large batch is late once, not refused for ever.
        """
        level, at = self._buckets.get(client, (float(self._burst), now))
        level = min(self._burst, level + max(0.0, now - at) * self._per_second)
        needed = min(cost, float(self._burst))
        short = needed - level
        self._buckets[client] = (level if short > 0 else level - cost, now)
        self._buckets.move_to_end(client)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return short / self._per_second if short > 0 else 0.0
