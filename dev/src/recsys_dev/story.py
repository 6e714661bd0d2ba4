"""Watches a model, tells each change in one line, and remembers what the report needs."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from recsys_dev.errors import Unmet
from recsys_dev.eyes import Eyes, Seen
from recsys_schemas.v1alpha1.rollout import RolloutPhase

LOOK_EVERY_S = 0.3
MOST_LINES = 10_000
AGAIN = frozenset({429, 500, 502, 503, 504})
"""What the API server says while it takes up a changed definition, or waits for its store: ask again."""
Tell = Callable[[str], None]
Check = Callable[[], str | None]
"""Whether waiting is in vain: says why."""


@dataclass(slots=True, kw_only=True)
class Story:
    """One model's course, as `kubectl get rm -w` tells it."""

    eyes: Eyes
    model: str
    tell: Tell
    began: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list[str])
    weights: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """Version → the shares that it was seen with, each once in a row."""
    seen: Seen | None = None
    _last: str = ""

    def look(self) -> Seen | None:
        """Look once; tell what changed. None while the API server does not answer or the model is not there."""
        try:
            seen = self.eyes.look(self.model)
        except httpx.TransportError:
            return None
        except httpx.HTTPStatusError as error:
            if error.response.status_code not in AGAIN:
                raise
            return None
        if seen is None:
            return None
        self.seen = seen
        for version in (seen.status.champion, seen.status.challenger):
            if version is not None:
                known = self.weights.setdefault(version.version, [])
                if not known or known[-1] != version.weight:
                    known.append(version.weight)
        line = one_line(seen)
        if line != self._last:
            self._last = line
            told = f"{time.monotonic() - self.began:6.1f} s  {line}"
            if len(self.lines) < MOST_LINES:
                self.lines.append(told)
            self.tell(told)
        return seen

    def wait(self, condition: Callable[[Seen], bool], *, what: str, deadline_s: float, in_vain: Check = lambda: None) -> Seen:
        """Look until a condition holds; return what was seen then.

        Raises:
            Unmet: the deadline has passed, or waiting is in vain; carries the model's own words.
        """
        end = time.monotonic() + deadline_s
        while True:
            seen = self.look()
            if seen is not None and condition(seen):
                return seen
            hopeless = in_vain() or (stalled(seen) if seen is not None else None)
            if hopeless:
                raise Unmet(what, hopeless, "The logs below say more.")
            if time.monotonic() > end:
                raise Unmet(what, f"not so after {deadline_s:.0f} s; {words_of(seen)}", "The machine may be too busy, or see the logs.")
            time.sleep(LOOK_EVERY_S)


def one_line(seen: Seen) -> str:
    """What `kubectl get rm` prints of a model, as one line."""
    status = seen.status
    champion = f"{status.champion.version} {status.champion.weight} %" if status.champion else "-"
    challenger = f"{status.challenger.version} {status.challenger.weight} %" if status.challenger else "-"
    factor = status.replication.min_replication_factor if status.replication else "-"
    ready = seen.condition("Ready")
    ndcg = status.quality.ndcg10 if status.quality else "-"
    return (
        f"{status.phase:<10} champion {champion:<19} challenger {challenger:<18} NDCG {ndcg:<7} RF {factor}  "
        f"ready {ready.status if ready else 'Unknown'}"
    )


def stalled(seen: Seen) -> str | None:
    """Why a person must act, if so."""
    condition = seen.condition("Stalled")
    return condition.message if condition is not None and condition.status == "True" else None


def words_of(seen: Seen | None) -> str:
    """What the model says of itself, for an error message."""
    if seen is None:
        return "the model cannot be read"
    told = [f"{c.type} {c.status} ({c.reason}): {c.message}" for c in seen.status.conditions]
    told += [f"{version.name} {version.status.phase}: {version.status.message}" for version in seen.versions[-1:]]
    told += [f"rollout {rollout.name} {rollout.status.phase}: {rollout.status.message}" for rollout in seen.rollouts[-1:]]
    return "\n  ".join(["the model says:", *told])


ENDED = frozenset(phase for phase in RolloutPhase if phase.ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBack:
    """How a bad version was caught, from the rollout's own record."""

    version: str
    seconds_to_roll_back: float
    """From asking for its first share until every replica served the stable version alone."""
    seconds_to_verdict: float
    """From asking for its first share until harm was shown."""
    verdict: str


def roll_back(seen: Seen, name: str) -> RollBack | None:
    """The course of a rollout that was rolled back; None when it was not, or took no share."""
    rollout = seen.rollout(name)
    if rollout is None or rollout.status.phase is not RolloutPhase.ROLLED_BACK or rollout.status.ended_at is None:
        return None
    shares = [decision.time for decision in rollout.status.decisions if decision.verdict == "Advanced"]
    verdicts = [decision for decision in rollout.status.decisions if decision.verdict == "RolledBack"]
    if not shares or not verdicts:
        return None
    return RollBack(
        version=name,
        seconds_to_roll_back=(rollout.status.ended_at - shares[0]).total_seconds(),
        seconds_to_verdict=(verdicts[-1].time - shares[0]).total_seconds(),
        verdict=verdicts[-1].words,
    )


def walk(seen: Seen, name: str) -> list[int]:
    """The shares that a rollout asked for, in order, 100 last when it was promoted."""
    rollout = seen.rollout(name)
    if rollout is None:
        return []
    weights = [s.set_weight for s in rollout.spec.steps if s.set_weight is not None]
    advanced = [decision for decision in rollout.status.decisions if decision.verdict == "Advanced"]
    promoted = [100] if rollout.status.phase is RolloutPhase.SUCCESSFUL else []
    return weights[: len(advanced)] + promoted
