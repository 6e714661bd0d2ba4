"""Did the arms get the users that their shares say? A sample-ratio mismatch means that something loses or adds requests of one arm.

The sequential multinomial test of Lindon & Malek 2022 for two arms: the likelihood of the split, averaged over shares drawn from a
Beta distribution around the wanted one, over the likelihood of the wanted one. Users are split, not requests: the counts are divided by
the design effect that groups of users show.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from recsys_operator.plan.evidence.counts import Grouped, log_beta
from recsys_operator.plan.evidence.verdicts import Proof, Verdict

_FIRMNESS = 100.0
"""How many users the Beta distribution is worth: shares that differ by a few percentage points are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A verdict on the split, and what was seen."""

    verdict: Verdict
    wanted: float
    seen: float
    mismatch: Proof


def split(stable: Sequence[int], candidate: Sequence[int], *, share: float, level: float) -> Split:
    """Compare the requests of both arms, by group of users, with the share that the candidate was to have of the two.

    >>> even, odd = [100] * 64, [120] * 64
    >>> split(even, even, share=0.5, level=0.001).verdict
    <Verdict.UNDECIDED: 'Undecided'>
    >>> split(even, odd, share=0.5, level=0.001).verdict
    <Verdict.INVALID: 'Invalid'>
    """
    trials = [a + b for a, b in zip(stable, candidate, strict=True)]
    count = Grouped(hits=candidate, trials=trials).effective
    if not count.trials or not 0 < share < 1:
        return Split(verdict=Verdict.INSUFFICIENT_DATA, wanted=share, seen=0.0, mismatch=Proof(log_e=0.0, level=level))
    hits, misses = count.hits, count.trials - count.hits
    a, b = _FIRMNESS * share, _FIRMNESS * (1 - share)
    log_e = log_beta(a + hits, b + misses) - log_beta(a, b) - hits * log(share) - misses * log(1 - share)
    proof = Proof(log_e=log_e, level=level)
    return Split(verdict=Verdict.INVALID if proof.reached else Verdict.UNDECIDED, wanted=share, seen=count.rate, mismatch=proof)
