"""Gates: numbers of a version card against the bounds of the spec; every verdict is a sentence with its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from recsys_schemas.v1alpha1.model import Gate
from recsys_schemas.v1alpha1.version import GateVerdict
from recsys_schemas.version_card import Estimate, Evaluation, VersionCard

_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One number to be judged, with its 95 % interval."""

    what: str
    value: float
    low: float
    high: float


def verdicts(gates: Sequence[Gate], card: VersionCard) -> list[GateVerdict]:
    """Judge a card by every gate, in order."""
    return [_verdict(gate, card) for gate in gates]


def passed(found: Sequence[GateVerdict]) -> bool:
    """Whether the version may go on: nothing that is enforced has failed or is open."""
    return all(verdict.verdict in ("Passed", "Observed") for verdict in found)


def _verdict(gate: Gate, card: VersionCard) -> GateVerdict:
    readings = _readings(gate, card)
    if not readings:
        # A champion whose files are damaged bars nobody: a new version is the mend, and its canary still judges it.
        champion = f"the champion {card.parent} could not be read" if card.parent else "there is no champion yet"
        against = {"Champion": champion, "Baselines": "the card has no baseline"}.get(gate.relative_to)
        missing = f"the card has no {gate.metric}"
        word = "Passed" if against else "Inconclusive"
        return GateVerdict(name=gate.name, verdict=word, message=f"{against or missing}: nothing to compare")
    outcomes = [_judge(gate, reading) for reading in readings]
    words = "; ".join(f"{reading.what} {_numbers(reading)}" for reading in readings)
    bound = f"at least {gate.at_least:g}" if gate.at_least is not None else f"at most {gate.at_most:g}"
    how = "shown" if gate.proof == "Shown" else "not refuted"
    message = f"{words}: must be {bound} ({how} at 95 %)"
    if gate.enforcement == "Observe":
        return GateVerdict(name=gate.name, verdict="Observed", message=f"{message}; would be {min(outcomes)}")
    word = "Failed" if "Failed" in outcomes else "Inconclusive" if "Inconclusive" in outcomes else "Passed"
    return GateVerdict(name=gate.name, verdict=word, message=message)


def _judge(gate: Gate, reading: Reading) -> str:
    """Failed: the whole interval breaks the bound. Inconclusive: a part does, and the whole was asked for."""
    if gate.at_least is not None:
        whole, part = reading.low >= gate.at_least, reading.high >= gate.at_least
    else:
        bound = gate.at_most if gate.at_most is not None else 0.0
        whole, part = reading.high <= bound, reading.low <= bound
    if whole or (part and gate.proof == "NotRefuted"):
        return "Passed"
    return "Inconclusive" if part else "Failed"


def _numbers(reading: Reading) -> str:
    return f"{reading.value:+.4f} [{reading.low:+.4f}, {reading.high:+.4f}]"


def _readings(gate: Gate, card: VersionCard) -> list[Reading]:
    candidate = next(evaluation for evaluation in card.evaluations if evaluation.role == "candidate")
    if gate.relative_to == "None":
        found = _metric(gate.metric, candidate)
        return [_reading(gate.metric, found)] if found else []
    role = "champion" if gate.relative_to == "Champion" else "baseline"
    others = [evaluation for evaluation in card.evaluations if evaluation.role == role]
    return [reading for other in others if (reading := _difference(gate.metric, candidate, other))]


def _reading(what: str, estimate: Estimate) -> Reading:
    return Reading(what=what, value=estimate.value, low=estimate.low, high=estimate.high)


def _metric(name: str, evaluation: Evaluation) -> Estimate | None:
    exact = {"inferenceMilliseconds": evaluation.inference_ms_per_user, "sizeMegabytes": evaluation.size_bytes / _MEGABYTE}
    if name in exact:
        return Estimate(value=exact[name], low=exact[name], high=exact[name], samples=1)
    return evaluation.metrics.get(name)


def _difference(name: str, candidate: Evaluation, other: Evaluation) -> Reading | None:
    """Paired by user where the card has it; else the difference of the means, with the widest interval that both allow."""
    what = f"{name} minus {other.name}'s"
    if name in other.difference:
        return _reading(what, other.difference[name])
    ours, theirs = _metric(name, candidate), _metric(name, other)
    if ours is None or theirs is None:
        return None
    return Reading(what=what, value=ours.value - theirs.value, low=ours.low - theirs.high, high=ours.high - theirs.low)
