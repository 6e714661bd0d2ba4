"""What one pass has decided."""

from dataclasses import dataclass
from datetime import datetime

from recsys_operator.state.actions import Action
from recsys_schemas.v1alpha1.model_status import ModelStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What one concern says of itself; conditions are made of facts."""

    type: str
    holds: bool | None
    """None: unknown, too little is known."""
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one concern contributes to the plan."""

    actions: tuple[Action, ...] = ()
    facts: tuple[Fact, ...] = ()
    busy: bool = False
    """Something is under way: look again soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Actions in order, then the status to write, then when to look again."""

    actions: tuple[Action, ...]
    status: ModelStatus
    wake_at: datetime
