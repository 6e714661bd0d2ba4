"""Freshness: how long events take to be known to the answers, as the replicas measure it on every event."""

from enum import StrEnum

from recsys_operator.plan import shares
from recsys_operator.plan.reports import reports
from recsys_operator.state.observed import Observed
from recsys_operator.state.plan import Fact, Part
from recsys_schemas.serving_evidence import OnlineState
from recsys_schemas.v1alpha1.conditions import ConditionType
from recsys_schemas.v1alpha1.model_status import Freshness


class Word(StrEnum):
    """The state of freshness in one word."""

    NOT_MEASURED = "NotMeasured"
    CATCHING_UP = "CatchingUp"
    NOT_FOLLOWING = "NotFollowing"
    STALE = "Stale"
    FRESH = "Fresh"


MOVES: dict[Word, frozenset[Word]] = {word: frozenset(Word) for word in Word}
"""Any word may follow any other: replicas and brokers may go and come back at any time."""

_BEYOND_MS = 600_000.0
"""What replicas do not measure any further."""


def judge(observed: Observed) -> Word:
    """The state in one word; the champion's arm in the slowest running replica decides."""
    states = _states(observed)
    figures = measured(observed)
    if not states:
        return Word.NOT_MEASURED
    if any(state.trouble for state in states):
        return Word.NOT_FOLLOWING
    if not all(state.caught_up for state in states):
        return Word.CATCHING_UP
    if figures is None:
        return Word.NOT_MEASURED
    return Word.FRESH if figures.p99_milliseconds <= figures.target_milliseconds else Word.STALE


def part(observed: Observed) -> Part:
    """What to say of it; there is nothing to do."""
    return Part(facts=(_fact(judge(observed), observed),))


def measured(observed: Observed) -> Freshness | None:
    """The figures of the slowest running replica; None while no event of the last five minutes was measured."""
    told = [state for state in _states(observed) if state.events]
    if not told:
        return None
    return Freshness(
        p50_milliseconds=int(max(_BEYOND_MS if state.p50_ms is None else state.p50_ms for state in told)),
        p99_milliseconds=int(max(_BEYOND_MS if state.p99_ms is None else state.p99_ms for state in told)),
        target_milliseconds=observed.model.spec.serving.online.freshness_target_milliseconds,
        events=max(state.events for state in told),
    )


def _states(observed: Observed) -> list[OnlineState]:
    seen, champion = reports(observed), shares.champion(observed)
    if seen is None or champion is None:
        return []
    running = [report for report in seen.response.replicas if report.replica_id in seen.running]
    return [report.online[champion.name] for report in running if champion.name in report.online]


def _fact(word: Word, observed: Observed) -> Fact:
    def fact(holds: bool | None, message: str) -> Fact:
        return Fact(type=ConditionType.FRESHNESS_MET, holds=holds, reason=str(word), message=message[:2000])

    states, figures = _states(observed), measured(observed)
    match word:
        case Word.NOT_MEASURED:
            return fact(None, "no event of the last five minutes has reached the replicas" if states else "no replica has reported yet")
        case Word.CATCHING_UP:
            behind = sum(not state.caught_up for state in states)
            return fact(None, f"{behind} of {len(states)} replicas are still reading what happened since training")
        case Word.NOT_FOLLOWING:
            trouble = next(state.trouble for state in states if state.trouble)
            return fact(False, f"answers do not learn of new events: {trouble}; they go on from what was known")
        case Word.STALE | Word.FRESH:
            assert figures is not None
            words = (
                f"events are known to the answers within {figures.p50_milliseconds} ms (median) and {figures.p99_milliseconds} ms (99 %), "
                f"over {figures.events} events of the last five minutes; the target is {figures.target_milliseconds} ms"
            )
            return fact(word is Word.FRESH, words)
