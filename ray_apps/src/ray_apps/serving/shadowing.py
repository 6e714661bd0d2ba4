"""Shadowing: a version that nobody sees answers copies of questions, on a thread of its own; its answers are scored beside the given ones.

Bounded on every side: a copy that finds the queue full is dropped and counted, and the thread rests three times as long as it worked, so
that at most a quarter of a core goes into answers that nobody gets.
"""

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ray_apps.serving.answering import rank
from ray_apps.serving.arms import LoadedArm
from ray_apps.serving.counters import MAX_VERSIONS, Tally, group_of
from ray_apps.serving.liked import Liked
from ray_apps.serving.likeness import overlap, rank_correlation
from ray_apps.serving.questions import Question
from recsys_schemas.serving_evidence import GROUPS, ShadowCounters

MOST_WAITING = 128
"""Copies that wait to be answered; more are dropped."""
REST = 3.0
"""How long the thread rests for each moment that it worked."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One question with the answer that was given."""

    arm: LoadedArm
    question: Question
    given: list[str]
    within_ms: float


@dataclass(slots=True)
class _Scored:
    """The running scores of one version."""

    requests: list[int] = field(default_factory=lambda: [0] * GROUPS)
    errors: list[int] = field(default_factory=lambda: [0] * GROUPS)
    dropped: int = 0
    late: int = 0
    overlap_sum: float = 0.0
    correlation_sum: float = 0.0
    correlated: int = 0
    worth_sum: float = 0.0
    given_worth_sum: float = 0.0
    times: Tally = field(default_factory=Tally)


class Shadow:
    """Copies of questions, and what the answers to them showed."""

    def __init__(self, liked: Liked, clock: Callable[[], float] = time.perf_counter, rest: float = REST) -> None:
        self._liked, self._clock, self._rest = liked, clock, rest
        self._queue: deque[Copy] = deque()
        self._of: OrderedDict[str, _Scored] = OrderedDict()
        self._arrived = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, copy: Copy) -> None:
        """Take a copy, or drop it; never waits."""
        if len(self._queue) >= MOST_WAITING:
            self._scored(copy.arm.name).dropped += 1
            return
        self._queue.append(copy)
        self._arrived.set()

    def counters(self) -> dict[str, ShadowCounters]:
        """Version → what its answers showed."""
        return {
            version: ShadowCounters(
                requests=list(scored.requests),
                errors=list(scored.errors),
                dropped=scored.dropped,
                late=scored.late,
                overlap_sum=scored.overlap_sum,
                correlation_sum=scored.correlation_sum,
                correlated=scored.correlated,
                worth_sum=scored.worth_sum,
                given_worth_sum=scored.given_worth_sum,
                latency_ms_sum=scored.times.latency_ms_sum,
                latency_buckets=scored.times.counters().latency_buckets,
            )
            for version, scored in list(self._of.items())
        }

    def close(self) -> None:
        """Answer no more; what waits is dropped."""
        self._stop.set()
        self._arrived.set()
        self._thread.join(timeout=5)

    def _scored(self, version: str) -> _Scored:
        found = self._of.get(version)
        if found is None:
            found = self._of.setdefault(version, _Scored())
            if len(self._of) > MAX_VERSIONS:
                self._of.popitem(last=False)
        return found

    def _run(self) -> None:
        while not self._stop.is_set():
            self._arrived.wait()
            self._arrived.clear()
            while self._queue and not self._stop.is_set():
                began = self._clock()
                try:
                    self._score(self._queue.popleft())
                except Exception:
                    logger.exception("a copy could not be scored", extra={"event": "ShadowFailed"})
                self._stop.wait((self._clock() - began) * self._rest)

    def _score(self, copy: Copy) -> None:
        scored, group = self._scored(copy.arm.name), group_of(copy.question.who)
        self._liked.shown(copy.given)
        started = self._clock()
        try:
            items = [item for item, _ in rank(copy.arm, copy.question).items]
        except Exception:  # noqa: BLE001 - whatever a version does wrong is what is looked for here
            items = None
        milliseconds = (self._clock() - started) * 1000
        scored.requests[group] += 1
        scored.times.observe(milliseconds)
        if items is None or milliseconds > copy.within_ms:
            scored.errors[group] += 1
            scored.late += items is not None
            return
        scored.overlap_sum += overlap(copy.given, items)
        scored.worth_sum += self._liked.worth(items)
        scored.given_worth_sum += self._liked.worth(copy.given)
        correlation = rank_correlation(copy.given, items)
        if correlation is not None:
            scored.correlation_sum += correlation
            scored.correlated += 1
