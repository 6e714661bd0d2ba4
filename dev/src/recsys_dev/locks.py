"""A file lock between runs, so that two of them do not build the same thing at once."""

import fcntl
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from recsys_dev.errors import Unmet

POLL_SECONDS = 0.2
TELL_EVERY_S = 10.0


@contextmanager
def locked(path: Path, purpose: str, progress: Callable[[str], None], *, deadline_s: float) -> Generator[None]:
    """Hold the lock file at `path`; the system frees it when this process ends, however it ends.

    Raises:
        Unmet: when another run holds it for longer than `deadline_s`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    began = told = time.monotonic()
    with path.open("a+") as file:
        while not _taken(file.fileno()):
            now = time.monotonic()
            if now - began > deadline_s:
                raise Unmet(f"lock {path} for {purpose}", f"held for over {deadline_s:.0f} s", "End the other run.")
            if now - told > TELL_EVERY_S or told == began:
                progress(f"Waiting for another run that is {purpose} ({now - began:.0f} s so far).")
                told = now
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            fcntl.flock(file.fileno(), fcntl.LOCK_UN)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
