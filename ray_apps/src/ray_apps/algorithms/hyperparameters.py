"""Hyperparameters: what an algorithm takes, checked against ranges and filled with defaults."""

from collections.abc import Mapping
from dataclasses import dataclass

Value = float | int | str
Hyperparameters = Mapping[str, Value]
"""Name → value, as a RecommenderModel gives them: the names are those of the resource, such as `halfLifeDays`."""


class HyperparameterError(ValueError):
    """A hyperparameter is unknown or out of range; the message names it, the value seen and what would fit."""


class Unsuitable(ValueError):  # noqa: N818 — it says what the data are
    """These interactions are not for this algorithm: too many items for its memory, say. The message says which would do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A number that an algorithm takes, whole when its default is an int; or one of some words, when there are `choices`."""

    default: Value
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()

    def read(self, name: str, value: Value) -> Value:
        """The value, checked.

        Raises:
            HyperparameterError: it is none of the choices, no number, not whole where it must be, or outside low..high.
        """
        if self.choices:
            if value not in self.choices:
                raise HyperparameterError(f"hyperparameters.{name}: {value!r} does not fit; use one of {', '.join(self.choices)}")
            return value
        whole = isinstance(self.default, int)
        wanted = f"use {'a whole number' if whole else 'a number'} from {self.low:g} to {self.high:g}"
        if isinstance(value, bool | str) or (whole and not float(value).is_integer()):
            raise HyperparameterError(f"hyperparameters.{name}: {value!r} does not fit; {wanted}")
        if not self.low <= value <= self.high:
            raise HyperparameterError(f"hyperparameters.{name}: {value!r} is out of range; {wanted}")
        return int(value) if whole else float(value)


def checked(algorithm: str, parameters: Mapping[str, Parameter], given: Hyperparameters) -> dict[str, Value]:
    """All parameters of an algorithm: those given, checked, and defaults for the rest.

    Raises:
        HyperparameterError: one is unknown or out of range.
    """
    unknown = sorted(set(given) - set(parameters))
    if unknown:
        known = ", ".join(sorted(parameters)) or "none"
        raise HyperparameterError(f"hyperparameters.{unknown[0]}: {given[unknown[0]]!r} is not taken by {algorithm}; it takes: {known}")
    return {name: parameter.read(name, given[name]) if name in given else parameter.default for name, parameter in parameters.items()}
