"""One request through the fallback chain: the user's arm, then the stable arm, then what is popular."""

import contextlib
import time
from dataclasses import dataclass

import numpy as np

from ray_apps.serving.arms import LoadedArm, Serving
from ray_apps.serving.assignment import assigned
from ray_apps.serving.counters import Tallies, group_of
from ray_apps.serving.online.blending import Indices, Weights, blended
from ray_apps.serving.pace import ArmLate
from ray_apps.serving.ranking import ArmFailure, first_allowed, top_k
from recsys_schemas.serving_api import Reason, RecommendationRequest, Variant


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


async def answer(serving: Serving, request: RecommendationRequest, tallies: Tallies, timeout_ms: float) -> Answer | None:
    """Answer from the arm that the user is assigned to, or from what stands behind it; None when no arm is mapped.

    A failure is counted against the assigned arm. The impression is whoever's answered, and is counted when it is ripe.
    """
    stable = serving.stable
    if stable is None or serving.split is None:
        return None
    first = serving.arms.get(assigned(serving.split, request.user_id), stable)
    tally = tallies.of(first.name)
    under, group = tally.under(serving.stratum), group_of(request.user_id)
    tally.requests += 1
    under.requests[group] += 1
    started = time.perf_counter()
    ranked: Ranked | None = None
    by = first
    try:
        ranked = await attempt(first, request, timeout_ms)
    except ArmFailure as failure:
        tally.errors += 1
        under.errors[group] += 1
        tally.late += isinstance(failure, ArmLate)
    elapsed = (time.perf_counter() - started) * 1000
    tally.observe(elapsed)
    if ranked is None and first is not stable and elapsed + stable.pace.expected_ms < timeout_ms:
        by = stable
        ranked = await _rescue(stable, request, timeout_ms - elapsed)
    if ranked is None:
        return Answer(
            items=popular(stable, request.k, banned_by_request(stable, request) | seen(stable, request.user_id)),
            version=stable.name,
            variant=Variant.FALLBACK,
            reason=Reason.FALLBACK,
            epoch=serving.record.epoch,
            stratum=serving.stratum,
        )
    return Answer(
        items=ranked.items,
        version=by.name,
        variant=Variant.STABLE if by is stable else Variant.CANDIDATE,
        reason=ranked.reason,
        epoch=serving.record.epoch,
        stratum=serving.stratum,
    )


async def _rescue(stable: LoadedArm, request: RecommendationRequest, budget_ms: float) -> Ranked | None:
    """The stable arm's answer for a failed candidate; None when it fails too, for the failure is already counted."""
    try:
        return await attempt(stable, request, budget_ms)
    except ArmFailure:
        return None


async def attempt(arm: LoadedArm, request: RecommendationRequest, budget_ms: float) -> Ranked:
    """One arm's own answer.

    Raises:
        ArmFailure: it raised, gave scores that are not finite, or was late.
    """
    started = time.perf_counter()
    try:
        ranked = await arm.pace.run(lambda: rank(arm, request), budget_ms)
    except ArmFailure:
        raise
    except Exception as error:  # whatever a version does wrong, its user still gets an answer
        raise ArmFailure(f"{type(error).__name__}: {error}") from error
    elapsed = (time.perf_counter() - started) * 1000
    if elapsed > budget_ms:
        raise ArmLate(f"answered after {elapsed:.0f} ms; {budget_ms:.0f} ms were left")
    return ranked


def rank(arm: LoadedArm, request: RecommendationRequest) -> Ranked:
    """Score and take the best k; popular items for a user of whom nothing is known.

    Raises:
        ArmFailure: scores are not finite, or not one per item.
    """
    history, weights, shunned = known_of(arm, request.user_id)
    excluded = banned_by_request(arm, request) | shunned
    if history.size == 0:
        return Ranked(items=popular(arm, request.k, excluded), reason=Reason.POPULAR)
    scores = arm.version.model.scores(history, weights)
    if scores.shape != (len(arm.names),):
        raise ArmFailure(f"scores: shape {scores.shape} for {len(arm.names)} items")
    banned = np.concatenate((history, np.fromiter(excluded, dtype=history.dtype))) if excluded else history
    chosen, values = top_k(scores, request.k, banned)
    return Ranked(
        items=[(arm.names[int(i)], float(v)) for i, v in zip(chosen.tolist(), values.tolist(), strict=True)], reason=Reason.PERSONAL
    )


def known_of(arm: LoadedArm, user_id: str) -> tuple[Indices, Weights, set[int]]:
    """What is known of a user now: items liked, how strongly, and places of those dealt with that were not liked."""
    history, weights = arm.version.history(user_id)
    deeds = arm.live.knowledge.recent.of(user_id)
    return blended(history, weights, deeds, arm.places) if deeds else (history, weights, set())


def banned_by_request(arm: LoadedArm, request: RecommendationRequest) -> set[int]:
    """Indices of the items that the request excludes; items that the version does not know are nothing to exclude."""
    index = arm.places
    return {index[item] for item in request.exclude if item in index}


def seen(arm: LoadedArm, user_id: str) -> set[int]:
    """What the user has seen, as far as a version that may be broken can tell."""
    with contextlib.suppress(Exception):
        history, _, shunned = known_of(arm, user_id)
        return set(history.tolist()) | shunned
    return set()


def popular(arm: LoadedArm, k: int, banned: set[int]) -> list[tuple[str, float]]:
    """The items that are most popular now and not banned, with their popularity as score."""
    popularity = arm.live.knowledge.popularity
    counts = popularity.counts
    return [(arm.names[i], float(counts[i])) for i in first_allowed(popularity.order, k, banned)]
