"""Weighing: what both arms did since a rollout began, and what it shows."""

from dataclasses import dataclass

from recsys_operator.plan.evidence import Comparison, Count, Verdict, less_often, likely_excess, more_often
from recsys_operator.plan.reports import Reports, since
from recsys_operator.state.observed import RolloutState
from recsys_schemas.v1alpha1.model import Analysis
from recsys_schemas.v1alpha1.rollout import ArmTotals, Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighing:
    """The evidence of one pass with its verdicts."""

    analysis: Analysis
    evidence: Evidence
    errors: Comparison
    reward: Comparison

    @property
    def failing(self) -> bool:
        """Whether harm is shown."""
        return Verdict.WORSE in (self.errors.verdict, self.reward.verdict)

    @property
    def doubtful(self) -> bool:
        """Whether harm is likely, though not shown: nothing is rolled back for it, but no further users are given either."""
        stable, candidate = self.evidence.stable, self.evidence.candidate
        more_errors = likely_excess(_errors(stable), _errors(candidate)) > self.analysis.max_error_rate_increase
        return more_errors or likely_excess(_reward(candidate), _reward(stable)) > self.analysis.max_reward_decrease

    @property
    def words(self) -> str:
        """The numbers that anyone can recompute the verdicts from."""
        stable, candidate = self.evidence.stable, self.evidence.candidate
        return (
            f"errors {_errors(candidate)} against {_errors(stable)} ({self.errors.verdict}), "
            f"reward {_reward(candidate)} against {_reward(stable)} ({self.reward.verdict})"
        )


def _errors(arm: ArmTotals) -> Count:
    return Count(hits=min(arm.errors, arm.requests), trials=arm.requests)


def _reward(arm: ArmTotals) -> Count:
    return Count(hits=arm.rewards, trials=arm.impressions)


def weigh(rollout: RolloutState, seen: Reports) -> Weighing:
    """Count what both arms did since the rollout began, and compare."""
    analysis, status = rollout.spec.analysis, rollout.status
    candidate = seen.totals(rollout.spec.candidate.name)
    stable = since(seen.totals(rollout.spec.stable.name), status.baseline.stable) if rollout.spec.stable else ArmTotals()
    at_step = since(candidate, status.baseline.candidate)
    found = Evidence(stable=stable, candidate=candidate, candidate_at_step=at_step.impressions + at_step.errors)
    return Weighing(
        analysis=analysis,
        evidence=found,
        errors=more_often(_errors(stable), _errors(candidate), margin=analysis.max_error_rate_increase, alpha=analysis.alpha / 2),
        reward=less_often(_reward(stable), _reward(candidate), margin=analysis.max_reward_decrease, alpha=analysis.alpha / 2),
    )
