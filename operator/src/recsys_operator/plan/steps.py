"""Steps: what each verb of a walk does to the arms, and what leaving it takes."""

from datetime import datetime, timedelta
from typing import Protocol

from recsys_operator.state.observed import RolloutState
from recsys_schemas.v1alpha1.rollout import RolloutSpec
from recsys_schemas.v1alpha1.strategy import Step


class Trial(Protocol):
    """What a step shows of the candidate."""

    @property
    def answers(self) -> int:
        """How much it rests on."""
        ...

    @property
    def doubtful(self) -> bool:
        """Whether harm is likely, though not shown."""
        ...

    @property
    def better(self) -> bool:
        """Whether the candidate is shown to be better."""
        ...


def weight_at(spec: RolloutSpec, step: int) -> int:
    """The share of a step: one that says none keeps the one before it."""
    weights = [each.set_weight for each in spec.steps[: step + 1] if each.set_weight is not None]
    return weights[-1] if weights else 0


def verb_at(spec: RolloutSpec, step: int) -> Step | None:
    """The step that says what the arms do: a pause keeps the one before it; None while only waited."""
    return next((each for each in reversed(spec.steps[: step + 1]) if each.pause is None), None)


def told(spec: RolloutSpec, step: int) -> str:
    """What the arms do at a step, in words."""
    verb = verb_at(spec, step)
    if verb and verb.shadow:
        return f"copies of the questions of {verb.shadow.percent} % of the users, seen by nobody"
    if verb and verb.interleave:
        return f"mixed lists for {verb.interleave.percent} % of the users"
    return f"{weight_at(spec, step)} % of the users"


def present(rollout: RolloutState) -> Step:
    """The step that the walk is at."""
    return rollout.spec.steps[rollout.status.step]


def is_last(rollout: RolloutState) -> bool:
    """Whether all users follow when it is left."""
    return rollout.status.step + 1 >= len(rollout.spec.steps)


def earned(rollout: RolloutState, trial: Trial, now: datetime) -> bool:
    """A step is earned by time and by evidence, never by time alone; while harm is likely though not shown, no share grows."""
    step, arrived, analysis = present(rollout), rollout.status.step_since, rollout.spec.analysis
    assert arrived is not None
    waited = now - arrived
    if step.pause is not None:
        return step.pause.seconds is not None and waited >= timedelta(seconds=step.pause.seconds)
    if step.shadow is not None:
        return waited >= timedelta(seconds=step.shadow.seconds) and trial.answers >= step.shadow.min_requests and not trial.doubtful
    if step.interleave is not None:
        return waited >= timedelta(seconds=analysis.minimum_seconds) and trial.answers >= step.interleave.min_clicked and trial.better
    return ripe(rollout, trial, now) and (trial.better if rollout.spec.strategy == "ABTest" else not trial.doubtful)


def ripe(rollout: RolloutState, trial: Trial, now: datetime) -> bool:
    """Whether a share has had its least time, and each arm its least answers."""
    arrived, analysis = rollout.status.step_since, rollout.spec.analysis
    long_enough = arrived is not None and now - arrived >= timedelta(seconds=analysis.minimum_seconds)
    return long_enough and trial.answers >= analysis.minimum_requests
