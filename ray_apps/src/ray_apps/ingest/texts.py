"""The values of many records as one text, with where each of them and each of its quotation marks stands."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Places = Numbers
"""Places of values in their sequence, or of bytes in the text."""
Mask = NDArray[np.bool_]
MOST_BYTES = 2048
"""A longer value is left out: it is judged by itself."""
_QUOTE, _FIRST_PRINTABLE, _FIRST_NOT_ASCII = 0x22, 0x20, 0x80
_WORD = 8
_MARGIN = b" " * (MOST_BYTES + _WORD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Values that follow on one another, and a margin so that what is looked at behind the last one is there."""

    data: bytes
    begins: Places
    ends: Places
    quotes: Places
    """Where quotation marks stand, ascending."""
    first: Places
    """By value, how many of these stand before it."""
    count: Places
    """By value, how many stand in it."""
    plain: Mask
    """By value, whether it is UTF-8 without a control character (DEL is one) or a backslash: then each mark begins or ends a string."""
    _words: NDArray[np.uint64]

    @classmethod
    def of(cls, values: Sequence[bytes | None]) -> "Texts":
        """Join values; those that are missing or too long are empty here."""
        sizes = np.fromiter(map(len, values), np.int64, len(values)) if None not in values else None  # pyright: ignore[reportArgumentType]
        if sizes is None or sizes.max(initial=0) > MOST_BYTES:
            values = [value if value is not None and len(value) <= MOST_BYTES else b"" for value in values]
            sizes = np.fromiter(map(len, values), np.int64, len(values))
        data = b"".join([*values, _MARGIN])  # pyright: ignore[reportCallIssue, reportArgumentType] (none is None now)
        bounds = np.zeros(len(values) + 1, np.int64)
        np.cumsum(sizes, out=bounds[1:])
        characters = np.frombuffer(data, np.uint8)
        quotes = np.flatnonzero(characters == _QUOTE)
        first = np.searchsorted(quotes, bounds)
        return cls(
            data=data,
            begins=bounds[:-1],
            ends=bounds[1:],
            quotes=quotes,
            first=first[:-1],
            count=np.diff(first),
            plain=_plain(data, characters, bounds),
            # The eight bytes from each place on.
            _words=np.ndarray((len(data) - _WORD + 1,), "<u8", data, 0, (1,)),
        )

    def holds(self, words: bytes, at: Places) -> Mask:
        """By place, at most the last value's end, whether these words stand there; they are no longer than a value may be."""
        found = np.ones(len(at), np.bool_)
        for begin in range(0, len(words), _WORD):
            # The last eight again where fewer are left; where there are no eight at all, those that there are.
            start = max(min(begin, len(words) - _WORD), 0)
            part = words[start : start + _WORD]
            seen = self._words[at + start]
            if len(part) < _WORD:
                seen &= np.uint64((1 << 8 * len(part)) - 1)
            found &= seen == np.uint64(int.from_bytes(part, "little"))
        return found


def _plain(data: bytes, characters: NDArray[np.uint8], bounds: Places) -> Mask:
    plain = np.ones(len(bounds) - 1, np.bool_)
    if characters.min() < _FIRST_PRINTABLE or b"\\" in data or b"\x7f" in data:
        odd = (characters < _FIRST_PRINTABLE) | (characters == ord("\\")) | (characters == ord("\x7f"))
        plain[_values_of(odd, bounds)] = False
    if not (data.isascii() or _is_utf_8(data)):
        plain[_values_of(characters >= _FIRST_NOT_ASCII, bounds)] = False
    return plain


def _values_of(marked: Mask, bounds: Places) -> Places:
    """In which values the marked bytes stand."""
    return np.searchsorted(bounds, np.flatnonzero(marked), side="right") - 1


def _is_utf_8(data: bytes) -> bool:
    """Whether all values together are UTF-8. A value that begins and ends in ASCII is so then, too."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
