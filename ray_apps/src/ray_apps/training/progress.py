"""How far a run is: a line in the log after each step, and a file in the store that the operator reads."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ray_apps.stores.objects import StorageError, Store
from recsys_schemas.version_card import RunProgress, progress_file

LEAST_SECONDS = 1.0
"""The file is not written more often: an operator looks once a second at most."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Telling:
    """Counts the steps of a run's fits: the measured one, the champion's fair one if there is a champion, and the one that serves."""

    store: Store
    version: str
    fits: int
    clock: Callable[[], float] = time.monotonic
    _fit: int = 0
    _last: int = 0
    _began: float = field(default=0.0)
    _paces: list[float] = field(default_factory=list[float])
    _written: float = field(default=float("-inf"))

    def tell(self, done: int, of: int) -> None:
        """Called by a fit after each step (see `Fitting.tell`)."""
        now = self.clock()
        if done <= self._last:  # another fit has begun
            self._fit += 1
        elif self._last:
            self._paces.append((now - self._began) / (done - self._last))
        self._last, self._began = done, now
        step, steps = min(self._fit, self.fits - 1) * of + done, max(self.fits, self._fit + 1) * of
        left = (steps - step) * sum(self._paces) / len(self._paces) if self._paces else None
        words = RunProgress(version=self.version, step=step, of=steps, seconds_left=left, told_at=datetime.now(UTC))
        logger.info(
            "Step", extra={"version": self.version, "step": step, "of": steps, "seconds_left": None if left is None else round(left, 1)}
        )
        if now - self._written >= LEAST_SECONDS or step == steps:
            self._write(words)
            self._written = now

    def _write(self, words: RunProgress) -> None:
        try:
            self.store.write(progress_file(self.version), words.model_dump_json().encode())
        except (StorageError, OSError) as error:  # to be told of it is not worth a run
            logger.warning("ProgressNotWritten", extra={"version": self.version, "error": str(error)})
