"""Shadowed: what answers showed that nobody got, held against those that were given."""

from collections.abc import Sequence
from dataclasses import dataclass

from recsys_operator.plan import findings
from recsys_operator.plan.apart import level_apart
from recsys_operator.plan.evidence import Count, Grouped, Verdict, interval, likely_excess
from recsys_operator.plan.findings import Finding
from recsys_operator.plan.reports import Counted, Reports, added
from recsys_operator.plan.weighing import totals
from recsys_operator.state.observed import RolloutState
from recsys_schemas.serving_evidence import ShadowCounters, stratum_of
from recsys_schemas.v1alpha1.analysis import Analysis
from recsys_schemas.v1alpha1.rollout import ArmTotals, Evidence, ShadowEvidence
from recsys_schemas.v1alpha1.strategy import ShadowStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadowed:
    """The scores of one pass with their verdicts. Answers that fail or are late count as errors."""

    analysis: Analysis
    step: ShadowStep
    stable: Counted
    candidate: Grouped
    errors: Finding
    overlap: tuple[float, float]
    """The confidence sequence of the mean overlap; it holds for numbers between 0 and 1, for none varies more than yes and no."""
    scores: ShadowEvidence

    better = False
    """Nobody has seen it, so nobody can prefer it."""

    @property
    def failing(self) -> bool:
        """Whether harm is shown: it errs more often, or its lists are others than was allowed."""
        return self.errors.verdict is Verdict.WORSE or self.overlap[1] < self.step.min_overlap

    @property
    def objection(self) -> str:
        """Why it goes no further though no harm is shown; empty where nothing speaks against it."""
        return "harm is likely though not shown" if self.doubtful else ""

    @property
    def doubtful(self) -> bool:
        """Whether harm is likely, though not shown."""
        erred = self.candidate.effective
        excess = likely_excess(self.stable.errors.effective, erred)
        errs = erred.rate > self.analysis.acceptable_error_rate and excess > self.analysis.max_error_rate_increase
        return errs or self._mean < self.step.min_overlap

    @property
    def answers(self) -> int:
        """Copies answered."""
        return sum(self.candidate.trials)

    @property
    def _mean(self) -> float:
        return float(self.scores.overlap) if self.scores.overlap else 1.0

    @property
    def evidence(self) -> Evidence:
        """The numbers, as the status keeps them."""
        seen = ArmTotals(requests=self.answers, errors=sum(self.candidate.hits), error_design_effect=round(self.candidate.design_effect, 3))
        return Evidence(stable=totals(self.stable), candidate=seen, shadow=self.scores)

    @property
    def words(self) -> str:
        """The numbers that anyone can recompute the verdicts from."""
        scores = self.scores
        told = f"in the shadow {self.errors.words} ({self.errors.verdict})"
        if not scores.overlap:
            return told
        correlation = f", rank correlation {scores.rank_correlation}" if scores.rank_correlation else ""
        worth = f", predicted reward {scores.predicted_reward} of the given answers'" if scores.predicted_reward else ""
        return f"{told}, overlap {scores.overlap}{correlation}{worth}"


def shadowed(rollout: RolloutState, step: ShadowStep, seen: Reports) -> Shadowed | None:
    """Add up what every replica scored; None without a stable arm."""
    spec = rollout.spec
    if spec.stable is None:
        return None
    found = [replica.shadow[spec.candidate.name] for replica in seen.response.replicas if spec.candidate.name in replica.shadow]
    stable = seen.counted(spec.stable.name, stratum_of({spec.stable.name: 100}))
    candidate = Grouped(hits=added(each.errors for each in found), trials=added(each.requests for each in found))
    analysis, level = spec.analysis, level_apart(spec, step)
    scored = sum(candidate.trials) - sum(candidate.hits)
    whole = Count(hits=min(sum(each.overlap_sum for each in found), float(scored)), trials=scored)
    return Shadowed(
        analysis=analysis,
        step=step,
        stable=stable,
        candidate=candidate,
        errors=findings.errors(analysis, stable.errors, candidate, level),
        overlap=interval(whole, level.worse / 2),
        scores=_scores(found, scored),
    )


def _scores(found: Sequence[ShadowCounters], scored: int) -> ShadowEvidence:
    correlated, given = sum(each.correlated for each in found), sum(each.given_worth_sum for each in found)
    requests = sum(sum(each.requests) for each in found)
    return ShadowEvidence(
        scored=scored,
        dropped=sum(each.dropped for each in found),
        late=sum(each.late for each in found),
        overlap=_mean(sum(each.overlap_sum for each in found), scored),
        rank_correlation=_mean(sum(each.correlation_sum for each in found), correlated),
        predicted_reward=_mean(sum(each.worth_sum for each in found), given),
        mean_milliseconds=_mean(sum(each.latency_ms_sum for each in found), requests),
    )


def _mean(total: float, count: float) -> str:
    return f"{total / count:.4f}" if count else ""
