"""The board: one small actor per model that keeps every replica's last report, also of replicas that are gone.

It is detached, so that it outlives any replica, and ends by itself when no replica has reported for a while, so that it does not
outlive its model. If it is lost, the replicas make it again and report what they have counted.
"""

import asyncio
import time
from collections import OrderedDict

from ray.actor import ActorHandle

import ray

NAMESPACE = "recsys"
"""Ray namespace of the boards."""
MAX_REPLICAS = 1024
"""Reports kept; the ones that are oldest are forgotten first."""
SILENCE_SECONDS = 120.0
"""Without a report for so long, the model's replicas are gone, and the board ends."""


class Board:
    """Last reports by replica id; values are ReplicaReport as JSON, whose age is filled in by the reader."""

    def __init__(self) -> None:
        self._reports: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._heard = time.monotonic()
        self._watch: asyncio.Task[None] | None = None

    async def report(self, replica_id: str, report: str) -> None:
        """Put a replica's report in the place of its last one."""
        if self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._end_when_silent())
        self._heard = time.monotonic()
        self._reports[replica_id] = (self._heard, report)
        self._reports.move_to_end(replica_id)
        while len(self._reports) > MAX_REPLICAS:
            self._reports.popitem(last=False)

    async def reports(self) -> list[tuple[float, str]]:
        """(age in seconds, report) of every replica that ever reported here."""
        now = time.monotonic()
        return [(now - at, report) for at, report in self._reports.values()]

    async def _end_when_silent(self) -> None:
        left = SILENCE_SECONDS
        while left > 0:
            await asyncio.sleep(left)
            left = self._heard + SILENCE_SECONDS - time.monotonic()
        ray.kill(ray.get_runtime_context().current_actor)


def board_of(model_uid: str) -> ActorHandle[Board]:
    """The model's board, made if there is none. Calls the cluster: not for the request path."""
    actor = ray.remote(num_cpus=0, max_restarts=0)(Board)
    name = f"evidence-{model_uid}"
    return actor.options(name=name, namespace=NAMESPACE, lifetime="detached", get_if_exists=True).remote()  # pyright: ignore[reportReturnType]
