"""What one arm answers, and what is popular; `fallback` says who is asked, and who after them."""

import contextlib
import time
from dataclasses import dataclass

import numpy as np

from ray_apps.serving.arms import LoadedArm
from ray_apps.serving.pace import ArmLate
from ray_apps.serving.questions import Question
from ray_apps.serving.ranking import ArmFailure, first_allowed, top_k
from ray_apps.stores.registry import Scorer
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
    version: str
    variant: Variant
    reason: Reason
    epoch: int
    stratum: str


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


def rank(arm: LoadedArm, question: Question, scorer: Scorer | None = None) -> Ranked:
    """Score and take the best k; popular items where there is nothing to go by.

    Args:
        arm: Who answers.
        question: What is asked.
        scorer: What scores in place of the arm's own model.

    Raises:
        ArmFailure: scores are not finite, or not one per item.
    """
    history, weights, shunned, reason = question.lore(arm)
    excluded = banned_by(arm, question) | shunned
    if history.size == 0:
        return Ranked(items=popular(arm, question.k, excluded), reason=Reason.POPULAR)
    scores = (scorer or arm.version.model).scores(history, weights)
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
