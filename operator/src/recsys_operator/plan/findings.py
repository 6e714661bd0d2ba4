"""Findings: what each metric shows of the candidate, by the limits of `spec.rollout.analysis`."""

from dataclasses import dataclass

from recsys_operator.plan.evidence import (
    Comparison,
    Count,
    Grouped,
    Latencies,
    Levels,
    Margin,
    Proof,
    Slower,
    Verdict,
    effective,
    less_often,
    more_often,
    slower,
    split,
)
from recsys_operator.state.observed import Measured, Unavailable
from recsys_schemas.v1alpha1.analysis import Analysis, Metric
from recsys_schemas.v1alpha1.rollout import Shown

_TOLD_EFFECT = 1.05
"""A smaller design effect is not worth a word."""
_QUANTILES = {"latency p50": 0.5, "latency p99": 0.99}
_LEAST_MARGIN, _MOST = 0.1, 0.99
"""NotWorse in a metric of the spec whose hits are good: less than a tenth is lost, or than is put up with."""
_KNOWN_USERS = Margin(ratio=2.0, acceptable=0.05)
"""NotWorse in fallbacks: not twice as many, or fewer than one in twenty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One metric, what it shows, and the numbers in words."""

    metric: str
    verdict: Verdict
    words: str
    worse: Proof | None = None
    not_worse: Proof | None = None

    @property
    def shown(self) -> Shown:
        """As the status keeps it."""
        worse, not_worse = (round(proof.progress, 3) if proof else 0.0 for proof in (self.worse, self.not_worse))
        return Shown(metric=self.metric, verdict=self.verdict.value, harm=worse, not_worse=not_worse, words=self.words[:500])


def told(grouped: Grouped) -> str:
    """Counts in words, with what they are worth where users are alike."""
    effect = grouped.design_effect
    return f"{grouped.count}" + (f" (worth {grouped.count.trials / effect:.0f})" if effect > _TOLD_EFFECT else "")


def errors(analysis: Analysis, stable: Grouped, candidate: Grouped, level: Levels) -> Finding:
    """What failed requests show."""
    acceptable = analysis.acceptable_error_rate
    harm = Margin(increase=analysis.max_error_rate_increase, acceptable=acceptable)
    limit = Margin(ratio=analysis.max_error_rate_ratio, acceptable=acceptable)
    found = more_often(*effective(stable, candidate), harm=harm, limit=limit, levels=level)
    return _of("errors", found, stable, candidate)


def reward(analysis: Analysis, stable: Grouped, candidate: Grouped, level: Levels) -> Finding:
    """What rewarded answers show."""
    harm, limit = analysis.max_reward_decrease, analysis.reward_margin
    found = less_often(*effective(stable, candidate), harm=harm, limit=limit, levels=level)
    return _of("reward", found, stable, candidate)


def fallbacks(analysis: Analysis, stable: Grouped, candidate: Grouped, level: Levels) -> Finding:
    """What answers from popularity show: a version that knows fewer users."""
    harm = Margin(increase=analysis.max_fallback_rate_increase)
    found = more_often(*effective(stable, candidate), harm=harm, limit=_KNOWN_USERS, levels=level)
    return _of("fallbacks", found, stable, candidate)


def empty_lists(analysis: Analysis, stable: Grouped, candidate: Grouped, level: Levels) -> Finding:
    """What answers without any item show."""
    acceptable = analysis.acceptable_error_rate
    harm = Margin(increase=analysis.max_empty_list_rate_increase, acceptable=acceptable)
    limit = Margin(ratio=analysis.max_error_rate_ratio, acceptable=acceptable)
    found = more_often(*effective(stable, candidate), harm=harm, limit=limit, levels=level)
    return _of("empty lists", found, stable, candidate)


def latency(metric: str, analysis: Analysis, stable: Latencies, candidate: Latencies, level: Levels) -> Finding:
    """What the time to an answer shows: its median, or its p99."""
    put_up_with = analysis.acceptable_latency_increase_milliseconds
    limits = Slower(harm=analysis.max_latency_increase, limit=analysis.latency_margin, milliseconds=put_up_with)
    found = slower(stable, candidate, q=_QUANTILES[metric], limits=limits, levels=level)
    words = f"{metric} {found.candidate:.3g} ms against {found.stable:.3g} ms"
    return Finding(metric=metric, verdict=found.verdict, words=words, worse=found.worse, not_worse=found.not_worse)


def users(stable: Grouped, candidate: Grouped, share: float, level: Levels) -> Finding:
    """Whether the arms get the users that their shares say."""
    found = split(stable.trials, candidate.trials, share=share, level=level.worse)
    words = f"requests of the candidate {100 * found.seen:.1f} % of both arms', by its share {100 * share:.1f} %"
    return Finding(metric="users", verdict=found.verdict, words=words, worse=found.mismatch)


def metric(asked: Metric, measured: Measured | Unavailable | None, level: Levels) -> Finding:
    """What a metric of the spec shows; one that cannot be read says nothing, and why."""
    if measured is None or isinstance(measured, Unavailable):
        words = measured.message if measured else f"{asked.name}: not read yet"
        return Finding(metric=asked.name, verdict=Verdict.INSUFFICIENT_DATA, words=words)
    stable, candidate = (Count(hits=hits, trials=trials) for hits, trials in (measured.stable, measured.candidate))
    if asked.harmful == "More":
        found = more_often(stable, candidate, harm=Margin(increase=asked.max_increase), limit=Margin(ratio=2.0), levels=level)
    else:
        limit = min(max(asked.max_increase, _LEAST_MARGIN), _MOST)
        found = less_often(stable, candidate, harm=min(asked.max_increase, _MOST), limit=limit, levels=level)
    words = f"{asked.name} {candidate} against {stable}"
    return Finding(metric=asked.name, verdict=found.verdict, words=words, worse=found.worse, not_worse=found.not_worse)


def _of(metric: str, found: Comparison, stable: Grouped, candidate: Grouped) -> Finding:
    words = f"{metric} {told(candidate)} against {told(stable)}"
    return Finding(metric=metric, verdict=found.verdict, words=words, worse=found.worse, not_worse=found.not_worse)
