"""What one arm answers, and what is popular; `fallback` says who is asked, and who after them."""

import contextlib
import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ray_apps.serving.arms import LoadedArm
from ray_apps.serving.contexts.counting import in_context
from ray_apps.serving.pace import ArmLate
from ray_apps.serving.questions import Lore, Question
from ray_apps.serving.ranking import ArmFailure, Indices, Scores, first_allowed, top_k
from ray_apps.serving.shelf import Shelf, UnknownFieldError
from ray_apps.serving.strangers import explored
from ray_apps.serving.together import Together
from ray_apps.stores.registry import Scorer
from recsys_schemas.serving_api import Reason
from recsys_schemas.serving_record import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """Items with their scores, best first, and why these."""

    items: list[tuple[str, float]]
    reason: Reason
    propensity: float = 1.0
    """Of the last item; that of all others is 1."""
    explored: bool = False
    """Whether the last item was tried out."""


class Banned(NamedTuple):
    """Places that are not shown."""

    some: set[int]
    """A few, by what is asked and known of who asks."""
    barred: Indices
    """Perhaps most of them, by filters and because they were withdrawn."""

    def places(self) -> Indices:
        """Both."""
        if not self.some:
            return self.barred
        return np.concatenate((np.fromiter(self.some, dtype=np.int64, count=len(self.some)), self.barred))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the user gets, and who gave it."""

    items: list[tuple[str, float]]
    propensities: list[float]
    """How likely each item was to be shown at its place."""
    explored: bool
    version: str
    variant: Variant
    reason: Reason
    epoch: int
    stratum: str
    teams: dict[str, bool] | None = None
    """Of a mixed list: item → whether it is the candidate's."""
    telling: dict[str, bool] | None = None
    """Of those, the items on which a click tells the two apart."""
    mixed_with: str = ""
    """Of a mixed list: the candidate."""


async def attempt(arm: LoadedArm, question: Question, budget_ms: float) -> Ranked:
    """One arm's own answer.

    Raises:
        ArmFailure: it raised, gave scores that are not finite, or was late.
    """
    started = time.perf_counter()
    try:
        if arm.together is not None and arm.pace.inline:
            ranked = await _rank_together(arm, arm.together, question)
        else:
            ranked = await arm.pace.run(lambda: rank(arm, question), budget_ms)
    except ArmFailure:
        raise
    except Exception as error:  # whatever a version does wrong, its user still gets an answer
        raise ArmFailure(f"{type(error).__name__}: {error}") from error
    elapsed = (time.perf_counter() - started) * 1000
    if elapsed > budget_ms:
        raise ArmLate(f"answered after {elapsed:.0f} ms; {budget_ms:.0f} ms were left")
    return ranked


def rank(arm: LoadedArm, question: Question, scorer: Scorer | None = None) -> Ranked:
    """Score and take the best k; where there is nothing to go by, what strangers get.

    Args:
        arm: Who answers.
        question: What is asked.
        scorer: What scores in place of the arm's own model.

    Raises:
        ArmFailure: scores are not finite, or not one per item.
    """
    asking = _asking(arm, question)
    if isinstance(asking, Ranked):
        return asking
    own = arm.welcoming if asking.lore.new else arm.version.model
    return asking.best((scorer or own).scores(asking.lore.history, asking.lore.weights))


async def _rank_together(arm: LoadedArm, together: Together, question: Question) -> Ranked:
    """As `rank`, with whoever asks at the same moment."""
    began = time.thread_time()
    asking = _asking(arm, question)
    if isinstance(asking, Ranked):
        arm.pace.took((time.thread_time() - began) * 1000)
        return asking
    return await together.best(asking.lore.history, asking.lore.weights, asking.best)


class _Asking(NamedTuple):
    """What is left to do once there are scores."""

    shelf: Shelf
    lore: Lore
    banned: Banned
    k: int

    def best(self, scores: Scores) -> Ranked:
        """The best items by scores of the version's own, shape (own,)."""
        if scores.shape != (self.shelf.own,):
            raise ArmFailure(f"scores: shape {scores.shape} for {self.shelf.own} items")
        others, history = self.banned.places(), self.lore.history
        return _best(self.shelf, scores, self.k, np.concatenate((history, others)) if others.size else history, self.lore.reason)


