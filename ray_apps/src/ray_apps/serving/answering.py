"""One request through the fallback chain: the user's arm, then the stable arm, then what is popular."""

import contextlib
import time
from dataclasses import dataclass, replace

import numpy as np

from ray_apps.serving.arms import LoadedArm, Serving
from ray_apps.serving.assignment import assigned
from ray_apps.serving.counters import Tallies, group_of
from ray_apps.serving.pace import ArmLate
from ray_apps.serving.questions import Question
from ray_apps.serving.ranking import ArmFailure, first_allowed, top_k
from ray_apps.serving.shuffling import LOT, shuffled
from recsys_schemas.serving_api import Reason, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """Items with their scores, best first, and why these."""

    items: list[tuple[str, float]]
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the user gets, and who gave it."""

    items: list[tuple[str, float]]
    propensities: list[float]
    """How likely each item was to be shown at its place."""
    version: str
    variant: Variant
    reason: Reason
    epoch: int
    stratum: str


async def answer(serving: Serving, question: Question, tallies: Tallies, timeout_ms: float) -> Answer | None:
    """Answer from the arm that whoever asks is assigned to, or from what stands behind it; None when no arm is mapped.

    A failure is counted against the assigned arm. The impression is whoever's answered, and is counted when it is ripe.
    """
    stable = serving.stable
    if stable is None or serving.split is None:
        return None
    shuffle = serving.record.shuffle if question.counted else None
    k = question.k
    if shuffle is not None:
        question = replace(question, k=max(k, shuffle.depth))
    first = serving.arms.get(assigned(serving.split, question.who), stable) if question.counted else stable
    within_ms = timeout_ms if question.deadline_ms is None else min(timeout_ms, question.deadline_ms)
    started = time.perf_counter()
    ranked: Ranked | None = None
    late = False
    by = first
    try:
        ranked = await attempt(first, question, within_ms)
    except ArmFailure as failure:
        late = isinstance(failure, ArmLate)
    elapsed = (time.perf_counter() - started) * 1000
    # An arm that a client gave less time than the spec does is not to blame for being late.
    failed = ranked is None and not (late and elapsed < timeout_ms and within_ms < timeout_ms)
    if question.counted:
        what = "well" if not failed else "late" if late else "failed"
        tallies.of(first.name).asked(serving.stratum, group_of(question.who), elapsed, what)
    if ranked is None and first is not stable and elapsed + stable.pace.expected_ms < within_ms:
        by = stable
        ranked = await _rescue(stable, question, within_ms - elapsed)
    variant = Variant.STABLE if by is stable else Variant.CANDIDATE
    if ranked is None:
        by, variant = stable, Variant.FALLBACK
        ranked = Ranked(items=popular(stable, k, banned_by(stable, question) | seen(stable, question)), reason=Reason.FALLBACK)
        shuffle = None
    items, chances = (ranked.items, [1.0] * len(ranked.items)) if shuffle is None else shuffled(ranked.items, k, shuffle, LOT)
    return Answer(
        items=items,
        propensities=chances,
        version=by.name,
        variant=variant,
        reason=ranked.reason,
        epoch=serving.record.epoch,
        stratum=serving.stratum,
    )


async def _rescue(stable: LoadedArm, question: Question, budget_ms: float) -> Ranked | None:
    """The stable arm's answer for a failed candidate; None when it fails too, for the failure is already counted."""
    try:
        return await attempt(stable, question, budget_ms)
    except ArmFailure:
        return None


async def attempt(arm: LoadedArm, question: Question, budget_ms: float) -> Ranked:
    """One arm's own answer.

    Raises:
        ArmFailure: it raised, gave scores that are not finite, or was late.
    """
    started = time.perf_counter()
    try:
        ranked = await arm.pace.run(lambda: rank(arm, question), budget_ms)
    except ArmFailure:
        raise
    except Exception as error:  # whatever a version does wrong, its user still gets an answer
        raise ArmFailure(f"{type(error).__name__}: {error}") from error
    elapsed = (time.perf_counter() - started) * 1000
    if elapsed > budget_ms:
        raise ArmLate(f"answered after {elapsed:.0f} ms; {budget_ms:.0f} ms were left")
    return ranked


def rank(arm: LoadedArm, question: Question) -> Ranked:
    """Score and take the best k; popular items where there is nothing to go by.

    Raises:
        ArmFailure: scores are not finite, or not one per item.
    """
    history, weights, shunned, reason = question.lore(arm)
    excluded = banned_by(arm, question) | shunned
    if history.size == 0:
        return Ranked(items=popular(arm, question.k, excluded), reason=Reason.POPULAR)
    scores = arm.version.model.scores(history, weights)
    if scores.shape != (len(arm.names),):
        raise ArmFailure(f"scores: shape {scores.shape} for {len(arm.names)} items")
    banned = np.concatenate((history, np.fromiter(excluded, dtype=history.dtype))) if excluded else history
    chosen, values = top_k(scores, question.k, banned)
    return Ranked(items=[(arm.names[int(i)], float(v)) for i, v in zip(chosen.tolist(), values.tolist(), strict=True)], reason=reason)


def banned_by(arm: LoadedArm, question: Question) -> set[int]:
    """Places of the items that the question excludes; items that the version does not know are nothing to exclude."""
    index = arm.places
    return {index[item] for item in question.exclude if item in index}


def seen(arm: LoadedArm, question: Question) -> set[int]:
    """What the answer would have gone by, as far as a version that may be broken can tell: it is not shown either."""
    with contextlib.suppress(Exception):
        lore = question.lore(arm)
        return set(lore.history.tolist()) | lore.shunned
    return set()


def popular(arm: LoadedArm, k: int, banned: set[int]) -> list[tuple[str, float]]:
    """The items that are most popular now and not banned, with their popularity as score."""
    popularity = arm.live.knowledge.popularity
    counts = popularity.counts
    return [(arm.names[i], float(counts[i])) for i in first_allowed(popularity.order, k, banned)]
