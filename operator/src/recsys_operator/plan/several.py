"""Several: a test of more than one arm beside the stable one, and which of them is taken.

Each arm is compared with the stable one, with its part of the error budget; what is shown to do harm leaves, and the others go on. Taken
is an arm that is shown to be better than the stable one and earns the most of those in the test against which nothing speaks. That it is
better than the stable one is a proof; that it is the best of all is what was counted, for which no budget is spent.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from recsys_operator.plan.evidence import Verdict
from recsys_operator.plan.reports import Reports
from recsys_operator.plan.weighing import Weighing, weigh
from recsys_operator.state.observed import RolloutState
from recsys_schemas.v1alpha1.arms import ArmEvidence
from recsys_schemas.v1alpha1.rollout import ArmTotals, Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Several:
    """What each arm shows that is still in the test."""

    candidate: str
    arms: Mapping[str, Weighing]
    """Version → what it shows against the stable one, the candidate first."""

    @property
    def harmful(self) -> list[str]:
        """Arms of which harm is shown."""
        return [name for name, weighing in self.arms.items() if weighing.failing]

    @property
    def failing(self) -> bool:
        """Whether harm is shown of every arm: nothing is left to be tested."""
        return len(self.harmful) == len(self.arms)

    @property
    def best(self) -> str | None:
        """The arm that earns the most of those against which nothing speaks, if it is shown to be better than the stable one."""
        sound = [name for name, weighing in self.arms.items() if not (weighing.failing or weighing.doubtful)]
        first = max(sound, key=self._earns, default=None)
        return first if first is not None and self.arms[first].better else None

    @property
    def supported(self) -> str | None:
        """Of the arms that are shown to be better than the stable one, the one that earns the most: it is taken at the deadline."""
        return max((name for name, weighing in self.arms.items() if weighing.better), key=self._earns, default=None)

    def _earns(self, name: str) -> float:
        return self.arms[name].candidate.rewards.count.rate

    @property
    def better(self) -> bool:
        """Whether one of them may be taken."""
        return self.best is not None

    @property
    def answers(self) -> int:
        """Answers of the arm that has the fewest."""
        return min((weighing.answers for weighing in self.arms.values()), default=0)

    @property
    def doubtful(self) -> bool:
        """Whether something speaks against an arm."""
        return bool(self.objection)

    @property
    def objection(self) -> str:
        """Why arms are not taken though no harm of them is shown."""
        return "; ".join(f"{name}: {weighing.objection}" for name, weighing in self.arms.items() if weighing.objection)

    @property
    def evidence(self) -> Evidence:
        """The numbers, as the status keeps them."""
        found = [ArmEvidence(name=name, totals=each.evidence.candidate, shown=each.evidence.shown) for name, each in self.arms.items()]
        own = self.arms.get(self.candidate)
        first = own.evidence if own else _of_stable(next(iter(self.arms.values()), None))
        return first.model_copy(update={"arms": [each for each in found if each.name != self.candidate]})

    @property
    def words(self) -> str:
        """The numbers of each arm against the stable one."""
        return "; ".join(f"{name}: {self.of(name)}" for name in self.arms)

    def of(self, name: str) -> str:
        """The numbers of one arm that decide: its rewards, and whatever shows harm."""
        told = ("reward", "errors")
        alarming = (Verdict.WORSE, Verdict.INVALID)
        shown = [each for each in self.arms[name].findings if each.metric in told or each.verdict in alarming]
        return ", ".join(f"{each.words} ({each.verdict})" for each in shown)


def _of_stable(weighing: Weighing | None) -> Evidence:
    """The candidate has left: what the stable arm did stands beside the others."""
    return weighing.evidence.model_copy(update={"candidate": ArmTotals(), "shown": []}) if weighing else Evidence()


def several(rollout: RolloutState, seen: Reports, shares: Mapping[str, int]) -> Several | None:
    """Compare each arm that is still in the test with the stable one; None without one."""
    found = {pin.name: weigh(rollout, seen, shares, arm=pin.name) for pin in rollout.in_it}
    there = {name: weighing for name, weighing in found.items() if weighing is not None}
    return Several(candidate=rollout.spec.candidate.name, arms=there) if rollout.spec.stable else None
