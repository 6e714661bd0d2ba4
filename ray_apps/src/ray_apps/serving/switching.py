"""What a replica was asked to switch to. It does not switch by itself: the operator reads the ask in its report, and acts."""

import hashlib
import threading
import time
from collections.abc import Callable

from ray_apps.serving.arms import Arms
from recsys_schemas.serving_evidence import SwitchAsk
from recsys_schemas.serving_record import Variant

OPEN_SECONDS = 600.0
"""An ask that the operator has not taken up after so long is over."""


class Switches:
    """The newest ask of this replica; asked on the event loop, reported by another thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing was asked yet."""
        self._clock = clock
        self._lock = threading.Lock()
        self._ask: tuple[float, SwitchAsk] | None = None

    def ask(self, version: str, instead_of: str, epoch: int, by: str, reason: str) -> SwitchAsk:
        """Ask for a version while the record of this epoch is in force."""
        digest = hashlib.blake2b(f"{epoch} {version}".encode(), digest_size=4, person=b"switch").hexdigest()
        asked = SwitchAsk(id=digest, version=version, instead_of=instead_of, by=by[:253], reason=reason, age_seconds=0.0)
        with self._lock:
            self._ask = (self._clock(), asked)
        return asked

    def withdraw(self, asked: SwitchAsk) -> None:
        """Take back what could not be told to anybody."""
        with self._lock:
            if self._ask is not None and self._ask[1] is asked:
                self._ask = None

    def newest(self) -> SwitchAsk | None:
        """The newest ask with its age; none when it is over."""
        with self._lock:
            if self._ask is None:
                return None
            at, asked = self._ask
            age = self._clock() - at
            if age >= OPEN_SECONDS:
                self._ask = None
                return None
        return asked.model_copy(update={"age_seconds": age})


def retained(arms: Arms) -> list[str]:
    """Versions that served before and are loaded: arms beside the stable one that are no candidates."""
    ready, wanted = arms.ready(), arms.wanted.arms if arms.wanted else []
    return [arm.version for arm in wanted if arm.variant is Variant.HOLDBACK and ready.get(arm.version) == arm.digest]
