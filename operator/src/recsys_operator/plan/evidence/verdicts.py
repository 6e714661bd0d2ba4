"""Verdicts, and how far a proof has come."""

from dataclasses import dataclass
from enum import StrEnum
from math import inf, log


class Verdict(StrEnum):
    """What the numbers say of the candidate, in one word.

    A verdict that says something is wrong with a probability that `Levels` bounds, however often one looks.
    """

    BETTER = "Better"
    """Shown to be better than the stable arm."""
    WORSE = "Worse"
    """Shown to be worse than the stable arm by more than is tolerated: it is rolled back."""
    NOT_WORSE = "NotWorse"
    """Shown not to be worse than the margin of non-inferiority allows."""
    UNDECIDED = "Undecided"
    """Nothing is shown yet."""
    INSUFFICIENT_DATA = "InsufficientData"
    """One arm has no numbers: neither for nor against. It holds; it never fails and never promotes."""
    INVALID = "Invalid"
    """The arms did not get the users that their shares say: nothing that is compared between them can be trusted. It holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Bounds on the probability that a verdict is wrong at any time, ever."""

    worse: float
    """To say Worse of a candidate that is not worse than tolerated, or Better of one that is no better."""
    not_worse: float
    """To say NotWorse of one that is worse than the margin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """An e-value against a hypothesis, and what it must reach: by Ville's inequality 1/level is passed by chance with at most `level`."""

    log_e: float
    """Natural logarithm of the e-value."""
    level: float
    """Bound on the probability of passing by chance."""

    @property
    def reached(self) -> bool:
        """Whether it is shown."""
        return self.log_e >= log(1 / self.level)

    @property
    def progress(self) -> float:
        """How far it is, from 0 (nothing speaks for it) to 1 (shown).

        >>> Proof(log_e=2.0, level=0.0001).progress < 0.25
        True
        """
        return min(1.0, max(0.0, self.log_e / log(1 / self.level)))


def no_proof(level: float) -> Proof:
    """What is known before the first number."""
    return Proof(log_e=-inf, level=level)
