"""What the values of one producer have in common: their text, but for a few slots. Values of a known form are read by the thousand.

A form is learned from a value that the exact judge (see `quality.py`) has accepted. A value is of that form when its text is the
same byte by byte outside of the slots, and each slot holds what it did there: a string without quotation marks, backslashes
and control characters, or a number in digits. So it is JSON, of the same names in the same order, and only its bounds are left to be
looked at, which is done for all values at once. Whatever is of no known form goes to the exact judge: a form can only say yes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ray_apps.ingest.slots import MOST_DIGITS, MOST_OF_A_FRACTION, Rule, read_number, well_formed
from ray_apps.ingest.texts import MOST_BYTES, Mask, Places, Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What may differ from value to value."""

    before: bytes
    """The text since the slot before, or since the value's beginning."""
    rule: Rule | None
    """What it must fit; None for a name that the schema does not know: then it is only looked at whether it is JSON."""
    is_number: bool
    quote: int | None
    """Which quotation mark of the value is the next one behind the slot; None: there is none."""
    distance: int
    """Bytes from the slot's end to that mark; to the value's end where there is none."""

    @property
    def sizes(self) -> tuple[int, int]:
        """Least and greatest length in bytes."""
        if self.is_number:
            return 1, MOST_DIGITS if self.rule is not None and self.rule.kind is int else MOST_OF_A_FRACTION
        return (self.rule.least_length, self.rule.most_length) if self.rule else (0, MOST_BYTES)

    def ends(self, texts: Texts, rows: Places) -> Places:
        """Where the slot ends in each of some values."""
        return (texts.ends[rows] if self.quote is None else texts.quotes[texts.first[rows] + self.quote]) - self.distance


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The text of a value with slots in it."""

    schema: pa.Schema
    slots: Sequence[Slot]
    last: bytes
    """The text behind the last slot."""
    quotes: int
    """Quotation marks in a value."""
    columns: Mapping[str, int]
    """By column, which slot it is read from."""
    constants: Mapping[str, Any]
    """By each other column, what it is in all values of this form."""

    def read(self, texts: Texts, rows: Places) -> tuple[Places, pa.RecordBatch]:
        """Read those values that are of this form.

        Args:
            texts: values.
            rows: which of them to look at, ascending.

        Returns:
            Which of these are of this form and in their bounds, and their columns.
        """
        rows = rows[texts.plain[rows] & (texts.count[rows] == self.quotes)]
        rows, spans = self._spans(texts, rows)
        tokens = _cut(texts, spans) if len(rows) else []
        good = np.ones(len(rows), np.bool_)
        for slot, column in zip(self.slots, tokens, strict=bool(tokens)):
            if slot.is_number:
                good &= well_formed(column, whole=slot.rule is not None and slot.rule.kind is int)
        rows, tokens = _kept(rows, tokens, good)
        good = np.ones(len(rows), np.bool_)
        for number, slot in enumerate(self.slots):
            if slot.is_number and slot.rule is not None and tokens:
                tokens[number], fitting = read_number(tokens[number], slot.rule)
                good &= fitting
        rows, tokens = _kept(rows, tokens, good)
        return rows, pa.RecordBatch.from_arrays([self._column(field, tokens, len(rows)) for field in self.schema], schema=self.schema)

    def _spans(self, texts: Texts, rows: Places) -> tuple[Places, list[Places]]:
        """Which values have this form's text around their slots, and the begin and end of each slot, one after another."""
        spans: list[Places] = []
        at = texts.begins[rows]
        for slot in self.slots:
            begins, ends = at + len(slot.before), slot.ends(texts, rows)
            least, most = slot.sizes
            here = texts.holds(slot.before, at) & (ends - begins >= least) & (ends - begins <= most)
            spans += [begins, ends]
            if not here.all():
                rows, ends, spans = rows[here], ends[here], [span[here] for span in spans]
            at = ends
        here = texts.holds(self.last, at) & (at + len(self.last) == texts.ends[rows])
        return (rows, spans) if here.all() else (rows[here], [span[here] for span in spans])

    def _column(self, field: pa.Field, tokens: Sequence[pa.Array], count: int) -> pa.Array:
        if field.name in self.columns and tokens:
            return tokens[self.columns[field.name]]
        value = self.constants.get(field.name)
        return pa.nulls(count, field.type) if value is None else pa.repeat(pa.scalar(value, field.type), count)


def _cut(texts: Texts, spans: Sequence[Places]) -> list[pa.Array]:
    """Cut what stands between each begin and end out of the text: a column of strings for each pair."""
    count, width = len(spans[0]), len(spans)
    bounds = np.empty((count, width), np.int32)
    for number, span in enumerate(spans):
        bounds[:, number] = span
    # Every other string of these is a slot, and between them lies what separates it from the next one.
    pieces = pa.StringArray.from_buffers(bounds.size - 1, pa.py_buffer(bounds), pa.py_buffer(texts.data))
    wanted = np.arange(0, bounds.size, width)[None, :] + np.arange(0, width, 2)[:, None]
    columns = pieces.take(pa.array(wanted.ravel()))
    return [columns.slice(begin, count) for begin in range(0, len(columns), count)]


def _kept(rows: Places, tokens: list[pa.Array], good: Mask) -> tuple[Places, list[pa.Array]]:
    if good.all():
        return rows, tokens
    mask = pa.array(good)
    return rows[good], [column.filter(mask) for column in tokens]
