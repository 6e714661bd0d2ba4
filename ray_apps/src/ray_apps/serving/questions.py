"""What the API is asked, in one form: who asks, how many items, and what an arm is to go by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ray_apps.serving.arms import LoadedArm
from ray_apps.serving.online.blending import Indices, Weights, blended
from recsys_schemas.serving_api import PopularRequest, Reason, RecommendationRequest, SessionRequest, SimilarItemsRequest, Variant

ANYBODY = "anonymous"
"""Who asks when nobody is named: the stable arm answers, and nothing is counted as evidence."""


class Lore(NamedTuple):
    """What an answer goes by."""

    history: Indices
    """Items liked, ascending; none: what is popular is the answer."""
    weights: Weights
    """How strongly."""
    shunned: set[int]
    """Further items that are not shown."""
    reason: Reason
    """Why these items, where there is a history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question."""

    who: str
    """Splits, credits and logs go by it."""
    k: int
    exclude: Sequence[str]
    lore: Callable[[LoadedArm], Lore]
    deadline_ms: float | None
    tested: Variant | None = None
    """The arm that a tester names."""

    @property
    def counted(self) -> bool:
        """Whether the answer is evidence: somebody asked, and nobody said who is to answer."""
        return self.who != ANYBODY and self.tested is None


def of_user(request: RecommendationRequest) -> Question:
    """By the user's own history, what was done a moment ago included."""

    def lore(arm: LoadedArm) -> Lore:
        return known_of(arm, request.user_id)

    return Question(who=request.user_id, k=request.k, exclude=request.exclude, lore=lore, deadline_ms=request.deadline_ms)


def of_session(request: SessionRequest) -> Question:
    """By the items of a session that belongs to no known user."""

    def lore(arm: LoadedArm) -> Lore:
        return _by_items(arm, request.items, Reason.SESSION)

    return Question(who=request.session_id, k=request.k, exclude=request.exclude, lore=lore, deadline_ms=request.deadline_ms)


def of_item(request: SimilarItemsRequest) -> Question:
    """By one item: what is liked by whoever likes it."""

    def lore(arm: LoadedArm) -> Lore:
        return _by_items(arm, [request.item_id], Reason.SIMILAR)

    return Question(who=ANYBODY, k=request.k, exclude=request.exclude, lore=lore, deadline_ms=request.deadline_ms)


def of_all(request: PopularRequest) -> Question:
    """By nothing but popularity."""

    def lore(arm: LoadedArm) -> Lore:  # noqa: ARG001 - as the others
        return _NOTHING

    return Question(who=ANYBODY, k=request.k, exclude=request.exclude, lore=lore, deadline_ms=request.deadline_ms)


_NOTHING = Lore(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32), set(), Reason.POPULAR)


def known_of(arm: LoadedArm, user_id: str) -> Lore:
    """What is known of a user now."""
    history, weights = arm.version.history(user_id)
    deeds = arm.live.knowledge.recent.of(user_id)
    shunned: set[int] = set()
    if deeds:
        history, weights, shunned = blended(history, weights, deeds, arm.places)
    return Lore(history, weights, shunned, Reason.PERSONAL)


def _by_items(arm: LoadedArm, items: Sequence[str], reason: Reason) -> Lore:
    """Items that the version does not know say nothing."""
    known = sorted({place for item in items if (place := arm.places.get(item)) is not None})
    return Lore(np.array(known, dtype=np.int32), np.ones(len(known), dtype=np.float32), set(), reason)
