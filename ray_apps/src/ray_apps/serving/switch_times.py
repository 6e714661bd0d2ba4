"""How long records take from their coming to a replica until they are in force there."""

from bisect import bisect_left
from itertools import accumulate

from recsys_schemas.metric_names import SERVE_SWITCH_SECONDS


class SwitchTimes:
    """A histogram of switches; one that a newer one overtook never was. Used under the lock of the arms."""

    def __init__(self) -> None:
        self._came: float | None = None
        self._switch = False
        self.newest_ms: float | None = None
        """Of the record that is in force, also of the first."""
        self._counts = [0] * (len(SERVE_SWITCH_SECONDS.buckets) + 1)
        self.seconds = 0.0
        """All together."""

    def came(self, at: float, *, switch: bool) -> None:
        """A new record has come; a switch: to a replica that serves another one."""
        self._came, self._switch = at, switch

    def in_force(self, at: float) -> None:
        """The newest record is served from now on."""
        if self._came is None:
            return
        took, self._came = at - self._came, None
        self.newest_ms = took * 1000
        if not self._switch:
            return
        self._counts[bisect_left(SERVE_SWITCH_SECONDS.buckets, took)] += 1
        self.seconds += took

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound → how many took no longer, as Prometheus has it."""
        names = [*(str(bound) for bound in SERVE_SWITCH_SECONDS.buckets), "+Inf"]
        return list(zip(names, accumulate(self._counts), strict=True))
