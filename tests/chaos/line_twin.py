"""Broken twins of the operator, as a program: `python tests/chaos/line_twin.py random-ids|edge-triggered`. Only tests run it."""

import random
import sys
from typing import Any

from recsys_operator import __main__ as operator
from recsys_operator.plan import runs
from recsys_operator.state.actions import Action, SubmitJob
from recsys_operator.state.observed import Observed, VersionState
from recsys_operator.world import apply as performing

ORIGINAL_PREFIX, ORIGINAL_SUBMIT, ORIGINAL_CREATE = runs.run_prefix, runs.submit, performing.create_owned
DRAWN: dict[str, str] = {}
CREATED: set[str] = set()
"""Versions that this very process has created: what an edge-triggered handler would know of."""


def drawn(kind: str, model: Any, version: str) -> str:
    """A job id drawn once in this process: a run that was submitted before is not found again."""
    prefix = ORIGINAL_PREFIX(kind, model, version)
    return DRAWN.setdefault(prefix, f"{prefix}{random.getrandbits(32):08x}-") if kind == "train" else prefix


async def creating(kube: Any, model: Any, plural: str, name: str, spec: Any) -> Any:
    CREATED.add(name)
    return await ORIGINAL_CREATE(kube, model, plural, name, spec)


def only_what_i_created(observed: Observed, version: VersionState) -> tuple[Action, ...]:
    """A handler of the event of creation: who was dead when it came has missed it."""
    actions = ORIGINAL_SUBMIT(observed, version)
    return actions if version.name in CREATED else tuple(action for action in actions if not isinstance(action, SubmitJob))


if __name__ == "__main__":
    if sys.argv[1] == "random-ids":
        runs.run_prefix = drawn
    else:
        performing.create_owned = creating
        from recsys_operator.plan import training

        training._STEPS = training._STEPS | {training.Training.SUBMITTING: only_what_i_created}
    sys.exit(operator.main())
