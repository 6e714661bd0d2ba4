"""Weighing: what both arms did at the present shares, and what it shows.

Only what was counted under the same shares is compared: see `recsys_schemas.serving_evidence.stratum_of`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from recsys_operator.plan import findings
from recsys_operator.plan.evidence import Levels, Verdict, levels, likely_excess
from recsys_operator.plan.findings import Finding
from recsys_operator.plan.reports import Counted, Reports
from recsys_operator.state.observed import Measured, RolloutState, Unavailable
from recsys_schemas.serving_evidence import stratum_of
from recsys_schemas.v1alpha1.analysis import Analysis
from recsys_schemas.v1alpha1.rollout import ArmTotals, Evidence, RolloutPhase, RolloutSpec

WATCHED = ("errors", "reward", "latency p50", "latency p99", "fallbacks", "empty lists", "users")
"""What is watched in every rollout."""
_DEMANDED = ("errors", "reward", "latency p50", "latency p99")
"""What must be shown to be no worse where the spec demands NotWorse."""
_ALWAYS_TOLD = ("errors", "reward", "latency p99")


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
        """Whether the candidate is shown not to be worse in errors, reward, latency and what the spec adds."""
        return not self._unproven

    @property
    def _unproven(self) -> list[str]:
        proven = (Verdict.NOT_WORSE, Verdict.BETTER)
        demanded = [finding for finding in self.findings if finding.metric in _DEMANDED or self._own(finding)]
        return [finding.metric for finding in demanded if finding.verdict not in proven]

    def _own(self, finding: Finding) -> bool:
        """Whether the spec added this metric."""
        return finding.metric not in WATCHED

    @property
    def objection(self) -> str:
        """Why no further users are given though no harm is shown; empty where nothing speaks against it.

        It only ever delays, so it needs no error budget.
        """
        invalid = next((finding for finding in self.findings if finding.verdict is Verdict.INVALID), None)
        if invalid is not None:
            return f"the arms did not get the users that their shares say ({invalid.words}): find what loses or adds requests"
        if self._harm_is_likely:
            return "harm is likely though not shown"
        unread = next((finding for finding in self.findings if self._own(finding) and finding.verdict is Verdict.INSUFFICIENT_DATA), None)
        if unread is not None:
            return f"nothing is known of {unread.metric} ({unread.words})"
        if self.analysis.demand == "NotWorse" and self._unproven:
            return f"not yet shown to be no worse in {', '.join(self._unproven)}"
        return ""

    @property
    def _harm_is_likely(self) -> bool:
        stable, candidate, analysis = self.stable, self.candidate, self.analysis
        errs, erred = stable.errors.effective, candidate.errors.effective
        if erred.rate > analysis.acceptable_error_rate and likely_excess(errs, erred) > analysis.max_error_rate_increase:
            return True
        earns, earned = stable.rewards.effective, candidate.rewards.effective
        return likely_excess(earned, earns) > analysis.max_reward_decrease * earns.rate

    @property
    def doubtful(self) -> bool:
        """Whether something speaks against giving it further users: nothing is rolled back for it."""
        return bool(self.objection)

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
        shown = [finding.shown for finding in self.findings]
        return Evidence(stable=totals(self.stable), candidate=totals(self.candidate), shown=shown)

    @property
    def words(self) -> str:
        """The numbers that anyone can recompute the verdicts from: of errors, reward and latency, and of all that shows harm."""
        alarming = (Verdict.WORSE, Verdict.INVALID)
        told = [finding for finding in self.findings if finding.metric in _ALWAYS_TOLD or finding.verdict in alarming]
        return ", ".join(f"{finding.words} ({finding.verdict})" for finding in told)


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


def weigh(
    rollout: RolloutState,
    seen: Reports,
    shares: Mapping[str, int] | None = None,
    metrics: Mapping[str, Measured | Unavailable] | None = None,
    arm: str | None = None,
) -> Weighing | None:
    """Compare what both arms did at the present shares; None without a stable arm: there is nothing to compare with.

    `shares` (version → percent) are those in force, where more than the two arms have one; `metrics` what was read of the spec's own;
    `arm` is compared, or else the candidate or what was taken in its stead.
    """
    spec, weight, name = rollout.spec, rollout.status.weight, arm or rollout.lead.name
    if spec.stable is None:
        return None
    given = shares or {spec.stable.name: 100 - weight, name: weight}
    stratum = stratum_of(given)
    stable, candidate = seen.counted(spec.stable.name, stratum), seen.counted(name, stratum)
    theirs, ours = given.get(spec.stable.name, 0), given.get(name, 0)
    share = ours / (ours + theirs) if ours + theirs else 0.0
    place, analysis = place_in(rollout), of_one_arm(spec)
    found = weighed(analysis, stable, candidate, place=place, share=share)
    level = level_of(analysis, place)
    more = tuple(findings.metric(each, (metrics or {}).get(each.name), level[each.name]) for each in analysis.metrics)
    return replace(found, findings=found.findings + more)


def of_one_arm(spec: RolloutSpec) -> Analysis:
    """What one arm must earn: of the error budget each arm of a test has an equal part (Bonferroni), also once others have left."""
    analysis, number = spec.analysis, len(spec.tried)
    if number == 1:
        return analysis
    parts = {"alpha": analysis.alpha / number, "alpha_not_worse": analysis.alpha_not_worse / number}
    return analysis.model_copy(update=parts)


def place_in(rollout: RolloutState) -> int:
    """How many other shares of the rollout came before the present ones: with each arm that leaves a test they are others."""
    spec, status = rollout.spec, rollout.status
    if not spec.arms:
        return place_of(spec, status.weight)
    over = status.phase not in (RolloutPhase.PENDING, RolloutPhase.LOADING, RolloutPhase.PROGRESSING, RolloutPhase.PAUSED)
    return len(status.left) + over


def place_of(spec: RolloutSpec, weight: int) -> int:
    """How many shares of the walk come before this one; what is not on it, the time after a promotion, comes after all of them."""
    weights = sorted({step.set_weight for step in spec.steps if step.set_weight is not None})
    return weights.index(weight) if weight in weights else len(weights)


def weighed(analysis: Analysis, stable: Counted, candidate: Counted, *, place: int, share: float) -> Weighing:
    """Compare two arms that were counted over the same time.

    Args:
        analysis: limits and the error budget.
        stable: what the arm did that is there.
        candidate: what the one did that would replace it.
        place: how many other shares of the same rollout came before: each has its part of the budget.
        share: the candidate's part of the users of both.
    """
    level = level_of(analysis, place)
    found = (
        findings.errors(analysis, stable.errors, candidate.errors, level["errors"]),
        findings.reward(analysis, stable.rewards, candidate.rewards, level["reward"]),
        findings.latency("latency p50", analysis, stable.latency, candidate.latency, level["latency p50"]),
        findings.latency("latency p99", analysis, stable.latency, candidate.latency, level["latency p99"]),
        findings.fallbacks(analysis, stable.fallbacks, candidate.fallbacks, level["fallbacks"]),
        findings.empty_lists(analysis, stable.empty_lists, candidate.empty_lists, level["empty lists"]),
        findings.users(stable.errors, candidate.errors, share, level["users"]),
    )
    return Weighing(analysis=analysis, stable=stable, candidate=candidate, findings=found)


def level_of(analysis: Analysis, place: int) -> dict[str, Levels]:
    """The levels at one of the rollout's shares."""
    watched = (*WATCHED, *(metric.name for metric in analysis.metrics))
    return levels(analysis.alpha, analysis.alpha_not_worse, place=place, watched=watched)
