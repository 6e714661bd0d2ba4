"""Arms: versions that are compared at the same time, what each did, and which of them left a test."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from recsys_schemas.v1alpha1.resource import Resource, Rule

MOST_BESIDE = 4
"""Versions that take part in a test beside the candidate: each takes memory in every replica, and its part of the users and of alpha."""


class Pinned(Resource):
    """A version, pinned by digest."""

    name: Annotated[str, Field(max_length=63)]
    """Its name."""
    digest: Annotated[str, Field(max_length=128)]
    """Its digest."""


class NamedArm(Resource):
    """A version that takes part in an ABTest beside the candidate."""

    version: Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    """Its name: one that passed its gates and its trial, and whose digest is not quarantined."""
    weight: Annotated[int | None, Field(ge=1, le=98)] = None
    """Percent of the users that it gets. Default: as many as the candidate."""


class BesideArm(Pinned):
    """A version that takes part in a test beside the candidate."""

    weight: Annotated[int, Field(ge=1, le=98)]
    """Percent of the users that it gets while it is in the test."""


class LeftArm(Pinned):
    """An arm that left a test: its users are the stable version's, and its digest is quarantined."""

    since: datetime
    """When."""


class ArmTotals(Resource):
    """Counters of one arm, summed over replicas."""

    requests: int = 0
    """Assigned to it."""
    errors: int = 0
    """It failed; another answered."""
    impressions: int = 0
    """Answers that it gave."""
    rewards: int = 0
    """Of those, followed by an event that named them."""
    error_design_effect: float = 1.0
    """By how much errors cluster in users: that many requests prove as much as one independent one."""
    reward_design_effect: float = 1.0
    """By how much rewards cluster in users: that many answers prove as much as one independent one."""


class Shown(Resource):
    """What one metric shows of the candidate."""

    metric: Annotated[str, Field(max_length=63)]
    """errors, reward, latency p50, latency p99, fallbacks, empty lists, users, or one that the spec adds."""
    verdict: Literal["Better", "Worse", "NotWorse", "Undecided", "InsufficientData", "Invalid"]
    """In one word."""
    harm: float = 0.0
    """How far the proof of harm is: 0 nothing speaks for it, 1 it is shown."""
    not_worse: float = 0.0
    """How far the proof of NotWorse is."""
    words: Annotated[str, Field(max_length=500)] = ""
    """The numbers of both arms."""


class ArmEvidence(Resource):
    """What an arm beside the candidate has done at the present shares, against the stable one."""

    name: Annotated[str, Field(max_length=63)]
    """The version."""
    totals: ArmTotals = Field(default_factory=ArmTotals)
    """Its answers, once their attribution time is over."""
    shown: Annotated[list[Shown], Field(max_length=32)] = []
    """What each metric shows."""


_OWN = "self.steps.filter(s, has(s.setWeight)).map(s, s.setWeight).sum()"
_STATED = "self.arms.filter(a, has(a.weight)).map(a, a.weight).sum()"
_UNSTATED = "self.arms.filter(a, !has(a.weight)).size()"
_GIVEN = f"{_OWN} * (1 + {_UNSTATED}) + {_STATED} + self.holdback"


def _with_arms(rule: str, message: str, seen: str = "") -> Rule:
    """A rule on a rollout that names arms. The API server tries rules on the bare default too, before it fills in what that lacks."""
    there = "has(self.strategy) && has(self.steps) && has(self.holdback) && has(self.arms)"
    whole = f"!({there}) || self.arms.size() == 0 || ({rule})"
    return (whole, message, seen) if seen else (whole, message)


ARM_RULES = (
    _with_arms(
        "self.strategy == 'ABTest'",
        "arms: only an ABTest has arms beside the candidate: set strategy ABTest, or remove arms",
        "'arms: strategy ' + self.strategy + ' tries one version at a time: set strategy ABTest, or remove arms'",
    ),
    _with_arms(
        "self.strategy != 'ABTest' || self.steps.size() <= 1",
        "steps: an ABTest with arms has one step, the candidate's setWeight: remove the others",
    ),
    _with_arms(
        f"self.steps.size() == 0 || {_GIVEN} <= 99",
        "arms: the weights of all arms and holdback must leave the stable version at least 1 of 100: lower them",
    ),
    _with_arms(
        "self.steps.size() > 0 || self.arms.all(a, !has(a.weight))",
        "arms: with a weight of its own in arms, steps must say the candidate's: add steps: [{setWeight: ...}]",
    ),
    _with_arms(
        "!has(self.analysis) || !has(self.analysis.metrics) || self.analysis.metrics.size() == 0",
        "arms: analysis.metrics are read for one candidate alone: remove them, or arms",
    ),
)
"""What a rollout with arms must be."""
