"""Makes the shortlist of a large version beside its serving, on a thread that gives way to all others."""

import contextlib
import logging
import os
import threading
import time

import numpy as np

from ray_apps.algorithms.factored import Factored
from ray_apps.serving.shortlist import ASKED, FROM_ITEMS, MOST_BYTES, Shortlist, bytes_of, shortlist_of
from ray_apps.stores.registry import LoadedVersion

NICE = 10
"""The thread's priority, on Linux."""

logger = logging.getLogger(__name__)


class Near:
    """A place for a version's shortlist: empty until it is made, and for ever where it is not worth it."""

    def __init__(self) -> None:
        self.shortlist: Shortlist | None = None
        self._closed = False

    def begin(self, version: LoadedVersion) -> None:
        """Make it on a thread, if the version is large enough and scores by items' vectors."""
        model = version.model
        if isinstance(model, Factored) and len(model.items) >= FROM_ITEMS and bytes_of(model.items) <= MOST_BYTES:
            threading.Thread(target=self._make, args=(model, version), name="shortlist", daemon=True).start()

    def close(self) -> None:
        """It is not wanted any more."""
        self._closed = True
        self.shortlist = None

    def _make(self, model: Factored, version: LoadedVersion) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        started = time.monotonic()
        try:
            made = measured(model, version)
        except Exception:
            logger.exception("no shortlist", extra={"event": "ShortlistFailed"})
            return
        if not self._closed:
            self.shortlist = made
            logger.info(
                "shortlist made",
                extra={
                    "event": "ShortlistMade",
                    "seconds": round(time.monotonic() - started, 1),
                    "recall": round(made.recall, 3),
                    "ranked": made.ranked,
                    "milliseconds": round(made.expected_ms, 2),
                },
            )


def measured(model: Factored, version: LoadedVersion) -> Shortlist:
    """A version's shortlist, measured with users of its own."""
    users = np.linspace(0, len(version.user_ids) - 1, min(ASKED, len(version.user_ids)), dtype=np.int64)
    histories = [version.history(version.user_ids[int(user)]) for user in users]
    return shortlist_of(model, model.items, [history for history in histories if history[0].size])
