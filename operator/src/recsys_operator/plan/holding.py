"""Holding: after a promotion the way back stays armed; what is shown against the new champion while it is.

Users who are held back on the version before go on being compared with all others, in everything. Without them nobody is left to compare
with at the same time; then the errors are held against those that the version before had under the last shares of the walk. Rewards are
not: they change with the hour.
"""

from dataclasses import dataclass

from recsys_operator.plan import findings, shares, steps
from recsys_operator.plan.evidence import Verdict
from recsys_operator.plan.once import once
from recsys_operator.plan.reports import Counted, reports
from recsys_operator.plan.weighing import level_of, of_one_arm, place_in, place_of, totals, weigh
from recsys_operator.state.observed import Observed, RolloutState
from recsys_schemas.serving_evidence import stratum_of
from recsys_schemas.v1alpha1.rollout import Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What is shown of a version that serves all users, with the numbers in words."""

    failing: bool
    evidence: Evidence
    words: str


@once
def guard(observed: Observed, rollout: RolloutState) -> Guard | None:
    """What is shown against it; None while nothing can be seen."""
    seen, spec = reports(observed), rollout.spec
    if seen is None or spec.stable is None:
        return None
    now = shares.in_force(observed)
    if now.get(spec.stable.name):
        weighing = weigh(rollout, seen, now)
        return Guard(failing=weighing.failing, evidence=weighing.evidence, words=weighing.words) if weighing else None
    last = steps.weight_at(spec, len(spec.steps) - 1)
    before = seen.counted(spec.stable.name, stratum_of(shares.at_weight(observed, rollout, last)))
    candidate = seen.counted(rollout.lead.name, stratum_of(now))
    return _against(rollout, before, candidate)


def _against(rollout: RolloutState, before: Counted, candidate: Counted) -> Guard:
    analysis, place = of_one_arm(rollout.spec), place_in(rollout) if rollout.spec.arms else place_of(rollout.spec, 100)
    level = level_of(analysis, place)["errors"]
    found = findings.errors(analysis, before.errors, candidate.errors, level)
    return Guard(
        failing=found.verdict is Verdict.WORSE,
        evidence=Evidence(stable=totals(before), candidate=totals(candidate), shown=[found.shown]),
        words=f"{found.words} before it ({found.verdict})",
    )
