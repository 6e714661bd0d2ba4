"""Rollouts on a recorded log: the users, the times and the rewards of a demo, who come again as they did.

A rollout is as many seconds of the recording as it is long, in blocks of ten seconds drawn with replacement. Each user is given to one arm
for the whole of it, as in the product, and to a group. What the candidate does otherwise is added to what was recorded: of its answers
so many fail, fewer of those that were rewarded still are, and each takes longer.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.rollout.logs import ERRORS, PARTS, SHARE, Arm, Candidate, Log
from bench.rollout.ours import Decided
from recsys_dev.recording import read
from recsys_operator.plan.evidence import Grouped, Latencies
from recsys_operator.plan.reports import Counted
from recsys_operator.plan.weighing import weighed
from recsys_schemas.serving_evidence import FOLDS, GROUPS, LATENCY_BINS, LATENCY_LEAST_MS, LATENCY_STEPS
from recsys_schemas.v1alpha1.analysis import Analysis

Numbers = NDArray[np.int64]
BLOCK_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Answers of the stable arm, in the order of their asking."""

    at: NDArray[np.float64]
    """Seconds from the first."""
    user: Numbers
    """Numbers from 0 on."""
    users: int
    watched: NDArray[np.bool_]
    ms: NDArray[np.float64]

    @staticmethod
    def of(path: Path) -> "Recording":
        """What a demo wrote.

        Raises:
            Unmet: there is no such recording.
        """
        table = read(path)
        columns = {name: table[name].to_numpy() for name in table.schema.names}
        stable = columns["variant"] == "stable"
        names, user = np.unique(columns["user"][stable], return_inverse=True)
        at = columns["at"][stable]
        return Recording(at=at - at[0], user=user, users=names.size, watched=columns["watched"][stable], ms=columns["ms"][stable])

    @property
    def seconds(self) -> float:
        """How long it is."""
        return float(self.at[-1])

    def drawn(self, chance: np.random.Generator, seconds: int) -> tuple[Numbers, Numbers]:
        """Blocks put after one another: (the second in which each answer is asked for, its row of the recording)."""
        starts = chance.uniform(0.0, self.seconds - BLOCK_S, -(-seconds // BLOCK_S))
        first, last = np.searchsorted(self.at, starts), np.searchsorted(self.at, starts + BLOCK_S)
        rows = [np.arange(a, b) for a, b in zip(first, last, strict=True)]
        blocks = enumerate(zip(rows, starts, strict=True))
        when = [place * BLOCK_S + (self.at[row] - start).astype(np.int64) for place, (row, start) in blocks]
        return np.concatenate(when), np.concatenate(rows)


class Replay:
    """One rollout on a recording."""

    def __init__(self, recording: Recording, candidate: Candidate, chance: np.random.Generator, seconds: int) -> None:
        """Draw its seconds, and what fails and what is earned in them."""
        when, rows = recording.drawn(chance, seconds)
        tried = (chance.random(recording.users) < SHARE)[recording.user[rows]]
        group = chance.integers(GROUPS, size=recording.users)[recording.user[rows]]
        failed = chance.random(rows.size) < np.where(tried, min(1.0, ERRORS * candidate.errors), ERRORS)
        earned = recording.watched[rows] & ~failed & (~tried | (chance.random(rows.size) < candidate.reward))
        ms = recording.ms[rows] * np.where(tried, candidate.latency, 1.0)
        place = np.ceil(LATENCY_STEPS * np.log2(np.maximum(ms, LATENCY_LEAST_MS) / LATENCY_LEAST_MS) - 1e-9)
        self._when, self._tried, self._group = when, tried, group
        self._bins = np.minimum(LATENCY_BINS, place).astype(np.int64)
        self.seconds = seconds
        self.parts = {"requests": np.ones(rows.size, dtype=bool), "errors": failed, "rewards": earned}

    def counts(self, part: str, *, tried: bool) -> Numbers:
        """How many in each second of one arm, summed up from the start; shape (seconds, GROUPS)."""
        taken = self.parts[part] & (self._tried == tried)
        found = np.bincount(self._when[taken] * GROUPS + self._group[taken], minlength=self.seconds * GROUPS)
        return found.reshape(self.seconds, GROUPS).cumsum(0)

    def latencies(self, looks: list[int], *, tried: bool) -> Iterable[Latencies]:
        """The histogram of one arm at the end of each of some seconds."""
        bins = np.zeros((LATENCY_BINS + 1, FOLDS), dtype=np.int64)
        mine = np.nonzero(self._tried == tried)[0]
        until = np.searchsorted(self._when[mine], np.array(looks), side="right")
        for first, last in zip((0, *until[:-1]), until, strict=True):
            fresh = mine[first:last]
            np.add.at(bins, (self._bins[fresh], self._group[fresh] % FOLDS), 1)
            yield Latencies(bins={int(each): bins[each].tolist() for each in np.nonzero(bins.any(axis=1))[0]})


def looks(seconds: int) -> list[int]:
    """The seconds in which it is looked at: each of the first minute, each fifth of ten, each twentieth from there on."""
    return [second for second in range(seconds) if second < 60 or (second % 5 == 0 and second < 600) or second % 20 == 0]


def decide(replay: Replay, analysis: Analysis) -> Decided:
    """When the operator's own code shows harm, looked at with errors, rewards and times together."""
    at = looks(replay.seconds)
    arms = {tried: {part: replay.counts(part, tried=tried) for part in PARTS} for tried in (False, True)}
    timed = {tried: replay.latencies(at, tried=tried) for tried in (False, True)}
    not_worse: int | None = None
    for second, *times in zip(at, timed[False], timed[True], strict=True):
        stable, candidate = (
            Counted(
                errors=Grouped(hits=counts["errors"][second].tolist(), trials=(trials := counts["requests"][second].tolist())),
                rewards=Grouped(hits=counts["rewards"][second].tolist(), trials=trials),
                fallbacks=Grouped(hits=[0] * GROUPS, trials=trials),
                empty_lists=Grouped(hits=[0] * GROUPS, trials=trials),
                latency=latency,
            )
            for counts, latency in zip((arms[False], arms[True]), times, strict=True)
        )
        weighing = weighed(analysis, stable, candidate, place=0, share=SHARE)
        if not_worse is None and weighing.findings[0].verdict in ("NotWorse", "Better"):
            not_worse = second + 1
        if weighing.failing:
            return Decided(worse=second + 1, not_worse=not_worse, words=weighing.words)
    return Decided(worse=None, not_worse=not_worse)


def counted(replays: list[Replay]) -> Log:
    """The same rollouts as rules of thresholds see them."""
    arms: list[Arm] = []
    for tried in (False, True):
        parts = {part: np.stack([replay.counts(part, tried=tried).sum(axis=1) for replay in replays]) for part in PARTS}
        arms.append(Arm(**parts))
    return Log(stable=arms[0], candidate=arms[1], share=SHARE)
