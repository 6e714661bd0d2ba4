"""What an arm goes by beside its version, the same for all arms of a replica: what was told, and how much is tried out."""

import random
from dataclasses import dataclass, field

from ray_apps.serving.contexts.following import ContextFollower
from ray_apps.serving.told.told import Told


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """It."""

    told: Told = field(default_factory=Told)
    """Preferences of users and live records of items."""
    contexts: ContextFollower | None = None
    """What is liked in which context; None where none is declared."""
    exploration: float = 0.0
    """Part of the answers to strangers in which something is tried out, 0 to 1."""
    chance: random.Random = field(default_factory=random.Random)
    """Draws what is tried out."""
