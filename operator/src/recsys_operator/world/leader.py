"""Leadership: one process of several works, the one that holds a coordination.k8s.io Lease.

Another's lease counts as over when this process has watched it stand still for its duration, by this process's own monotonic
clock: clocks of two machines are never compared.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from recsys_operator.world.errors import WorldError
from recsys_operator.world.kube import ConflictError, Json, Kube

DURATION_S = 15.0
RENEW_S = 5.0
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
    """One candidate's view of the lease."""

    kube: Kube
    namespace: str
    name: str
    identity: str
    """Unique to this process: one that starts again under an old name must not find its old lease."""
    reached: bool = False
    """Whether the API server answered the last time that it was asked."""
    _mark: str = ""
    _standing_since: float = 0.0

    async def acquire(self) -> None:
        """Wait until the lease is ours."""
        # Nobody tells us when it is free: the API server is asked again and again.
        while await self._look() is not Held.OURS:  # noqa: ASYNC110
            await asyncio.sleep(RETRY_S)

    async def keep(self) -> None:
        """Renew the lease; return when it is lost or could not be renewed in time."""
        renewed, held = time.monotonic(), Held.OURS
        while time.monotonic() < renewed + DEADLINE_S:
            await asyncio.sleep(RENEW_S if held is Held.OURS else 1.0)
            asked = time.monotonic()
            try:
                async with asyncio.timeout(max(renewed + DEADLINE_S - asked, 0)):
                    held = await self._look()
            except TimeoutError:
                break
            if held is Held.OTHERS:
                LOG.error("the lease is another's now", extra={"lease": self._path})
                return
            if held is Held.OURS:
                renewed = asked
        LOG.error("the lease was not renewed in time", extra={"lease": self._path, "within_s": DEADLINE_S})

    async def release(self) -> None:
        """Give the lease back, so that another need not wait; without it they wait `DURATION_S`."""
        try:
            async with asyncio.timeout(RELEASE_S):
                body = await self.kube.get(self._path)
                if body is not None and (body["spec"].get("holderIdentity") or "") == self.identity:
                    body["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
                    await self.kube.replace(self._path, body)
        except (WorldError, TimeoutError):
            return

    @property
    def _folder(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"

    @property
    def _path(self) -> str:
        return f"{self._folder}/{self.name}"

    async def _look(self) -> Held:
        """Take or renew the lease, unless another holds it."""
        try:
            body = await self.kube.get(self._path)
            self.reached = True
            if body is None:
                await self.kube.create(self._folder, self._fresh())
            elif self._free(body["spec"]):
                await self.kube.replace(self._path, self._taken(body))
            else:
                return Held.OTHERS
        except ConflictError:
            return Held.UNKNOWN  # another was quicker; the next look shows who
        except WorldError as error:
            self.reached = False
            LOG.warning("lease not reached", extra={"lease": self._path, "error": str(error)})
            return Held.UNKNOWN
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
