"""Where the workers of one run meet: what each hands over lies in Ray's object store, and the board passes the references round.

A worker on the same node maps what it is given, so that the other side's vectors are copied once by whoever assembles them. Ray's own
collectives need torch (gloo) or carry less than a kilobyte (`ray.train.collective`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from numpy.typing import NDArray

from ray_apps.algorithms.ials_blocks import Number
from ray_apps.training.refusals import Refusal, TrainingRefused

LONGEST_STEP_S = 3600.0
"""A worker that waits longer for the others gives up: far longer than an epoch, for a dead worker is seen by Ray Train itself."""

Thing = TypeVar("Thing")


class Board:
    """The actor. Steps are told apart by the attempt and by their number, so a group that was started again meets nobody of the last."""

    def __init__(self) -> None:
        self._attempt = 0
        self._steps: dict[tuple[int, int], dict[int, Any]] = {}
        self._full: dict[tuple[int, int], asyncio.Event] = {}
        self._left: dict[tuple[int, int], int] = {}
        self._refusal: tuple[int, str] | None = None

    async def begin(self) -> int:
        """A new attempt, for the first worker to tell the others; what the last one left is forgotten."""
        self._attempt += 1
        self._steps.clear()
        self._full.clear()
        self._left.clear()
        return self._attempt

    async def exchange(self, step: tuple[int, int], rank: int, workers: int, given: list[Any]) -> list[Any]:
        """Hand over one thing (in a list, so that Ray passes a reference and not what it stands for); return all, by rank."""
        here = self._steps.setdefault(step, {})
        full = self._full.setdefault(step, asyncio.Event())
        here[rank] = given[0]
        if len(here) == workers:
            full.set()
        await asyncio.wait_for(full.wait(), LONGEST_STEP_S)
        self._left[step] = self._left.get(step, 0) + 1
        if self._left[step] == workers:
            for table in (self._steps, self._full, self._left):
                table.pop(step, None)
        return [here[each] for each in range(workers)]

    async def refuse(self, refusal: int, words: str) -> None:
        """Keep why no version can be made: an exception would be tried again."""
        self._refusal = (refusal, words)

    async def refusal(self) -> tuple[int, str] | None:
        """What was kept."""
        return self._refusal


def start() -> Any:
    """The board of a run, as an actor; it takes no CPU of a worker's."""
    import ray  # noqa: PLC0415 — seconds to import: a finished version needs none

    return ray.remote(Board).options(num_cpus=0, max_concurrency=1000).remote()


def check(board: Any) -> None:
    """Raise what a worker has refused.

    Raises:
        TrainingRefused: a worker refused.
    """
    import ray  # noqa: PLC0415 — as above

    kept: tuple[int, str] | None = ray.get(board.refusal.remote())  # pyright: ignore[reportAssignmentType]
    if kept is not None:
        raise TrainingRefused(Refusal(kept[0]), kept[1])


@dataclass(slots=True)
class Group:
    """One worker's place among the others."""

    board: Any
    attempt: int
    rank: int
    workers: int
    _step: int = field(default=0)

    def exchange(self, thing: Thing) -> list[Thing]:
        """All workers' things, by rank; called by all."""
        if self.workers == 1:
            return [thing]
        import ray  # noqa: PLC0415 — as above

        self._step += 1
        reference = ray.put(thing)
        references = ray.get(self.board.exchange.remote((self.attempt, self._step), self.rank, self.workers, [reference]))
        return ray.get(references)

    def deal(self, things: Sequence[Thing]) -> list[Thing]:
        """Hand one thing to each worker; return what all have handed to this one, by rank. Called by all; each fetches its own only."""
        if self.workers == 1:
            return list(things)
        import ray  # noqa: PLC0415 — as above

        self._step += 1
        references = [ray.put(thing) for thing in things]
        everyone = ray.get(self.board.exchange.remote((self.attempt, self._step), self.rank, self.workers, [references]))
        return ray.get([theirs[self.rank] for theirs in everyone])

    def gather(self, own: Mapping[int, NDArray[Number]]) -> list[NDArray[Number]]:
        """The blocks of all workers in order (see `ials_blocks.Together`)."""
        everyone: dict[int, NDArray[Number]] = {}
        for blocks in self.exchange(dict(own)):
            everyone.update(blocks)
        return [everyone[block] for block in sorted(everyone)]
