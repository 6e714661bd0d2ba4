"""Readings: what a gate asks for, found in the numbers of a version card. Here alone the words of the resource meet those of the card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys_schemas.v1alpha1.gates import Gate
from recsys_schemas.version_card import Estimate, Evaluation, VersionCard

_MEGABYTE = 1_000_000

_CARD_NAMES: Mapping[str, str] = {"popularityBias@20": "popularity_bias@20", "ndcgGap@10": "gap:{field}:ndcg@10"}
"""Metric of the resource → of the card, where they differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One number to be judged, with its 95 % interval."""

    what: str
    value: float
    low: float
    high: float
    samples: int

    def __str__(self) -> str:
        return f"{self.what} {self.value:+.4f} [{self.low:+.4f}, {self.high:+.4f}] on {self.samples}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """There is no number: why, and whether that is nobody's fault (nothing to compare with) or an honest abstention."""

    why: str
    to_compare: bool = False
    """There is no champion, or no baseline."""
    abstained: bool = False
    """It was looked for, and cannot be told: an estimate without support, a slice that nobody belongs to."""


Found = Sequence[Reading] | Nothing


def read(gate: Gate, card: VersionCard) -> Found:
    """The numbers that a gate is judged by: one, or one for each model that it is compared with."""
    if gate.metric in _OF_THE_CARD:
        return _of_the_card(gate.metric, card)
    candidate = next(evaluation for evaluation in card.evaluations if evaluation.role == "candidate")
    if gate.relative_to == "None":
        return _own(gate, candidate)
    role = "champion" if gate.relative_to == "Champion" else "baseline"
    others = [evaluation for evaluation in card.evaluations if evaluation.role == role]
    if not others:
        # A champion whose files are damaged bars nobody: a new version is the mend, and its canary still judges it.
        champion = f"the champion {card.parent} could not be read" if card.parent else "there is no champion yet"
        return Nothing(why=champion if role == "champion" else "the card has no baseline", to_compare=True)
    readings: list[Reading] = []
    for other in others:
        found = _compared(gate, candidate, other)
        if isinstance(found, Nothing):
            return found
        readings.append(found)
    return readings


def _own(gate: Gate, candidate: Evaluation) -> Found:
    found = _estimate(gate, candidate)
    return found if isinstance(found, Nothing) else [_reading(_named(gate), found)]


def _named(gate: Gate) -> str:
    by = f" by {gate.group_by}" if gate.group_by else f" of {gate.slice}" if gate.slice else ""
    return f"{gate.metric}{by}"


def _reading(what: str, estimate: Estimate) -> Reading:
    return Reading(what=what, value=estimate.value, low=estimate.low, high=estimate.high, samples=estimate.samples)


def card_name(gate: Gate) -> str:
    """The name under which the card keeps a gate's metric; a gap's carries the field of its groups."""
    return _CARD_NAMES.get(gate.metric, gate.metric).format(field=gate.group_by)


def _estimate(gate: Gate, evaluation: Evaluation) -> Estimate | Nothing:
    exact = {"inferenceMilliseconds": evaluation.inference_ms_per_user, "sizeMegabytes": evaluation.size_bytes / _MEGABYTE}
    if gate.metric in exact:
        value = exact[gate.metric]
        return Estimate(value=value, low=value, high=value, samples=1)
    name = card_name(gate)
    if name in evaluation.abstained:
        return Nothing(why=f"{name} abstains: {evaluation.abstained[name]}", abstained=True)
    if gate.slice is not None:
        return _in_slice(evaluation.slices, gate.slice, name)
    return evaluation.metrics.get(name) or Nothing(why=f"the card has no {name}")


def _in_slice(slices: Mapping[str, Mapping[str, Estimate]], part: str, name: str) -> Estimate | Nothing:
    if part not in slices:
        return Nothing(why=f"nobody who was measured belongs to {part}", abstained=True)
    found = slices[part].get(name)
    return found if found is not None else Nothing(why=f"the card has no {name} of {part}")


def _compared(gate: Gate, candidate: Evaluation, other: Evaluation) -> Reading | Nothing:
    found = _difference(gate, candidate, other)
    if isinstance(found, Nothing):
        return found
    if gate.compare == "Difference":
        return _reading(f"{_named(gate)} minus {other.name}'s", found)
    theirs = _estimate(gate, other)
    if isinstance(theirs, Nothing):
        return theirs
    if theirs.value <= 0:
        return Nothing(why=f"{_named(gate)} of {other.name} is {theirs.value:g}: nothing to divide by", abstained=True)
    low, value, high = (1 + bound / theirs.value for bound in (found.low, found.value, found.high))
    return Reading(what=f"{_named(gate)} as a multiple of {other.name}'s", value=value, low=low, high=high, samples=found.samples)


def _difference(gate: Gate, candidate: Evaluation, other: Evaluation) -> Estimate | Nothing:
    """Paired by user where the card has it; else the difference of the means, with the widest interval that both allow."""
    paired = other.slice_difference.get(gate.slice, {}) if gate.slice is not None else other.difference
    if card_name(gate) in paired:
        return paired[card_name(gate)]
    ours, theirs = _estimate(gate, candidate), _estimate(gate, other)
    if isinstance(ours, Nothing):
        return ours
    if isinstance(theirs, Nothing):
        return theirs
    return Estimate(
        value=ours.value - theirs.value,
        low=ours.low - theirs.high,
        high=ours.high - theirs.low,
        samples=min(ours.samples, theirs.samples),
    )


_OF_THE_CARD = frozenset({"learnt@10", "leak@10", "scrambled@10", "capture@20"})


def _of_the_card(metric: str, card: VersionCard) -> Found:
    """What is measured of the whole version, not of one model of its card."""
    if metric == "capture@20":
        if card.capture is None:
            why = "no newcomers since the champion" if card.parent else "there is no champion yet"
            return Nothing(why=why, abstained=True)
        words = f"capture@20 by {', '.join(card.capture.items[:3]) or 'no item'} of {card.capture.newcomers} newcomers"
        return [_reading(words, card.capture.share)]
    if metric == "scrambled@10":
        if card.control is None:
            return Nothing(why="the card has no control on exchanged labels", abstained=True)
        words = (
            f"scrambled@10: a fit on exchanged labels finds {card.control.scrambled.value:.4f} of what was held out, "
            f"the measured fit {card.control.measured.value:.4f}, chance {card.control.chance:.4f}: over a fifth of it"
        )
        return [_reading(words, card.control.excess)]
    if card.learnt is None:
        return Nothing(why="the card does not say how well what was learnt is known", abstained=True)
    if metric == "leak@10":
        return [_reading("leak@10: NDCG@10 on held-out items less that on learnt ones", card.learnt.held_out_minus_learnt)]
    measured, serves = card.learnt.measured, card.learnt.serves
    if measured.value <= 0:
        return Nothing(why="the measured fit finds nothing of what it was fitted on", abstained=True)
    words = f"learnt@10: what serves knows {serves.value:.4f} of what it was fitted on, the measured fit {measured.value:.4f}: a ratio of"
    low, value, high = (bound / measured.value for bound in (serves.low, serves.value, serves.high))
    return [Reading(what=words, value=value, low=low, high=high, samples=serves.samples)]
