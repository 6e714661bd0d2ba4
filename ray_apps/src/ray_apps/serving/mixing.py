"""Mixing: a list from the stable arm and the candidate, for users whom the record names; whoever asks else is answered by one arm."""

import secrets
import time
from dataclasses import dataclass, replace

from ray_apps.serving.answering import Answer, Banned, Ranked, attempt, banned_by, popular, seen
from ray_apps.serving.arms import LoadedArm, Serving
from ray_apps.serving.assignment import point_of
from ray_apps.serving.counters import Tallies, group_of
from ray_apps.serving.fallback import Chain, answer, given, variant_of
from ray_apps.serving.interleaving import team_draft
from ray_apps.serving.pace import ArmLate
from ray_apps.serving.questions import Question
from ray_apps.serving.ranking import ArmFailure
from recsys_schemas.serving_api import Reason
from recsys_schemas.serving_record import Variant


async def answer_by_all(serving: Serving, question: Question, tallies: Tallies, chain: Chain) -> Answer | None:
    """Answer from the arm that whoever asks is assigned to, or from both of a mix; None when no arm is mapped."""
    stable, candidate = serving.stable, _mixed_with(serving, question)
    if stable is None or candidate is None:
        return await answer(serving, question, tallies, chain)
    timeout_ms = chain.timeout_ms
    within_ms = timeout_ms if question.deadline_ms is None else min(timeout_ms, question.deadline_ms)
    return await _mixed(
        _Ask(serving=serving, question=question, tallies=tallies, timeout_ms=timeout_ms, within_ms=within_ms), stable, candidate
    )


def _mixed_with(serving: Serving, question: Question) -> LoadedArm | None:
    split = serving.split
    if split is None or split.mixed is None or not question.counted or point_of(split.key, question.who) >= split.mixed[0]:
        return None
    return serving.arms.get(split.mixed[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    """What both arms of a mixed list are asked."""

    serving: Serving
    question: Question
    tallies: Tallies
    timeout_ms: float
    within_ms: float

    def answer(self, by: LoadedArm, variant: Variant, ranked: Ranked) -> Answer:
        """An answer that holds so much of a ranking."""
        items = ranked.items[: self.question.k]
        return Answer(
            items=items,
            propensities=[*[1.0] * (len(items) - 1), ranked.propensity] if items else [],
            explored=ranked.explored,
            version=by.name,
            variant=variant,
            reason=ranked.reason,
            epoch=self.serving.record.epoch,
            stratum=self.serving.stratum,
        )


async def _mixed(ask: _Ask, stable: LoadedArm, candidate: LoadedArm) -> Answer:
    """A list from both arms; where one fails it is the other's alone, and where both do it is what is popular."""
    question, started = ask.question, time.perf_counter()
    barred = stable.shelf.barred(question.filters)
    first = await _counted(ask, stable, started)
    second = await _counted(ask, candidate, started)
    if first is not None and second is not None:
        drawn = team_draft(_names(first), _names(second), question.k, lambda: bool(secrets.randbits(1)))
        items = [(place.item, float(len(drawn) - number)) for number, place in enumerate(drawn)]
        teams = {place.item: place.of_candidate for place in drawn}
        whole = ask.answer(stable, Variant.INTERLEAVED, Ranked(items=items, reason=first.reason))
        telling = {place.item: place.of_candidate for place in drawn if place.tells}
        return replace(whole, teams=teams, telling=telling, mixed_with=candidate.name)
    alone, by = (first, stable) if first is not None else (second, candidate)
    if alone is not None:
        return ask.answer(by, variant_of(ask.serving, by, question), alone)
    banned = Banned(banned_by(stable.shelf, question) | seen(stable, question), barred)
    items = popular(stable, stable.shelf, question.k, banned)
    return ask.answer(stable, Variant.FALLBACK, Ranked(items=items, reason=Reason.FALLBACK))


def _names(ranked: Ranked) -> list[str]:
    return [item for item, _ in ranked.items]


async def _counted(ask: _Ask, arm: LoadedArm, began: float) -> Ranked | None:
    """One arm's list, counted as a request of its own; None when it failed."""
    started = time.perf_counter()
    ranked, late = None, False
    try:
        ranked = await attempt(arm, ask.question, max(ask.within_ms - (started - began) * 1000, 0.0))
    except ArmFailure as failure:
        late = isinstance(failure, ArmLate)
    elapsed = (time.perf_counter() - started) * 1000
    # An arm that had less time than the spec gives is not to blame for being late.
    ended = "well" if ranked is not None or (late and elapsed < ask.timeout_ms) else "late" if late else "failed"
    ask.tallies.of(arm.name).asked(ask.serving.stratum, group_of(ask.question.who), elapsed, ended, given(ranked))
    return ranked
