"""Who answers: the arm that whoever asks is assigned to, and when it is late or fails, the steps of `spec.serving.fallback`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

from ray_apps.serving.answering import Answer, Banned, Ranked, attempt, banned_by, popular, rank, seen
from ray_apps.serving.arms import LoadedArm, Serving
from ray_apps.serving.assignment import assigned
from ray_apps.serving.counters import Tallies, group_of
from ray_apps.serving.lasts import Last, Lasts
from ray_apps.serving.pace import ArmLate
from ray_apps.serving.questions import Question
from ray_apps.serving.ranking import ArmFailure, Indices
from ray_apps.serving.shuffling import LOT, shuffled
from recsys_schemas.serving_api import Reason
from recsys_schemas.serving_record import FALLBACK, FallbackStep, Shuffle, Variant

REMEMBERED = frozenset({Reason.PERSONAL, Reason.SESSION, Reason.APPROXIMATE})
"""Answers that are kept for a time when the next one cannot be computed."""
STRANGERS = frozenset({Reason.POPULAR, Reason.CONTEXT})
"""Nothing is known of who asks."""
NOT_SHUFFLED = frozenset({*STRANGERS, Reason.FALLBACK, Reason.CACHED})
"""What is the same for all, or was shuffled when it was given first."""
ROOM = 2.0
"""So many times what an answer from a shortlist is expected to take is left over for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What stands behind an assigned arm, and how long all of it may take."""

    timeout_ms: float
    steps: Sequence[FallbackStep] = FALLBACK
    lasts: Lasts = field(default_factory=Lasts)


@dataclass(slots=True, kw_only=True)
class SoFar:
    """How far one request has come."""

    first: LoadedArm
    """The assigned arm."""
    stable: LoadedArm
    barred: Indices
    """What the stable arm may not show, by the question's filters."""
    started: float
    within_ms: float
    late: bool = False
    """Whether the assigned arm failed by being late."""
    own_ms: float = 0.0
    """What the assigned arm took."""

    @property
    def elapsed_ms(self) -> float:
        """Since the request was begun."""
        return (time.perf_counter() - self.started) * 1000

    @property
    def left_ms(self) -> float:
        """Until the deadline."""
        return self.within_ms - self.elapsed_ms

    def ended(self, timeout_ms: float) -> Literal["well", "late", "failed"]:
        """How it ended for the assigned arm, if it did not answer: one that a client gave less time than the spec does is not to blame."""
        if self.late and self.own_ms < timeout_ms and self.within_ms < timeout_ms:
            return "well"
        return "late" if self.late else "failed"


async def answer(serving: Serving, question: Question, tallies: Tallies, chain: Chain) -> Answer | None:
    """Answer from the assigned arm, or from what stands behind it; None when no arm is mapped.

    A failure is counted against the assigned arm. The impression is whoever's answered, and is counted when it is ripe.
    """
    stable = serving.stable
    if stable is None or serving.split is None:
        return None
    shuffle = serving.record.shuffle if question.counted else None
    if shuffle is not None:
        question = replace(question, deep=shuffle.depth)
    barred = stable.shelf.barred(question.filters)  # before any arm is asked: what the catalogue does not know is no fault of theirs
    first = serving.arms.get(assigned(serving.split, question.who), stable) if question.counted else named(serving, question) or stable
    within_ms = chain.timeout_ms if question.deadline_ms is None else min(chain.timeout_ms, question.deadline_ms)
    so_far = SoFar(barred=barred, first=first, stable=stable, started=time.perf_counter(), within_ms=within_ms)
    by, variant = first, variant_of(serving, first, question)
    ranked = await _own(first, question, chain, so_far)
    if question.counted:
        ended = "well" if ranked is not None else so_far.ended(chain.timeout_ms)
        tallies.of(first.name).asked(serving.stratum, group_of(question.who), so_far.own_ms, ended, given(ranked))
    if ranked is None:
        by, variant, ranked = await _behind(serving, question, chain, so_far)
    items, chances = _listed(ranked, question.k, shuffle)
    if question.counted and ranked.reason in REMEMBERED:
        chain.lasts.keep(question.who, Last(by.name, items))
    return Answer(
        items=items,
        propensities=chances,
        explored=ranked.explored,
        version=by.name,
        variant=variant,
        reason=ranked.reason,
        epoch=serving.record.epoch,
        stratum=serving.stratum,
    )


def named(serving: Serving, question: Question) -> LoadedArm | None:
    """The arm that a tester names; None when none is named, or there is none."""
    there = (arm.version for arm in serving.record.arms if arm.variant is question.tested and not arm.ceded)
    return next((serving.arms.get(version) for version in there), None)


