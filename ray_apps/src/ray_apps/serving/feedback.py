"""Credit: an event that names the answer it came from is a reward for the version that gave it."""

from collections import OrderedDict

from ray_apps.serving.counters import group_of
from ray_apps.serving.request_ids import origin_of
from ray_apps.serving.ripening import Ripening, Shown

NO_VERSION = "fallback"
"""Stands in a request id where no arm answered: its reward credits no version."""
REMEMBERED = 100_000
"""Request ids remembered as already credited; older ones are forgotten first."""


class Credits:
    """Rewards of this replica, at most one for each request id that it remembers."""

    def __init__(self, key: bytes, ripening: Ripening) -> None:
        self._key = key
        self._ripening = ripening
        self._credited: OrderedDict[str, None] = OrderedDict()

    def credit(self, request_id: str, user_id: str, attribution_seconds: float) -> bool:
        """Count a reward; False when the id is not ours, names no version, is another user's or too old, or was credited before."""
        origin = origin_of(self._key, request_id, user_id)
        if origin is None or origin[0] == NO_VERSION or request_id in self._credited:
            return False
        version, shown_at, stratum = origin
        if not self._ripening.in_time(shown_at, attribution_seconds):
            return False
        self._credited[request_id] = None
        if len(self._credited) > REMEMBERED:
            self._credited.popitem(last=False)
        self._ripening.rewarded(Shown(version, stratum, group_of(user_id)), shown_at)
        return True
