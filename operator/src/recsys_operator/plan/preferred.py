"""Preferred: whose items users click in mixed lists, by a sign test that may be looked at always.

Each clicked answer prefers one side or neither. Where both versions are equally good, each side wins every other time; that a fair coin
seems bent has a probability of alpha at most, however often one looks (see `plan.evidence`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from recsys_operator.plan import evidence
from recsys_operator.plan.apart import level_apart
from recsys_operator.plan.evidence import Comparison, Grouped, Verdict
from recsys_operator.plan.reports import Reports, added
from recsys_operator.plan.weighing import Weighing, weigh
from recsys_operator.state.observed import RolloutState
from recsys_schemas.serving_evidence import MixedCounters
from recsys_schemas.v1alpha1.rollout import Evidence, PreferenceEvidence
from recsys_schemas.v1alpha1.strategy import InterleaveStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferred:
    """The clicks of one pass with their verdicts, and what both arms did as arms."""

    weighing: Weighing
    wins: Grouped
    """Answers that prefer the candidate, among those that prefer one side."""
    found: Comparison
    """What they show."""
    counts: PreferenceEvidence

    @property
    def better(self) -> bool:
        """Whether users are shown to prefer the candidate, while no harm is even likely."""
        return self.found.verdict is Verdict.BETTER and not self.weighing.doubtful

    @property
    def failing(self) -> bool:
        """Whether users are shown to prefer the stable version, or the candidate errs more often."""
        return self.found.verdict is Verdict.WORSE or self.weighing.failing

    @property
    def objection(self) -> str:
        """Why it goes no further though no harm is shown; empty where nothing speaks against it."""
        return self.weighing.objection

    @property
    def doubtful(self) -> bool:
        """Whether harm is likely, though not shown."""
        return self.weighing.doubtful

    @property
    def answers(self) -> int:
        """Answers that prefer one side."""
        return sum(self.wins.trials)

    @property
    def evidence(self) -> Evidence:
        """The numbers, as the status keeps them."""
        return self.weighing.evidence.model_copy(update={"preference": self.counts})

    @property
    def words(self) -> str:
        """The numbers that anyone can recompute the verdicts from."""
        return (
            f"preferred in {self.wins.count} of the mixed lists with a preference ({self.found.verdict}), "
            f"{self.counts.ties} even, {self.counts.answers} in all; {self.weighing.words}"
        )


def preferred(rollout: RolloutState, step: InterleaveStep, seen: Reports, shares: dict[str, int]) -> Preferred | None:
    """Add up what every replica counted; None without a stable arm."""
    spec, weighing = rollout.spec, weigh(rollout, seen, shares)
    if spec.stable is None or weighing is None:
        return None
    all_of_it = [replica.mixed.get(spec.candidate.name) for replica in seen.response.replicas]
    found = [each for each in all_of_it if each is not None and each.against == spec.stable.name]
    wins, losses = added(each.wins for each in found), added(each.losses for each in found)
    grouped = Grouped(hits=wins, trials=[a + b for a, b in zip(wins, losses, strict=True)])
    return Preferred(
        weighing=weighing,
        wins=grouped,
        found=evidence.preferred(grouped.effective, levels=level_apart(spec, step)),
        counts=_counts(found),
    )


def _counts(found: Sequence[MixedCounters]) -> PreferenceEvidence:
    return PreferenceEvidence(
        answers=sum(sum(each.answers) for each in found),
        wins=sum(sum(each.wins) for each in found),
        losses=sum(sum(each.losses) for each in found),
        ties=sum(sum(each.ties) for each in found),
    )
