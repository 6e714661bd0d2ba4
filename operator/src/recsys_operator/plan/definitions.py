"""Definitions that are older than the operator: what they do not know cannot be set, and is not told. Everything else goes on."""

from recsys_operator.state.observed import Observed
from recsys_operator.state.plan import Fact, Part
from recsys_schemas.v1alpha1.conditions import ConditionType

TOO_OLD = "DefinitionsTooOld"
_NAMED = 8
"""So many fields of a definition are named, and how many more there are."""
_MEND = "apply those of its chart: kubectl apply --server-side -f charts/recsys-operator/files/crds, or helm upgrade with crds.install=true"


def part(observed: Observed) -> Part:
    """Nothing, unless a definition lacks what the operator knows."""
    if not observed.outdated:
        return Part()
    lacking = "; ".join(f"{name} lacks {_some(fields)}" for name, fields in sorted(observed.outdated.items()))
    words = f"CustomResourceDefinitions are older than the operator: {lacking}; these can be neither set nor told; {_MEND}"
    return Part(facts=(Fact(type=ConditionType.DEFINITIONS_CURRENT, holds=False, reason=TOO_OLD, message=words),))


def _some(fields: tuple[str, ...]) -> str:
    more = len(fields) - _NAMED
    return ", ".join(fields[:_NAMED]) + (f" and {more} more" if more > 0 else "")
