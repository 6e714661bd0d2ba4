"""Weighing: what both arms did at the present shares, and what it shows.

Only what was counted under the same shares is compared: see `recsys_schemas.serving_api.stratum_of`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from recsys_operator.plan.evidence import (
    Comparison,
    Grouped,
    Levels,
    Margin,
    Verdict,
    less_often,
    levels,
    likely_excess,
    more_often,
)
from recsys_operator.plan.reports import Counted, Reports
from recsys_operator.state.observed import RolloutState
from recsys_schemas.serving_api import stratum_of
from recsys_schemas.v1alpha1.analysis import Analysis
from recsys_schemas.v1alpha1.rollout import ArmTotals, Evidence, RolloutSpec

_TOLD_EFFECT = 1.05
"""A smaller design effect is not worth a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One metric, what it shows, and the numbers in words."""

    metric: str
    comparison: Comparison
    words: str

    @property
    def verdict(self) -> Verdict:
        """In one word."""
        return self.comparison.verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighing:
    """The evidence of one pass with its verdicts."""

    analysis: Analysis
    stable: Counted
    candidate: Counted
    findings: tuple[Finding, ...]

    @property
    def failing(self) -> bool:
        """Whether harm is shown in any metric."""
        return any(finding.verdict is Verdict.WORSE for finding in self.findings)

    @property
    def not_worse(self) -> bool:
        """Whether the candidate is shown not to be worse, in every metric that is watched."""
        return all(finding.verdict in (Verdict.NOT_WORSE, Verdict.BETTER) for finding in self.findings)

    @property
    def doubtful(self) -> bool:
        """Whether harm is likely, though not shown: nothing is rolled back for it, but no further users are given either."""
        stable, candidate, analysis = self.stable, self.candidate, self.analysis
        errs, erred = stable.errors.effective, candidate.errors.effective
        if erred.rate > analysis.acceptable_error_rate and likely_excess(errs, erred) > analysis.max_error_rate_increase:
            return True
        earns, earned = stable.rewards.effective, candidate.rewards.effective
        return likely_excess(earned, earns) > analysis.max_reward_decrease * earns.rate

    @property
    def better(self) -> bool:
        """Whether the candidate is shown to earn more, while no harm is shown or even likely."""
        reward = next(finding for finding in self.findings if finding.metric == "reward")
        return reward.verdict is Verdict.BETTER and not self.failing and not self.doubtful

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
        return ", ".join(f"{finding.words} ({finding.verdict})" for finding in self.findings)


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


def weigh(rollout: RolloutState, seen: Reports, shares: Mapping[str, int] | None = None) -> Weighing | None:
    """Compare what both arms did at the present shares; None without a stable arm: there is nothing to compare with.

    `shares` (version → percent) are those in force, where more than the two arms have one.
    """
    spec, weight = rollout.spec, rollout.status.weight
    if spec.stable is None:
        return None
    stratum = stratum_of(shares or {spec.stable.name: 100 - weight, spec.candidate.name: weight})
    stable, candidate = seen.counted(spec.stable.name, stratum), seen.counted(spec.candidate.name, stratum)
    return weighed(spec.analysis, stable, candidate, place=place_of(spec, weight))


def place_of(spec: RolloutSpec, weight: int) -> int:
    """How many shares of the walk come before this one; what is not on it, the time after a promotion, comes after all of them."""
    weights = sorted({step.set_weight for step in spec.steps if step.set_weight is not None})
    return weights.index(weight) if weight in weights else len(weights)


def weighed(analysis: Analysis, stable: Counted, candidate: Counted, *, place: int) -> Weighing:
    """Compare two arms that were counted over the same time.

    Args:
        analysis: limits and the error budget.
        stable: what the arm did that is there.
        candidate: what the one did that would replace it.
        place: how many other shares of the same rollout came before: each has its part of the budget.
    """
    level = levels(analysis.alpha, analysis.alpha_not_worse, place=place, watched=WATCHED)
    findings = (
        compared_errors(analysis, stable.errors, candidate.errors, level["errors"]),
        _compared_reward(analysis, stable.rewards, candidate.rewards, level["reward"]),
    )
    return Weighing(analysis=analysis, stable=stable, candidate=candidate, findings=findings)


WATCHED = ("errors", "reward")
"""What is watched in every rollout."""


def compared_errors(analysis: Analysis, stable: Grouped, candidate: Grouped, level: Levels) -> Finding:
    """What failed requests show."""
    acceptable = analysis.acceptable_error_rate
    harm = Margin(increase=analysis.max_error_rate_increase, acceptable=acceptable)
    limit = Margin(ratio=analysis.max_error_rate_ratio, acceptable=acceptable)
    found = more_often(stable.effective, candidate.effective, harm=harm, limit=limit, levels=level)
    return Finding(metric="errors", comparison=found, words=f"errors {_told(candidate)} against {_told(stable)}")


def _compared_reward(analysis: Analysis, stable: Grouped, candidate: Grouped, level: Levels) -> Finding:
    harm, limit = analysis.max_reward_decrease, analysis.reward_margin
    found = less_often(stable.effective, candidate.effective, harm=harm, limit=limit, levels=level)
    return Finding(metric="reward", comparison=found, words=f"reward {_told(candidate)} against {_told(stable)}")
