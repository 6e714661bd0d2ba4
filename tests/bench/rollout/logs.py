"""Seeded request logs: what both arms did in each second, for many rollouts at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, log, sqrt

import numpy as np
from numpy.typing import NDArray

from recsys_schemas.serving_evidence import FOLDS, LATENCY_BINS, latency_edge

Numbers = NDArray[np.int64]

REQUESTS_PER_SECOND = 200
SHARE = 0.1
PARTS = ("requests", "errors", "rewards")
ERRORS, REWARD, MEDIAN_MS, SPREAD = 0.01, 0.2, 40.0, 0.5
"""Of the stable version: one request in a hundred fails, one answer in five is rewarded, the p99 is 3.2 times the median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What the version that is tried does otherwise than the stable one."""

    name: str
    errors: float = 1.0
    """So many times the stable one's errors."""
    reward: float = 1.0
    latency: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Counts of one arm, cumulated by second: shape (rollouts, seconds)."""

    requests: Numbers
    errors: Numbers
    rewards: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Both arms of many rollouts over the same seconds."""

    stable: Arm
    candidate: Arm
    share: float

    @staticmethod
    def joined(logs: Sequence["Log"]) -> "Log":
        """The rollouts of several logs of the same length as those of one."""
        arms = [
            Arm(**{part: np.concatenate([getattr(getattr(log_, arm), part) for log_ in logs]) for part in PARTS})
            for arm in ("stable", "candidate")
        ]
        return Log(stable=arms[0], candidate=arms[1], share=logs[0].share)

    @property
    def rollouts(self) -> int:
        """How many."""
        return self.stable.requests.shape[0]

    @property
    def seconds(self) -> int:
        """How long each is."""
        return self.stable.requests.shape[1]


def draw(chance: np.random.Generator, candidate: Candidate, *, rollouts: int, seconds: int, share: float = SHARE) -> Log:
    """Requests come as a Poisson stream, each to either arm by chance; answers are independent."""
    shape = (rollouts, seconds)
    asked = [chance.poisson(REQUESTS_PER_SECOND * part, shape) for part in (1 - share, share)]
    arms: list[Arm] = []
    for requests, errs, earns in zip(asked, (ERRORS, ERRORS * candidate.errors), (REWARD, REWARD * candidate.reward), strict=True):
        errors = chance.binomial(requests, min(1.0, errs))
        rewards = chance.binomial(requests - errors, earns)
        arms.append(Arm(requests=requests.cumsum(1), errors=errors.cumsum(1), rewards=rewards.cumsum(1)))
    return Log(stable=arms[0], candidate=arms[1], share=share)


def latency_shape(factor: float) -> NDArray[np.float64]:
    """The probability of each latency bin: lognormal around the median times a factor."""
    edges = [(log(latency_edge(place)) - log(MEDIAN_MS * factor)) / SPREAD for place in range(LATENCY_BINS)]
    below = np.array([*((1 + erf(edge / sqrt(2))) / 2 for edge in edges), 1.0])
    return np.diff(below, prepend=0.0)


def latencies(chance: np.random.Generator, requests: int, shape: NDArray[np.float64]) -> dict[int, list[int]]:
    """So many latencies as a replica counts them: bin → by fold of users."""
    counts = chance.multinomial(requests, shape)
    return {int(place): chance.multinomial(counts[place], [1 / FOLDS] * FOLDS).tolist() for place in np.nonzero(counts)[0]}
