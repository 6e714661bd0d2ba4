"""Weighing: what both arms did at the present shares, and what it shows.

Only what was counted under the same shares is compared: see `recsys_schemas.serving_api.stratum_of`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from recsys_operator.plan.evidence import Comparison, Grouped, Verdict, less_often, likely_excess, more_often
from recsys_operator.plan.reports import Counted, Reports
from recsys_operator.state.observed import RolloutState
from recsys_schemas.serving_api import stratum_of
from recsys_schemas.v1alpha1.analysis import Analysis
from recsys_schemas.v1alpha1.rollout import ArmTotals, Evidence, RolloutSpec

_TOLD_EFFECT = 1.05
"""A smaller design effect is not worth a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighing:
    """The evidence of one pass with its verdicts."""

    analysis: Analysis
    stable: Counted
    candidate: Counted
    errors: Comparison
    reward: Comparison

    @property
    def failing(self) -> bool:
        """Whether harm is shown."""
        return Verdict.WORSE in (self.errors.verdict, self.reward.verdict)

    @property
    def doubtful(self) -> bool:
        """Whether harm is likely, though not shown: nothing is rolled back for it, but no further users are given either."""
        stable, candidate = self.stable, self.candidate
        if likely_excess(stable.errors.effective, candidate.errors.effective) > self.analysis.max_error_rate_increase:
            return True
        return likely_excess(candidate.rewards.effective, stable.rewards.effective) > self.analysis.max_reward_decrease

    @property
    def better(self) -> bool:
        """Whether the candidate is shown to earn more, while no harm is even likely: its whole interval lies above the stable one's."""
        return self.reward.candidate[0] > self.reward.stable[1] and not self.doubtful

    @property
    def answers(self) -> int:
        """Answers of the candidate at the present shares that are old enough to have been rewarded, and its errors."""
        return sum(self.candidate.rewards.trials) + sum(self.candidate.errors.hits)

    @property
    def evidence(self) -> Evidence:
        """The numbers, as the status keeps them."""
        return Evidence(stable=totals(self.stable), candidate=totals(self.candidate))

    @property
    def words(self) -> str:
        """The numbers that anyone can recompute the verdicts from."""
        stable, candidate = self.stable, self.candidate
        return (
            f"errors {_told(candidate.errors)} against {_told(stable.errors)} ({self.errors.verdict}), "
            f"reward {_told(candidate.rewards)} against {_told(stable.rewards)} ({self.reward.verdict})"
        )


def _told(grouped: Grouped) -> str:
    effect = grouped.design_effect
    return f"{grouped.count}" + (f" (worth {grouped.count.trials / effect:.0f})" if effect > _TOLD_EFFECT else "")


def totals(counted: Counted) -> ArmTotals:
    """An arm's counts, as the status keeps them."""
    return ArmTotals(
        requests=sum(counted.errors.trials),
        errors=sum(counted.errors.hits),
        impressions=sum(counted.rewards.trials),
        rewards=sum(counted.rewards.hits),
        error_design_effect=round(counted.errors.design_effect, 3),
        reward_design_effect=round(counted.rewards.design_effect, 3),
    )


def judged_apart(spec: RolloutSpec) -> int:
    """How many times a candidate is judged by itself: at each share, in each shadow or interleave step, and while the way back is armed."""
    weights = {step.set_weight for step in spec.steps if step.set_weight is not None}
    return max(1, len(weights) + sum(not step.pause and step.set_weight is None for step in spec.steps) + (spec.hold_seconds > 0))


def weigh(rollout: RolloutState, seen: Reports, shares: Mapping[str, int] | None = None) -> Weighing | None:
    """Compare what both arms did at the present shares; None without a stable arm: there is nothing to compare with.

    `shares` (version → percent) are those in force, where more than the two arms have one.

    The rollout's budget `alpha` is split evenly over errors and rewards, and over the steps, for each is judged by itself.
    """
    spec, weight = rollout.spec, rollout.status.weight
    if spec.stable is None:
        return None
    stratum = stratum_of(shares or {spec.stable.name: 100 - weight, spec.candidate.name: weight})
    stable, candidate = seen.counted(spec.stable.name, stratum), seen.counted(spec.candidate.name, stratum)
    analysis, alpha = spec.analysis, spec.analysis.alpha / 2 / judged_apart(spec)
    return Weighing(
        analysis=analysis,
        stable=stable,
        candidate=candidate,
        errors=more_often(stable.errors.effective, candidate.errors.effective, margin=analysis.max_error_rate_increase, alpha=alpha),
        reward=less_often(stable.rewards.effective, candidate.rewards.effective, margin=analysis.max_reward_decrease, alpha=alpha),
    )
