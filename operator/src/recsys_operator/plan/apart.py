"""Apart: the part of the rollout's error budget for a step that gives nobody a share of their own."""

from recsys_operator.plan.evidence import Levels
from recsys_operator.plan.evidence.budget import part_of
from recsys_schemas.v1alpha1.rollout import RolloutSpec
from recsys_schemas.v1alpha1.strategy import InterleaveStep, ShadowStep


def level_apart(spec: RolloutSpec, verb: ShadowStep | InterleaveStep) -> Levels:
    """How often its verdict may be wrong: shares come first in the budget, then the time after the promotion, then these steps in order."""
    weights = {step.set_weight for step in spec.steps if step.set_weight is not None}
    verbs = [step.shadow or step.interleave for step in spec.steps if step.shadow or step.interleave]
    part = part_of(len(weights) + (spec.hold_seconds > 0) + verbs.index(verb))
    return Levels(worse=spec.analysis.alpha * part / 2, not_worse=spec.analysis.alpha_not_worse * part)