def _asking(arm: LoadedArm, question: Question) -> Ranked | _Asking:
    """What is to be scored; where there is nothing to go by, what strangers get."""
    shelf = arm.shelf
    lore = question.lore(arm)
    banned = Banned(banned_by(shelf, question) | lore.shunned, _barred(shelf, question))
    if lore.history.size == 0:
        return _known_by_words(arm, shelf, question, lore, banned) or _stranger(arm, shelf, question, banned)
    return _Asking(shelf, lore, banned, question.ranked)


def _best(shelf: Shelf, scores: Scores, k: int, banned: Indices, reason: Reason) -> Ranked:
    chosen, values = top_k(shelf.extended(scores), k, banned)
    return Ranked(items=_named(shelf, chosen, values), reason=reason)


def _named(shelf: Shelf, chosen: Indices, values: Scores) -> list[tuple[str, float]]:
    names = shelf.names
    places: list[int] = chosen.tolist()
    numbers: list[float] = values.tolist()
    return [(names[place], number) for place, number in zip(places, numbers, strict=True)]


def _known_by_words(arm: LoadedArm, shelf: Shelf, question: Question, lore: Lore, banned: Banned) -> Ranked | None:
    """By what the user said they like; None where they said nothing that the version knows."""
    if lore.said is None:
        return None
    scores = arm.newcomers.scores(shelf, lore.said, arm.live.knowledge.popularity.worth)
    if scores is None:
        return None
    named = {place for item in lore.said.items if (place := shelf.place(item)) is not None}
    return _best(shelf, scores, question.ranked, Banned(banned.some | named, banned.barred).places(), Reason.ONBOARDING)


def _stranger(arm: LoadedArm, shelf: Shelf, question: Question, banned: Banned) -> Ranked:
    """What is popular where they are, with now and then something new in the last place."""
    followed = arm.beside.contexts
    cells = followed.contexts.within(question.context) if followed else []
    reason = Reason.CONTEXT if cells else Reason.POPULAR
    if followed and cells:
        liked = in_context(shelf.popular(arm.live.knowledge.popularity)[0], shelf, cells, followed.contexts.counting.shrinkage)
        chosen, values = top_k(liked, question.k, banned.places())
        items = _named(shelf, chosen, values)
    else:
        items = popular(arm, shelf, question.k, banned)
    if not question.explores or not arm.beside.exploration:
        return Ranked(items=items, reason=reason)
    may = np.zeros(len(shelf.names), dtype=np.bool_)
    may[shelf.unliked(arm.live.knowledge.popularity)] = True
    may[banned.places()] = False
    may[[place for item, _ in items if (place := shelf.place(item)) is not None]] = False
    last = explored(arm.beside, np.flatnonzero(may), len(items))
    if last.place is not None:
        items[-1] = (shelf.names[last.place], 0.0)
    return Ranked(items=items, reason=reason, propensity=last.propensity, explored=last.place is not None)


def _barred(shelf: Shelf, question: Question) -> Indices:
    """What may not be shown; nothing at all may, where an arm's catalogue does not know what is asked for (the stable arm's does)."""
    try:
        return shelf.barred(question.filters)
    except UnknownFieldError as error:
        raise ArmFailure(str(error)) from None


def banned_by(shelf: Shelf, question: Question) -> set[int]:
    """Places of the items that the question excludes; items that nobody knows are nothing to exclude."""
    return {place for item in question.exclude if (place := shelf.place(item)) is not None}


def seen(arm: LoadedArm, question: Question) -> set[int]:
    """What the answer would have gone by, as far as a version that may be broken can tell: it is not shown either."""
    with contextlib.suppress(Exception):
        lore = question.lore(arm)
        return set(lore.history.tolist()) | lore.shunned
    return set()


def popular(arm: LoadedArm, shelf: Shelf, k: int, banned: Banned) -> list[tuple[str, float]]:
    """The items that are most popular now and neither banned nor barred, with their popularity as score."""
    worth, order = shelf.popular(arm.live.knowledge.popularity)
    if banned.barred.size:
        may = np.ones(order.size, dtype=np.bool_)
        may[banned.barred] = False
        order = order[may[order]]
    return [(shelf.names[i], float(worth[i])) for i in first_allowed(order, k, banned.some)]
