"""What answers under load must be: given or refused for load, named by a version that serves, and told when to come again."""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

OK, TOO_MANY = 200, 429
ANSWERED = frozenset({"recommendations", "similar-items", "sessions", "batch"})
"""Routes whose answers name the version that gave them."""


@dataclass(slots=True)
class Looked:
    """What was found in the answers."""

    routes: Counter[str] = field(default_factory=Counter[str])
    by_version: Counter[str] = field(default_factory=Counter[str])
    shed: int = 0
    failed: Counter[str] = field(default_factory=Counter[str])
    without_when: int = 0
    """Refused for load, and not told when to come again."""
    nameless: Counter[str] = field(default_factory=Counter[str])
    """Answers that name no version that serves, by what they name."""

    @property
    def success(self) -> float:
        """Part of the requests that were answered or refused for load."""
        return 1 - self.failed.total() / max(self.routes.total(), 1)

    def faults(self, least: float) -> list[str]:
        """What does not hold, in words."""
        found: list[str] = []
        if self.success < least:
            found.append(f"success is {self.success:.4%}: {dict(self.failed)}")
        if self.without_when:
            found.append(f"{self.without_when} were refused without Retry-After")
        if self.nameless:
            found.append(f"answers name no version that serves: {dict(self.nameless)}")
        return found


def looked_at(lines: Iterable[str], versions: Collection[str]) -> Looked:
    """Look at every answer that the load generator wrote down."""
    seen = Looked()
    for line in lines:
        answer: dict[str, Any] = json.loads(line)
        route, status = answer["route"], answer["status"]
        seen.routes[route] += 1
        if answer.get("broken") or status not in {OK, TOO_MANY}:
            seen.failed[f"{route}: {answer.get('broken') or status}"] += 1
        elif status == TOO_MANY:
            seen.shed += 1
            seen.without_when += not answer.get("retry_after")
        elif route in ANSWERED:
            told = json.loads(answer["body"])
            for each in told["answers"] if route == "batch" else [told]:
                version = each.get("model_version")
                (seen.by_version if version in versions else seen.nameless)[str(version)] += 1
    return seen
