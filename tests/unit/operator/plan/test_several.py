"""A test of several arms: its error budget is split over them, and who is taken."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_operator.plan.evidence import Grouped
from recsys_operator.plan.reports import Counted
from recsys_operator.plan.several import Several
from recsys_operator.plan.weighing import Weighing, level_of, of_one_arm, place_in, weighed
from recsys_operator.state.observed import RolloutState
from recsys_schemas.serving_evidence import GROUPS
from recsys_schemas.v1alpha1.analysis import Analysis
from recsys_schemas.v1alpha1.arms import BesideArm, LeftArm
from recsys_schemas.v1alpha1.rollout import Pinned, RolloutPhase, RolloutSpec, RolloutStatus
from recsys_schemas.v1alpha1.strategy import Step
from recsys_schemas.v1alpha1.version import ModelReference

Divide = Callable[[RolloutSpec], Analysis]


def walk(beside: int, left: int = 0, phase: RolloutPhase = RolloutPhase.PROGRESSING, **analysis: float) -> RolloutState:
    arms = [BesideArm(name=f"m-{number}", digest="sha256:0", weight=10) for number in range(3, 3 + beside)]
    gone = [LeftArm(name=arm.name, digest=arm.digest, since=datetime(2026, 1, 1, tzinfo=UTC)) for arm in arms[:left]]
    spec = RolloutSpec(
        model_ref=ModelReference(name="m", uid="u"),
        stable=Pinned(name="m-1", digest="sha256:1"),
        candidate=Pinned(name="m-2", digest="sha256:2"),
        strategy="ABTest",
        steps=[Step(set_weight=10)],
        analysis=Analysis.model_validate(analysis),
        arms=arms,
    )
    return RolloutState(name="m-2", spec=spec, status=RolloutStatus(phase=phase, weight=10, left=gone))


def spent(beside: int, divide: Divide) -> tuple[float, float]:
    """All levels of a test in which one arm after another leaves, and whose last one is held after its promotion: of Worse, of NotWorse."""
    at = [place_in(walk(beside, left)) for left in range(beside + 1)]
    at.append(place_in(walk(beside, beside, RolloutPhase.HOLDING)))
    assert len(set(at)) == len(at), "each set of shares has a part of its own"
    spec = walk(beside).spec
    found = [level_of(divide(spec), place) for place in at for _ in spec.tried]
    return sum(level.worse for each in found for level in each.values()), sum(each["reward"].not_worse for each in found)


@pytest.mark.parametrize("beside", range(1, 5))
def test_all_arms_metrics_and_shares_together_spend_no_more_than_the_budget(beside: int):
    analysis = walk(beside).spec.analysis
    worse, not_worse = spent(beside, of_one_arm)
    assert worse <= analysis.alpha
    assert not_worse <= analysis.alpha_not_worse


def test_arms_that_each_use_the_whole_budget_are_caught():
    worse, not_worse = spent(2, lambda spec: spec.analysis)
    assert worse > walk(2).spec.analysis.alpha
    assert not_worse > walk(2).spec.analysis.alpha_not_worse


def test_a_rollout_of_one_candidate_has_the_very_limits_that_it_had():
    spec = walk(0).spec
    assert of_one_arm(spec) is spec.analysis


def counted(rewarded: int, of: int = 100, erred: int = 0) -> Counted:
    """So many of a hundred in each group of users."""
    trials = [of] * GROUPS
    return Counted(errors=Grouped(hits=[erred] * GROUPS, trials=trials), rewards=Grouped(hits=[rewarded] * GROUPS, trials=trials))


def several(**arms: Counted) -> Several:
    stable, analysis = counted(20), of_one_arm(walk(len(arms) - 1).spec)

    def against(each: Counted) -> Weighing:
        ours, theirs = sum(each.errors.trials), sum(stable.errors.trials)
        return weighed(analysis, stable, each, place=0, share=ours / (ours + theirs))

    return Several(candidate="a", arms={name: against(each) for name, each in arms.items()})


def test_the_best_of_those_that_are_shown_to_be_better_is_taken():
    found = several(a=counted(20), b=counted(25), c=counted(30))
    assert (found.best, found.supported, found.harmful, found.failing) == ("c", "c", [], False)


def test_nobody_is_taken_while_an_arm_that_is_not_yet_shown_earns_more_until_the_deadline():
    found = several(a=counted(25), b=counted(2, of=7))
    assert (found.best, found.better, found.supported) == (None, False, "a")


def test_an_arm_that_earns_most_and_harms_stands_in_nobodys_way():
    found = several(a=counted(30), b=counted(40, erred=30))
    assert (found.harmful, found.best) == (["b"], "a")


def test_a_test_has_failed_when_harm_is_shown_of_every_arm():
    assert several(a=counted(20, erred=30), b=counted(20, erred=30)).failing
    assert not several(a=counted(20, erred=30), b=counted(20)).failing


@given(st.lists(st.integers(0, 60), min_size=1, max_size=5), st.lists(st.integers(0, 40), min_size=5, max_size=5))
def test_what_is_taken_is_shown_to_be_better_and_never_shown_to_harm(rewards: list[int], errors: list[int]):
    found = several(**{f"m-{n}": counted(each, erred=errors[n]) for n, each in enumerate(rewards)})
    for name in (found.best, found.supported):
        if name is not None:
            assert found.arms[name].better
            assert name not in found.harmful
            assert rewards[int(name[2:])] > 20
