"""What may stand in a slot of a form: the rules of an event's fields, and how numbers are read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ray_apps.ingest.texts import MOST_BYTES, Mask

MOST_DIGITS = 18
"""An integer of so many digits fits 64 bits."""
MOST_OF_A_FRACTION = 24
"""Characters of a number with a dot: the shortest text of any fraction between 0.001 and 1 has fewer."""
_ZERO, _DOT, _DIGITS = ord("0"), ord("."), 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a field must fit."""

    kind: type
    """str, int, float or bool."""
    nullable: bool
    default: Any
    """What an absent one is; not looked at where the field is required."""
    least_length: int = 0
    most_length: int = MOST_BYTES
    """Characters of a text; its bytes are at least as many, so that at most as many bytes fit, too."""
    least: float | None = None
    most: float | None = None


def rules_of(struct: type[msgspec.Struct]) -> Mapping[str, Rule]:
    """Rules of the fields of a compiled schema; one that is not understood here is left out, and so are all forms with its field."""
    found: dict[str, Rule] = {}
    for field in msgspec.structs.fields(struct):
        kind = msgspec.inspect.type_info(field.type)
        choices = kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)
        plain = [each for each in choices if not isinstance(each, msgspec.inspect.NoneType)]
        bounds = _bounds(plain[0]) if len(plain) == 1 else None
        if bounds is not None:
            found[field.name] = Rule(**bounds, nullable=len(plain) < len(choices), default=field.default)
    return found


def _bounds(kind: msgspec.inspect.Type) -> dict[str, Any] | None:
    match kind:
        case msgspec.inspect.StrType(min_length=least, max_length=most, pattern=None) if (least or 0) <= 1:
            # No more than one: of a longer text, a least length in characters says nothing about bytes.
            return {"kind": str, "least_length": least or 0, "most_length": min(MOST_BYTES if most is None else most, MOST_BYTES)}
        case msgspec.inspect.IntType(gt=None, ge=least, lt=None, le=most, multiple_of=None):
            return {"kind": int, "least": least, "most": most}
        case msgspec.inspect.FloatType(gt=None, ge=least, lt=None, le=most, multiple_of=None):
            return {"kind": float, "least": least, "most": most}
        case msgspec.inspect.BoolType():
            return {"kind": bool}
        case _:
            return None


def well_formed(tokens: pa.Array, *, whole: bool) -> Mask:
    """Which texts are numbers as JSON writes them, with digits and, unless they must be whole, at most one dot.

    Args:
        tokens: at least one character each, as strings.
        whole: no dot.
    """
    _, bounds, data = tokens.buffers()
    offsets = np.frombuffer(bounds, np.int32)[tokens.offset : tokens.offset + len(tokens) + 1]
    characters = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
    offsets = offsets - offsets[0]
    digits = (characters - _ZERO) < _DIGITS  # what stands before "0" wraps round to the far end
    first, last = offsets[:-1], offsets[1:] - 1
    second_or_first = np.minimum(first + 1, last)
    # "0" alone, or "0." with what follows; else a number begins with another digit.
    good: Mask = digits[first] & digits[last] & ((characters[first] != _ZERO) | (first == last) | ~digits[second_or_first])
    if not digits.all():
        dots = characters == _DOT
        good &= np.add.reduceat(~digits, first, dtype=np.int32) == np.add.reduceat(dots, first, dtype=np.int32)
        good &= np.add.reduceat(dots, first, dtype=np.int32) <= (0 if whole else 1)
    return good


def read_number(tokens: pa.Array, rule: Rule) -> tuple[pa.Array, Mask]:
    """Read well-formed numbers; also returns which of them fit the rule's bounds."""
    read = pc.cast(tokens, pa.int64() if rule.kind is int else pa.float64())
    numbers: NDArray[Any] = read.to_numpy()
    fitting = np.ones(len(read), np.bool_)
    if rule.least is not None:
        fitting &= numbers >= rule.least
    if rule.most is not None:
        fitting &= numbers <= rule.most
    return read, fitting
