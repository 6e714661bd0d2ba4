"""Who reads what changes under ingest: consumers taken over by more and by fewer lanes, lanes killed, and lanes that wake too late."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import ingest_child
from ingest_lanes import Yard
from ingest_stage import NotExactError, Stage, wait_until

FENCE_S = 240.0
WAKE_S, TWIN_WAKE_S = 180.0, 30.0
"""A lane that wakes hands something over within this, or finds that it is refused."""
LONGEST_PAUSE_S = 0.6


@dataclass(slots=True, kw_only=True)
class Rebalances:
    """What is done to one stage, and how often it took effect."""

    there: Stage
    yard: Yard
    chance: random.Random
    executed: Counter[str]
    effective: Counter[str]
    reading: Any = None
    """The conductor under way."""
    lanes: int = 0

    def take_over(self, lanes: int) -> None:
        """Another consumer, of more or fewer lanes, begins while the first one reads: the first must end as fenced."""
        self._pause()
        before, self.reading, self.lanes = self.reading, self._conduct(lanes), lanes
        if before is not None:
            before.join(FENCE_S)
            self._count("takeover by more or fewer lanes", before.exitcode == ingest_child.EXIT_FENCED)
            if before.exitcode != ingest_child.EXIT_FENCED:
                raise NotExactError(f"a consumer that was taken over from was not fenced: it ended with {before.exitcode}")
        self._settle(f"of {lanes} lanes that took over")

    def kill_a_lane(self) -> None:
        """All lanes begin again from the tables."""
        self._pause()
        self._kill()
        self._settle("after a lane was killed")

    def kill_the_conductor(self) -> None:
        """Its lanes are left alone, and the next conductor has others."""
        self._pause()
        self.reading.kill()
        self.reading.join()
        self._count("conductor killed", self.reading.exitcode == -signal.SIGKILL)
        self.reading = self._conduct(self.lanes)
        self._settle("after the conductor was killed")

    def wake_a_lane(self) -> None:
        """A lane is out of reach for a while, and given up; as it wakes, others have read what it has in hand."""
        late = self._stopped_lane()
        try:
            self._kill(but=late)
            self._settle("while a lane is out of reach")
        finally:
            os.kill(late.pid, signal.SIGCONT)
        deadline = time.monotonic() + (TWIN_WAKE_S if self.there.twin else WAKE_S)
        while late.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.there.check("wake_a_lane")
        refused = late.exitcode == ingest_child.EXIT_FENCED
        self._count("lane woken after it was given up: refused", refused)
        if not refused:
            raise NotExactError(f"a lane that woke late was not refused: it ended with {late.exitcode}")

    def stop(self) -> None:
        """The consumer is asked to end: what its lanes have read is published."""
        self.reading.terminate()
        self.reading.join(FENCE_S)
        self._count("asked to stop", self.reading.exitcode == 0)
        self.there.check("stop")

    def _conduct(self, lanes: int) -> Any:
        child = self.yard.conduct(self.there.job.model_copy(update={"consumers": lanes}))
        self.there.children.append(child)
        return child

    def _any_lane(self, but: Any = None) -> Any:
        return self.chance.choice([lane for lane in self.yard.newest if lane is not but])

    def _stopped_lane(self) -> Any:
        """A lane of the newest generation that stands still. Its consumer may begin another generation by itself at any moment."""
        while True:
            lane = self._any_lane()
            with suppress(ProcessLookupError):
                os.kill(lane.pid, signal.SIGSTOP)
            wait_until(lambda lane=lane: lane.exitcode is not None or ingest_child.state_of(lane.pid) == "T", "a lane stopped", FENCE_S)
            if lane in self.yard.newest and lane.exitcode is None:
                return lane
            lane.kill()

    def _kill(self, but: Any = None) -> None:
        # In this order: a lane of an older generation than `before` would be killed in vain.
        before = self.yard.generations
        lane = self._any_lane(but)
        lane.kill()
        lane.join()
        self._count("lane killed", lane.exitcode == -signal.SIGKILL)
        wait_until(lambda: self.yard.generations > before, "another generation of lanes", FENCE_S)

    def _settle(self, when: str) -> None:
        self.there.commit_after(self.there.sequence() + 1, when)
        self.there.check(when)

    def _pause(self) -> None:
        time.sleep(self.chance.uniform(0.0, LONGEST_PAUSE_S))

    def _count(self, what: str, took_effect: bool) -> None:
        self.executed[what] += 1
        self.effective[what] += took_effect


@contextmanager
def rebalancing(there: Stage, chance: random.Random, executed: Counter[str], effective: Counter[str]) -> Generator[Rebalances]:
    """Set a yard up for a stage, and end every lane whatever happens."""
    yard = Yard(there.log, there.twin)
    try:
        yield Rebalances(there=there, yard=yard, chance=chance, executed=executed, effective=effective)
    finally:
        yard.end()


def rebalance(work: Rebalances) -> None:
    """From one consumer to three lanes and to two, with blows to each; everything is compared after each step."""
    blows: list[Callable[[], None]] = [work.kill_a_lane, work.wake_a_lane, work.kill_the_conductor]
    for lanes in (1, 3, 2):
        work.take_over(lanes)
        if lanes > 1:
            for blow in work.chance.sample(blows, len(blows)):
                blow()
    work.stop()


def wake_late(work: Rebalances) -> None:
    """The one blow that a twin which takes late offers does not stand."""
    work.take_over(2)
    work.wake_a_lane()
