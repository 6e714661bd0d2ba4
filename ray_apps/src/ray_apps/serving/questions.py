"""What the API is asked, in one form: who asks, how many items, and what an arm is to go by."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ray_apps.serving.arms import LoadedArm
from ray_apps.serving.online.blending import Indices, Weights, blended
from recsys_schemas.events import PreferenceEvent, RequestEvent
from recsys_schemas.filters import ContextValue, Filters
from recsys_schemas.serving_api import Asked, PopularRequest, Reason, RecommendationRequest, SessionRequest, SimilarItemsRequest
from recsys_schemas.serving_record import Variant

MOST_ITEMS = 100
"""In one answer."""
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
    said: PreferenceEvent | None = None
    """What the user said they like; an answer goes by it where there is no history."""
    new: bool = False
    """Whether the version's training knew nothing of who asks: all that they liked came since."""


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
    filters: Filters | None = None
    context: Mapping[str, ContextValue] = field(default_factory=dict[str, ContextValue])
    explores: bool = False
    """Whether something new may be tried out where nothing is known of who asks."""
    deep: int = 0
    """So many of the best are ranked at least, though only k are shown."""

    @property
    def ranked(self) -> int:
        """How many of the best an arm is asked for."""
        return max(self.k, self.deep)

    @property
    def counted(self) -> bool:
        """Whether the answer is evidence: somebody asked, and nobody said who is to answer."""
        return self.who != ANYBODY and self.tested is None


def of_user(request: RecommendationRequest) -> Question:
    """By the user's own history, what was done a moment ago included."""

    def lore(arm: LoadedArm) -> Lore:
        return known_of(arm, request.user_id)

    return _question(request.user_id, request, lore, explores=True)


def of_event(asked: RequestEvent) -> Question:
    """A question that came by Kafka, as if it had come by HTTP."""
    k = min(asked.k, MOST_ITEMS)
    return of_user(RecommendationRequest(user_id=asked.user_id, k=k, exclude=asked.exclude, filters=asked.filters, context=asked.context))


def of_session(request: SessionRequest) -> Question:
    """By the items of a session that belongs to no known user."""

    def lore(arm: LoadedArm) -> Lore:
        return _by_items(arm, request.items, Reason.SESSION)

    return _question(request.session_id, request, lore, explores=True)


def of_item(request: SimilarItemsRequest) -> Question:
    """By one item: what is liked by whoever likes it."""

    def lore(arm: LoadedArm) -> Lore:
        return _by_items(arm, [request.item_id], Reason.SIMILAR)

    return _question(ANYBODY, request, lore)


def of_all(request: PopularRequest) -> Question:
    """By nothing but popularity."""

    def lore(arm: LoadedArm) -> Lore:  # noqa: ARG001 - as the others
        return _NOTHING

    return _question(ANYBODY, request, lore)


def _question(who: str, asked: Asked, lore: Callable[[LoadedArm], Lore], *, explores: bool = False) -> Question:
    """What all questions have in common."""
    return Question(
        who=who,
        k=asked.k,
        exclude=asked.exclude,
        lore=lore,
        deadline_ms=asked.deadline_ms,
        filters=asked.filters,
        context=asked.context,
        explores=explores,
    )


_NOTHING = Lore(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32), set(), Reason.POPULAR)


def known_of(arm: LoadedArm, user_id: str) -> Lore:
    """What is known of a user now."""
    history, weights = arm.version.history(user_id)
    unknown = not history.size
    deeds = arm.live.knowledge.recent.of(user_id)
    shunned: set[int] = set()
    if deeds:
        new = arm.shelf.new
        history, weights, shunned = blended(history, weights, deeds, arm.places, arm.version.card.history_half_life)
        shunned |= {place for deed in deeds if (place := new.get(deed.item)) is not None}
    said = None if history.size else arm.beside.told.preferences(user_id)
    return Lore(history, weights, shunned, Reason.PERSONAL, said, unknown)


def _by_items(arm: LoadedArm, items: Sequence[str], reason: Reason) -> Lore:
    """An item that came since is spoken for by those of the version that are most like it; what nobody knows says nothing."""
    shelf = arm.shelf
    said: dict[int, float] = {}
    shunned: set[int] = set()
    for item in items:
        place = arm.places.get(item)
        if place is not None:
            said[place] = 1.0
        elif (place := shelf.new.get(item)) is not None:
            shunned.add(place)
            for near, alike in zip(shelf.near[place - shelf.own].tolist(), shelf.says[place - shelf.own].tolist(), strict=True):
                if alike:
                    said.setdefault(near, alike)
    known = sorted(said)
    weights = np.array([said[place] for place in known], dtype=np.float32)
    return Lore(np.array(known, dtype=np.int32), weights, shunned, reason, new=reason is Reason.SESSION)
