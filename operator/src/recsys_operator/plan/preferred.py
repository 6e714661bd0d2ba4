"""Preferred: whose items users click in mixed lists, by a sign test that may be looked at always.

Each clicked answer prefers one side or neither. Where both versions are equally good, each side wins every other time; the confidence
sequence of the candidate's part (see `plan.evidence`) leaves one half out with probability alpha at most, however often it is looked at.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from recsys_operator.plan.evidence import Grouped, interval
from recsys_operator.plan.reports import Reports
from recsys_operator.plan.weighing import Weighing, judged_apart, weigh
from recsys_operator.state.observed import RolloutState
from recsys_schemas.serving_api import GROUPS, PreferenceCounters
from recsys_schemas.v1alpha1.rollout import Evidence, PreferenceEvidence

_EVEN = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferred:
    """The clicks of one pass with their verdicts, and what both arms did as arms."""

    weighing: Weighing
    wins: Grouped
    """Answers that prefer the candidate, among those that prefer one side."""
    part: tuple[float, float]
    """The confidence sequence of the candidate's part."""
    counts: PreferenceEvidence

    @property
    def better(self) -> bool:
        """Whether users are shown to prefer the candidate, while no harm is even likely."""
        return self.part[0] > _EVEN and not self.weighing.doubtful

    @property
    def failing(self) -> bool:
        """Whether users are shown to prefer the stable version, or the candidate errs more often."""
        return self.part[1] < _EVEN or self.weighing.failing

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
        low, high = (f"{100 * edge:.1f}" for edge in self.part)
        return (
            f"preferred in {self.wins.count} of the mixed lists with a preference (between {low} and {high} %), "
            f"{self.counts.ties} even, {self.counts.answers} in all; {self.weighing.words}"
        )


def preferred(rollout: RolloutState, seen: Reports, shares: dict[str, int]) -> Preferred | None:
    """Add up what every replica counted; None without a stable arm."""
    spec, weighing = rollout.spec, weigh(rollout, seen, shares)
    if spec.stable is None or weighing is None:
        return None
    all_of_it = [replica.preferences.get(spec.candidate.name) for replica in seen.response.replicas]
    found = [each for each in all_of_it if each is not None and each.against == spec.stable.name]
    wins, losses = _added(each.wins for each in found), _added(each.losses for each in found)
    grouped = Grouped(hits=wins, trials=[a + b for a, b in zip(wins, losses, strict=True)])
    return Preferred(
        weighing=weighing,
        wins=grouped,
        part=interval(grouped.effective, spec.analysis.alpha / 2 / judged_apart(spec)),
        counts=_counts(found),
    )


def _counts(found: Sequence[PreferenceCounters]) -> PreferenceEvidence:
    return PreferenceEvidence(
        answers=sum(sum(each.answers) for each in found),
        wins=sum(sum(each.wins) for each in found),
        losses=sum(sum(each.losses) for each in found),
        ties=sum(sum(each.ties) for each in found),
    )


def _added(lists: Iterable[Sequence[int]]) -> list[int]:
    total = [0] * GROUPS
    for counts in lists:
        total = [a + b for a, b in zip(total, counts, strict=True)]
    return total
