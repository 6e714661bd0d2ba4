"""Leadership: one process of several works, the one that holds a coordination.k8s.io Lease.

Another's lease counts as over when this process has watched it stand still for its duration, by this process's own monotonic
clock: clocks of two machines are never compared. So is ours: what we may do, we may until `ours_until`, and nobody else before that.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from recsys_operator.world.errors import WorldError
from recsys_operator.world.kube import CALL_S, ConflictError, Json, Kube, seen

DURATION_S = 15.0
RENEW_S = 3.0
TRY_S = 4.0
"""One renewal waits so long for its answer, then it is asked anew, on another connection."""
DEADLINE_S = 10.0
"""Not renewed for so long: we stop, well before another may begin."""
RETRY_S = 1.0
"""Another looks so often: what it adds to the duration is time in which nobody works."""
RELEASE_S = 5.0
"""A busy API server is waited for: without our word another waits `DURATION_S`."""

LOG = logging.getLogger(__name__)


class Held(StrEnum):
    """What one look at the lease has shown."""

    OURS = "Ours"
    OTHERS = "Others"
    UNKNOWN = "Unknown"


@dataclass(slots=True, kw_only=True)
class Lease:
    """One candidate's view of the lease. It is kept on an event loop that does nothing else; `held` is read from any thread."""

    kube: Kube
    """Of its own: a renewal waits for no other call's connection."""
    namespace: str
    name: str
    identity: str
    """Unique to this process: one that starts again under an old name must not find its old lease."""
    alive: Callable[[], bool]
    """Whether the work that is led goes on. Who hangs is not the leader for ever, however well the lease is kept."""
    reached: bool = False
    """Whether the API server answered the last time that it was asked."""
    ours_until: float = 0.0
    """By the monotonic clock, which goes on while a process is stopped: `DEADLINE_S` after the last renewal was asked for."""
    _written: Json | None = None
    """The lease as our last write left it: while it stands so it need not be read."""
    _mark: str = ""
    _standing_since: float = 0.0

    @property
    def held(self) -> bool:
        """Whether we may act: nobody else can have the lease yet."""
        return time.monotonic() < self.ours_until

    async def acquire(self) -> None:
        """Wait until the lease is ours."""
        # Nobody tells us when it is free: the API server is asked again and again.
        while await self._look(CALL_S) is not Held.OURS:  # noqa: ASYNC110
            await asyncio.sleep(RETRY_S)

    async def keep(self) -> None:
        """Renew the lease; return when it is lost, could not be renewed in time, or the work hangs. `held` is false then."""
        held = Held.OURS
        while self.held:
            await asyncio.sleep(RENEW_S if held is Held.OURS else RETRY_S)
            if not self.alive():
                return self._give_up("the lease is given up: the work that it is for hangs")
            held = await self._look(min(TRY_S, self.ours_until - time.monotonic()))
            if held is Held.OTHERS:
                return self._give_up("the lease is another's now")
        return self._give_up("the lease was not renewed in time")

    def _give_up(self, why: str) -> None:
        self.ours_until = 0.0
        LOG.error(why, extra={"lease": self._path, "renewed_within_s": DEADLINE_S})

    async def release(self) -> None:
        """Give the lease back, so that another need not wait; without it they wait `DURATION_S`."""
        self.ours_until = 0.0
        with contextlib.suppress(WorldError, TimeoutError):
            async with asyncio.timeout(RELEASE_S):
                while not await self._returned():
                    continue

    async def _returned(self) -> bool:
        """False when it changed meanwhile: a renewal of ours may have been on its way."""
        body = await self.kube.get(self._path)
        if body is not None and (body["spec"].get("holderIdentity") or "") == self.identity:
            body["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
            try:
                await self.kube.replace(self._path, body)
            except ConflictError:
                return False
        return True

    @property
    def _folder(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"

    @property
    def _path(self) -> str:
        return f"{self._folder}/{self.name}"

    async def _look(self, within_s: float) -> Held:
        """Take or renew the lease, unless another holds it."""
        asked = time.monotonic()
        try:
            async with asyncio.timeout(within_s):
                held = await self._write()
        except ConflictError:
            self.reached, self._written = True, None
            return Held.UNKNOWN  # another was quicker; the next look shows who
        except (WorldError, TimeoutError) as error:
            # A write that was not answered may have been done.
            self.reached, self._written = False, None
            LOG.warning("lease not reached", extra={"lease": self._path, "error": seen(error)})
            return Held.UNKNOWN
        self.reached = True
        if held is Held.OURS:
            self.ours_until = asked + DEADLINE_S
        return held

    async def _write(self) -> Held:
        body = self._written or await self.kube.get(self._path)
        if body is None:
            self._written = await self.kube.create(self._folder, self._fresh())
        elif self._free(body["spec"]):
            self._written = await self.kube.replace(self._path, self._taken(body))
        else:
            return Held.OTHERS
        return Held.OURS

    def _free(self, spec: Json) -> bool:
        holder = spec.get("holderIdentity") or ""
        if holder in ("", self.identity):
            return True
        mark = f"{holder} {spec.get('renewTime')}"
        if self._mark != mark:
            self._mark, self._standing_since = mark, time.monotonic()
        return time.monotonic() > self._standing_since + float(spec.get("leaseDurationSeconds") or DURATION_S)

    def _fresh(self) -> Json:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": self._ours() | {"acquireTime": _now(), "leaseTransitions": 0},
        }

    def _taken(self, body: Json) -> Json:
        spec: Json = body["spec"]
        new = self._ours()
        if spec.get("holderIdentity") != self.identity:
            new |= {"acquireTime": _now(), "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        return body | {"spec": spec | new}

    def _ours(self) -> Json:
        return {"holderIdentity": self.identity, "leaseDurationSeconds": int(DURATION_S), "renewTime": _now()}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
