"""Trials: what the present step shows of the candidate, whichever way it is tried."""

from typing import TypeAlias

from recsys_operator.plan import shares, steps
from recsys_operator.plan.once import once
from recsys_operator.plan.preferred import Preferred, preferred
from recsys_operator.plan.reports import reports
from recsys_operator.plan.several import Several, several
from recsys_operator.plan.shadowed import Shadowed, shadowed
from recsys_operator.plan.weighing import Weighing, weigh
from recsys_operator.state.observed import Observed, RolloutState

Trial: TypeAlias = Weighing | Shadowed | Preferred | Several


@once
def trial_of(observed: Observed, rollout: RolloutState) -> Trial | None:
    """What is shown; None while nothing can be seen, or there is nothing to compare with."""
    seen = reports(observed)
    if seen is None:
        return None
    verb = steps.verb_at(rollout.spec, rollout.status.step)
    if verb and verb.shadow:
        return shadowed(rollout, verb.shadow, seen)
    now = shares.in_force(observed)
    if rollout.spec.arms:
        return several(rollout, seen, now)
    if verb and verb.interleave:
        return preferred(rollout, verb.interleave, seen, now)
    return weigh(rollout, seen, now, observed.metrics)


def told(rollout: RolloutState, trial: Trial | None) -> str:
    """How far a step is from being earned, with the numbers."""
    analysis, verb, count = rollout.spec.analysis, steps.present(rollout), trial.answers if trial else 0
    numbers = trial.words if trial else "no reports"
    doubt = f"; {trial.objection}: no share grows" if trial and trial.objection else ""
    if verb.shadow:
        return f"{count} of {verb.shadow.min_requests} copies answered, at least {verb.shadow.seconds} s; {numbers}{doubt}"
    if verb.interleave:
        return f"{count} of {verb.interleave.min_clicked} mixed lists with a preference; {numbers}{doubt}"
    share = rollout.status.weight
    if isinstance(trial, Several):
        left = f"; left: {', '.join(sorted(rollout.left))}" if rollout.left else ""
        return f"{count} of {analysis.minimum_requests} answers of each arm, at least {analysis.minimum_seconds} s; {numbers}{left}{doubt}"
    return f"{count} of {analysis.minimum_requests} answers at {share} %, at least {analysis.minimum_seconds} s; {numbers}{doubt}"
