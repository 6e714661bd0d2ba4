"""Trials: what the present step shows of the candidate, whichever way it is tried."""

from typing import TypeAlias

from recsys_operator.plan import shares
from recsys_operator.plan.reports import reports
from recsys_operator.plan.weighing import Weighing, weigh
from recsys_operator.state.observed import Observed, RolloutState

Trial: TypeAlias = Weighing


def trial_of(observed: Observed, rollout: RolloutState) -> Trial | None:
    """What is shown; None while nothing can be seen, or there is nothing to compare with."""
    seen = reports(observed)
    return weigh(rollout, seen, shares.in_force(observed), observed.metrics) if seen else None
