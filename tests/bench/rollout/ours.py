"""The operator's own evidence on a log, looked at in every second.

What decides is `plan.weighing.weighed`, called with counts by groups of users, as the operator does. It is not called where it cannot
decide: a second is passed over where the same e-values, computed for all rollouts at once without the design effect, have come less than
half of the way to every boundary. `check` calls it in such seconds too, drawn at random, and counts where it decides after all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from bench.rollout.logs import Arm, Log, Numbers, latencies, latency_shape
from recsys_operator.plan.evidence import Grouped, Latencies
from recsys_operator.plan.evidence.rates import FINE_DOWN, RARE_DOWN, RARE_UP, Shifts
from recsys_operator.plan.reports import Counted
from recsys_operator.plan.weighing import Weighing, level_of, weighed
from recsys_schemas.serving_evidence import GROUPS
from recsys_schemas.v1alpha1.analysis import Analysis

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """When one rollout was decided, seconds; None where it never was."""

    worse: int | None
    not_worse: int | None
    words: str = ""


def log_e(log_: Log, hits: str, ratio: float, shifts: Shifts) -> Floats:
    """As `plan.evidence.rates.log_e_ratio`, for all rollouts and seconds at once, without the design effect."""
    ours, theirs = getattr(log_.candidate, hits), getattr(log_.stable, hits)
    odds = ratio * log_.candidate.requests / np.maximum(log_.stable.requests, 1)
    found: Floats | None = None
    for factor, weight in shifts:
        fewer = np.log((1 + odds) / (1 + factor * odds))
        term = log(weight) + ours * (log(factor) + fewer) + theirs * fewer
        found = term if found is None else np.logaddexp(found, term)
    assert found is not None
    return found


def suspicious(log_: Log, analysis: Analysis) -> tuple[Marks, Marks]:
    """Seconds in which harm, and in which NotWorse in errors, may be shown."""
    level = level_of(analysis, 0)
    harm = log_e(log_, "errors", 1.0, RARE_UP) >= log(1 / level["errors"].worse) / 2
    harm |= log_e(log_, "rewards", 1 - analysis.max_reward_decrease, FINE_DOWN) >= log(1 / level["reward"].worse) / 2
    fine = log_e(log_, "errors", analysis.max_error_rate_ratio, RARE_DOWN) >= log(1 / level["errors"].not_worse) / 2
    return harm, fine


class Rollout:
    """One rollout of a log; counts by group are drawn as they are looked at, and add up to the log's."""

    def __init__(self, log_: Log, number: int, chance: np.random.Generator, *, latency: float | None = None) -> None:
        self._log, self._number, self._chance = log_, number, chance
        self._at = -1
        self._arms = {name: {part: np.zeros(GROUPS, dtype=np.int64) for part in ("requests", "errors", "rewards")} for name in _ARMS}
        self._shapes = None if latency is None else dict(zip(_ARMS, (latency_shape(1.0), latency_shape(latency)), strict=True))
        self._times = {name: Latencies(bins={}) for name in _ARMS}

    def weigh(self, analysis: Analysis, second: int) -> Weighing:
        """What the operator would say then."""
        for name in _ARMS:
            arm: Arm = getattr(self._log, name)
            fresh = {part: self._fresh(getattr(arm, part), second) for part in ("requests", "errors", "rewards")}
            failed, rewarded = (self._chance.multinomial(fresh[part], _EVEN) for part in ("errors", "rewards"))
            others = self._chance.multinomial(fresh["requests"] - fresh["errors"] - fresh["rewards"], _EVEN)
            for part, counts in (("requests", failed + rewarded + others), ("errors", failed), ("rewards", rewarded)):
                self._arms[name][part] += counts
            if self._shapes is not None:
                timed = latencies(self._chance, fresh["requests"], self._shapes[name])
                self._times[name] = Latencies.added((self._times[name].bins, timed))
        self._at = second
        return weighed(analysis, self._counted("stable"), self._counted("candidate"), place=0, share=self._log.share)

    def _fresh(self, seen: Numbers, second: int) -> int:
        """What came since the last look."""
        return int(seen[self._number, second] - (seen[self._number, self._at] if self._at >= 0 else 0))

    def _counted(self, name: str) -> Counted:
        parts = {part: groups.tolist() for part, groups in self._arms[name].items()}
        requests, zeros = parts["requests"], [0] * GROUPS
        return Counted(
            errors=Grouped(hits=parts["errors"], trials=requests),
            rewards=Grouped(hits=parts["rewards"], trials=requests),
            fallbacks=Grouped(hits=zeros, trials=requests),
            empty_lists=Grouped(hits=zeros, trials=requests),
            latency=self._times[name],
        )


_EACH = 300
"""Until then it is looked at in each second, then in every second, third, fourth one: what comes late need not be timed by the second."""
_ARMS = ("stable", "candidate")
_EVEN = [1 / GROUPS] * GROUPS


def decide(log_: Log, analysis: Analysis, chance: np.random.Generator, *, always: Sequence[int] = ()) -> list[Decided]:
    """When each rollout is shown to be harmful or not worse in errors; `always`: seconds that are looked at in any case."""
    harm, fine = suspicious(log_, analysis)
    found: list[Decided] = []
    for number in range(log_.rollouts):
        rollout, worse, not_worse, words = Rollout(log_, number, chance), None, None, ""
        seconds = np.union1d(np.nonzero(harm[number])[0], always).astype(int)
        first_fine = np.nonzero(fine[number])[0]
        for second in np.union1d(seconds, first_fine).astype(int).tolist():
            if second > _EACH and second % (second // _EACH + 1) and second not in always:
                continue
            if not_worse is not None and second not in always and not harm[number, second]:
                continue
            weighing = rollout.weigh(analysis, second)
            if not_worse is None and weighing.findings[0].verdict in ("NotWorse", "Better"):
                not_worse = second + 1
            if weighing.failing:
                worse, words = second + 1, weighing.words
                break
        found.append(Decided(worse=worse, not_worse=not_worse, words=words))
    return found


def decide_latency(log_: Log, analysis: Analysis, chance: np.random.Generator, factor: float) -> list[Decided]:
    """When each rollout is shown to be slower; looked at in every second for a minute, then in every tenth."""
    found: list[Decided] = []
    looks = [second for second in range(log_.seconds) if second < _EACH // 5 or second % 10 == 0]
    for number in range(log_.rollouts):
        rollout = Rollout(log_, number, chance, latency=factor)
        weighings = ((second + 1, rollout.weigh(analysis, second)) for second in looks)
        worse = next(((second, weighing.words) for second, weighing in weighings if weighing.failing), (None, ""))
        found.append(Decided(worse=worse[0], not_worse=None, words=worse[1]))
    return found


def check(log_: Log, analysis: Analysis, chance: np.random.Generator, *, looks: int) -> tuple[int, int]:
    """(seconds that were passed over and looked at here, those in which the operator's own code shows harm all the same)."""
    harm, _ = suspicious(log_, analysis)
    looked = decided = 0
    for _ in range(looks):
        number, second = int(chance.integers(log_.rollouts)), int(chance.integers(log_.seconds))
        if not harm[number, second]:
            looked += 1
            decided += Rollout(log_, number, chance).weigh(analysis, second).failing
    return looked, decided
