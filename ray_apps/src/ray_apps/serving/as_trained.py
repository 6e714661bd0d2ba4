"""Whether a version answers as it did where it was trained: item maps that were permuted and arrays that were swapped answer otherwise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ray_apps.serving.arms import LoadedArm
from ray_apps.serving.ranking import ArmFailure, top_k
from recsys_schemas.version_card import Probe

LEAST_AGREEMENT = 0.95
"""Another processor may round the last bit otherwise, which turns near ties round; it does not change lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """How the probes were answered."""

    probes: int
    agreement: float
    """Mean part of the best items that are the same, 0 to 1."""
    worst: tuple[str, float]
    """The user of the probe that agrees least, and by how much."""
    strangers: tuple[str, ...]
    """Users whose history in the version is not the one that training knew."""

    @property
    def agrees(self) -> bool:
        """Whether the version answers as trained."""
        return self.agreement >= LEAST_AGREEMENT


def as_trained(arm: LoadedArm, probes: Sequence[Probe]) -> Answers:
    """Ask every probe again, of the arrays as they were mapped."""
    found = [(probe.user, _agreement(arm, probe)) for probe in probes]
    return Answers(
        probes=len(probes),
        agreement=sum(part for _, part in found) / len(found),
        worst=min(found, key=lambda each: each[1]),
        strangers=tuple(probe.user for probe in probes if not _known(arm, probe)),
    )


def told(answers: Answers) -> str:
    """The numbers in words."""
    user, part = answers.worst
    return (
        f"{answers.probes} histories are answered as by the fitted model for {answers.agreement:.1%} of the best items, "
        f"{LEAST_AGREEMENT:.0%} are needed; worst {part:.0%}, of user {user!r}"
    )


def _agreement(arm: LoadedArm, probe: Probe) -> float:
    places = [(arm.places[item], weight) for item, weight in probe.history.items() if item in arm.places]
    if len(places) < len(probe.history):
        return 0.0
    pairs = sorted(places)
    items, weights = np.array([place for place, _ in pairs], dtype=np.int32), np.array([weight for _, weight in pairs], dtype=np.float32)
    try:
        chosen, _ = top_k(arm.version.model.scores(items, weights), max(1, len(probe.best)), items)
    except (ArmFailure, ValueError, IndexError, ArithmeticError):
        return 0.0
    found = {arm.names[int(index)] for index in chosen.tolist()}
    return len(found & set(probe.best)) / len(probe.best) if probe.best else float(not found)


def _known(arm: LoadedArm, probe: Probe) -> bool:
    history, weights = arm.version.history(probe.user)
    held = {arm.names[index]: weight for index, weight in zip(history.tolist(), weights.tolist(), strict=True)}
    return all(item in held and np.isclose(held[item], weight) for item, weight in probe.history.items())