def variant_of(serving: Serving, by: LoadedArm, question: Question) -> Variant:
    """What the arm that answered is called."""
    if question.tested is not None:
        return Variant.PREVIEW
    return next((Variant(arm.variant) for arm in serving.record.arms if arm.version == by.name), Variant.STABLE)


def given(ranked: Ranked | None) -> Literal["some", "popular", "none"]:
    """What the arm gave; a failure is counted as one, and as nothing else."""
    if ranked is None:
        return "some"
    return "none" if not ranked.items else "popular" if ranked.reason in STRANGERS else "some"


def _listed(ranked: Ranked, k: int, shuffle: Shuffle | None) -> tuple[list[tuple[str, float]], list[float]]:
    """What is shown, and how likely each item was at its place. What goes by popularity alone is never shuffled: all versions show it."""
    if shuffle is not None and ranked.reason not in NOT_SHUFFLED:
        return shuffled(ranked.items, k, shuffle, LOT)
    items = ranked.items[:k]
    return items, [*[1.0] * (len(items) - 1), ranked.propensity] if items else []


async def _own(first: LoadedArm, question: Question, chain: Chain, so_far: SoFar) -> Ranked | None:
    """The assigned arm's answer, from all items or from its shortlist; None when it failed or was late."""
    shortlist = first.near.shortlist if FallbackStep.APPROXIMATE in chain.steps else None
    kept_ms = ROOM * shortlist.expected_ms if shortlist else 0.0
    ranked: Ranked | None = None
    try:
        ranked = await attempt(first, question, so_far.left_ms - kept_ms)
    except ArmFailure as failure:
        so_far.late = isinstance(failure, ArmLate)
    if ranked is None and so_far.late and so_far.left_ms > kept_ms > 0:
        ranked = _approximate(first, question, so_far.barred.size)
    so_far.own_ms = so_far.elapsed_ms
    return ranked


def _approximate(arm: LoadedArm, question: Question, barred: int) -> Ranked | None:
    """The best of an arm's shortlist, where about so many items may not be shown; None without one."""
    shortlist = arm.near.shortlist
    if shortlist is None:
        return None
    look = shortlist.look(1 - barred / max(arm.shelf.own, 1))
    try:
        ranked = rank(arm, question, look)
    except Exception:  # noqa: BLE001 - whatever a version does wrong, its user still gets an answer
        return None
    items = [(item, score) for item, score in ranked.items if score > look.unseen]
    if not items:
        return None
    return replace(ranked, items=items, reason=Reason.APPROXIMATE if ranked.reason not in STRANGERS else ranked.reason)


async def _behind(serving: Serving, question: Question, chain: Chain, so_far: SoFar) -> tuple[LoadedArm, Variant, Ranked]:
    """What the steps of the fallback give."""
    stable = so_far.stable
    for step in chain.steps:
        match step:
            case FallbackStep.APPROXIMATE:
                continue  # it is the assigned arm's own, and has been tried
            case FallbackStep.CHAMPION:
                if so_far.first is not stable and so_far.left_ms > stable.pace.expected_ms:
                    ranked = await _rescue(stable, question, so_far.left_ms)
                    if ranked is not None:
                        return stable, Variant.STABLE, ranked
            case FallbackStep.CACHED:
                found = _cached(serving, question, chain.lasts)
                if found is not None:
                    return found[0], Variant.FALLBACK, found[1]
            case FallbackStep.POPULAR:
                break
            case _:
                assert_never(step)
    banned = Banned(banned_by(stable.shelf, question) | seen(stable, question), so_far.barred)
    items = popular(stable, stable.shelf, question.k, banned)
    return stable, Variant.FALLBACK, Ranked(items=items, reason=Reason.FALLBACK)


async def _rescue(stable: LoadedArm, question: Question, budget_ms: float) -> Ranked | None:
    """The stable arm's answer for a failed candidate; None when it fails too, for the failure is already counted."""
    try:
        return await attempt(stable, question, budget_ms)
    except ArmFailure:
        return None


def _cached(serving: Serving, question: Question, lasts: Lasts) -> tuple[LoadedArm, Ranked] | None:
    """The last answer without what was seen since; None where there is none, or its version serves no more.

    A question with filters is not answered so: what was kept was not chosen by them.
    """
    last = lasts.of(question.who) if question.counted and question.filters is None else None
    arm = serving.arms.get(last.version) if last else None
    if last is None or arm is None:
        return None
    shelf = arm.shelf
    shut = {shelf.names[place] for place in (*seen(arm, question), *shelf.barred(None).tolist())} | set(question.exclude)
    items = [(item, score) for item, score in last.items if item not in shut][: question.k]
    return (arm, Ranked(items=items, reason=Reason.CACHED)) if items else None
