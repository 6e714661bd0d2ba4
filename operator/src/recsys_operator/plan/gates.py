"""Gates: numbers of a version card against the bounds of the spec; every verdict is a sentence with its numbers."""

from collections.abc import Sequence
from typing import Literal

from recsys_operator.plan.readings import Nothing, Reading, read
from recsys_schemas.v1alpha1.gates import Gate, guards
from recsys_schemas.v1alpha1.version import GateVerdict, VersionSpec
from recsys_schemas.version_card import PreflightReport, VersionCard

_GOES_ON = ("Passed", "Observed", "Abstained")
Word = Literal["Passed", "Failed", "Inconclusive", "Observed", "Abstained"]


def verdicts(gates: Sequence[Gate], card: VersionCard) -> list[GateVerdict]:
    """Judge a card by every gate, in order; then by the guards whose place no gate has taken."""
    named = {gate.name for gate in gates}
    own = [_verdict(gate, card, guard=False) for gate in gates]
    return own + [_verdict(gate, card, guard=True) for gate in guards() if gate.name not in named]


def passed(found: Sequence[GateVerdict]) -> bool:
    """Whether the version may go on: nothing that is enforced has failed or is open."""
    return all(verdict.verdict in _GOES_ON for verdict in found)


def stopping(found: Sequence[GateVerdict]) -> list[GateVerdict]:
    """The verdicts that a version does not get past."""
    return [verdict for verdict in found if verdict.verdict not in _GOES_ON]


def as_asked(spec: VersionSpec, name: str, card: VersionCard) -> GateVerdict:
    """Whether the card is of what was asked: one that was made of something else is stale, or another's."""
    chosen = card.algorithm if str(spec.algorithm) == "Auto" else spec.algorithm
    pairs = {
        "version": (name, card.version),
        "algorithm": (chosen, card.algorithm),
        "seed": (spec.seed, card.seed),
        "snapshot": (spec.snapshot.sequence, card.snapshot.sequence),
        "parent": (spec.parent, card.parent),
    }
    other = [f"{field} {found} where {wanted} was asked" for field, (wanted, found) in pairs.items() if found != wanted]
    if other:
        return GateVerdict(name="as-asked", verdict="Failed", message=f"the card is of {'; '.join(other)}")
    message = f"made by {card.algorithm} with seed {card.seed} from snapshot {card.snapshot.sequence}, as asked"
    return GateVerdict(name="as-asked", verdict="Passed", message=message)


def of_preflight(report: PreflightReport) -> list[GateVerdict]:
    """Each check of a preflight as a verdict of its own."""
    return [
        GateVerdict(
            name=f"preflight-{check}",
            verdict="Failed" if seen.startswith("failed: ") else "Abstained" if seen.startswith("not checked: ") else "Passed",
            message=seen[:900],
        )
        for check, seen in sorted(report.checks.items())
    ]


def fields_grouped_by(gates: Sequence[Gate]) -> list[str]:
    """Fields of the events by whose values the gates group users: a run must be told of them. `activity` is always measured."""
    grouped = {gate.group_by for gate in gates if gate.group_by}
    sliced = {gate.slice.removeprefix("group:").partition("=")[0] for gate in gates if gate.slice and gate.slice.startswith("group:")}
    return sorted((grouped | sliced) - {"activity"})


def _verdict(gate: Gate, card: VersionCard, *, guard: bool) -> GateVerdict:
    found = read(gate, card)
    word, message = _without_numbers(gate, found, guard=guard) if isinstance(found, Nothing) else _with_numbers(gate, found)
    if gate.enforcement == "Observe" and word != "Abstained":
        return GateVerdict(name=gate.name, verdict="Observed", message=f"{message}; would be {word}")
    return GateVerdict(name=gate.name, verdict=word, message=message)


def _without_numbers(gate: Gate, found: Nothing, *, guard: bool) -> tuple[Word, str]:
    if found.to_compare:
        return "Passed", f"{found.why}: nothing to compare"
    if found.abstained or guard:
        return _abstain(gate, found.why)
    return "Inconclusive", f"{found.why}: nothing to compare"


def _abstain(gate: Gate, why: str) -> tuple[Word, str]:
    if gate.when_abstained == "Stop":
        return "Inconclusive", f"{why}; whenAbstained is Stop"
    return "Abstained", f"{why}: neither passed nor failed"


def _with_numbers(gate: Gate, readings: Sequence[Reading]) -> tuple[Word, str]:
    thin = [reading for reading in readings if reading.samples < gate.minimum_samples]
    words = "; ".join(str(reading) for reading in readings)
    if thin:
        return _abstain(gate, f"{words}: fewer than minimumSamples {gate.minimum_samples}")
    outcomes = [_judge(gate, reading) for reading in readings]
    bound = f"at least {gate.at_least:g}" if gate.at_least is not None else f"at most {gate.at_most:g}"
    how = "shown" if gate.proof == "Shown" else "not refuted"
    word: Word = "Failed" if "Failed" in outcomes else "Inconclusive" if "Inconclusive" in outcomes else "Passed"
    return word, f"{words}: must be {bound} ({how} at 95 %)"


def _judge(gate: Gate, reading: Reading) -> Word:
    """Failed: the whole interval breaks the bound. Inconclusive: a part does, and the whole was asked for."""
    if gate.at_least is not None:
        whole, part = reading.low >= gate.at_least, reading.high >= gate.at_least
    else:
        bound = gate.at_most if gate.at_most is not None else 0.0
        whole, part = reading.high <= bound, reading.low <= bound
    if whole or (part and gate.proof == "NotRefuted"):
        return "Passed"
    return "Inconclusive" if part else "Failed"
