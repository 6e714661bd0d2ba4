"""Records are judged by the thousand: those of a known form all at once, and what is left by the exact judge, one by one.

Both say the same of every record that the first says anything of (see `forms.py`); a property test holds that. So it does not
matter to a verdict which forms are known, and nothing of them outlives the process.
"""

from collections.abc import Sequence
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_apps.ingest.columns import column_of, event_columns
from ray_apps.ingest.forms import Form
from ray_apps.ingest.learning import learn
from ray_apps.ingest.quality import MAX_AHEAD_MS, Fault, Judge
from ray_apps.ingest.slots import rules_of
from ray_apps.ingest.texts import Numbers, Places, Texts

_AT_ONCE = 4096
"""Bounds the text that is looked at at once, and the quotation marks in it."""
_FEW = 64
"""So few records are judged one by one in less time."""
_MOST_FORMS = 16
_TRIES = 3
"""Values that are looked at for another form, each time that many are of none."""
_REST = 50
"""How many times the forms are left alone after they fitted less than half of the values."""


class Bulk:
    """Reads the records of one event type. Not thread-safe."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._schema = event_columns(judge.event)
        self._rules = rules_of(judge.struct) if judge.struct else {}
        self._forms: list[Form] = []
        self._rest = 0

    def read(
        self, keys: Sequence[bytes | None], values: Sequence[bytes | None], timestamps: Numbers
    ) -> tuple[pa.RecordBatch, dict[int, Fault]]:
        """Return the columns of those records that are events, in their order, and the faults of the others by their place.

        Args:
            keys: raw keys of records.
            values: as many raw values.
            timestamps: as many record timestamps, milliseconds.
        """
        parts: list[pa.RecordBatch] = []
        faults: dict[int, Fault] = {}
        for begin in range(0, len(values), _AT_ONCE):
            piece = slice(begin, begin + _AT_ONCE)
            part, found = self._read(keys[piece], values[piece], timestamps[piece])
            parts.append(part)
            faults |= {begin + place: fault for place, fault in found.items()}
        return (parts[0] if len(parts) == 1 else pa.concat_batches(parts)) if parts else self._columns([]), faults

    def _read(
        self, keys: Sequence[bytes | None], values: Sequence[bytes | None], timestamps: Numbers
    ) -> tuple[pa.RecordBatch, dict[int, Fault]]:
        left = np.arange(len(values))
        places, parts = list[Places](), list[pa.RecordBatch]()
        if self._rules and len(values) >= _FEW and not self._resting():
            for rows, part in self._by_form(values):
                there, good = _fitting(part, rows, keys, timestamps)
                places.append(there)
                parts.append(good)
            known = np.concatenate(places) if places else left[:0]
            left = np.delete(left, known)
            self._rest = _REST if len(left) * 2 > len(values) else 0
        some = left.tolist()
        judged = self._judge.read_all([keys[at] for at in some], [values[at] for at in some], timestamps[left].tolist())
        faults = {at: each for at, each in zip(some, judged, strict=True) if isinstance(each, Fault)}
        if len(faults) < len(some):
            places.append(np.array([at for at in some if at not in faults], np.int64))
            parts.append(self._columns([each for each in judged if not isinstance(each, Fault)]))
        return self._in_order(places, parts), faults

    def _resting(self) -> bool:
        self._rest = max(self._rest - 1, 0)
        return self._rest > 0

    def _by_form(self, values: Sequence[bytes | None]) -> list[tuple[Places, pa.RecordBatch]]:
        """Read values of known forms; learn others meanwhile."""
        texts = Texts.of(values)
        left = np.arange(len(values))
        found: list[tuple[Places, pa.RecordBatch]] = []
        for form in self._forms:
            left = _taken(form, texts, left, found)
        for number in range(_TRIES):
            if len(left) < _FEW:
                break
            place = int(left[len(left) * (number + 1) // (_TRIES + 1)])  # here and there: the first may be of a kind that is rare
            form = self._learn(values[place]) if texts.plain[place] else None
            if form is not None:
                self._forms = [form, *self._forms[: _MOST_FORMS - 1]]
                left = _taken(form, texts, left, found)
        return found

    def _learn(self, value: bytes | None) -> Form | None:
        return learn(value, self._rules, self._schema) if value and self._judge.accepts(value) else None

    def _columns(self, events: Sequence[Any]) -> pa.RecordBatch:
        columns = [column_of(list(map(attrgetter(column.name), events)), column.type) for column in self._schema]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _in_order(self, places: Sequence[Places], parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
        """Rows of several parts in the order of their places."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return self._columns([])
        return pa.concat_batches(parts).take(pa.array(np.argsort(np.concatenate(places), kind="stable")))


def _taken(form: Form, texts: Texts, left: Places, found: list[tuple[Places, pa.RecordBatch]]) -> Places:
    """Read values of a form, and return the places that are left."""
    if not len(left):
        return left
    rows, part = form.read(texts, left)
    if not len(rows):
        return left
    found.append((rows, part))
    return np.setdiff1d(left, rows, assume_unique=True)


def _fitting(part: pa.RecordBatch, rows: Places, keys: Sequence[bytes | None], timestamps: Numbers) -> tuple[Places, pa.RecordBatch]:
    """Keep the events that fit the records that they came in."""
    whole = len(rows) == len(keys)
    keys_of = keys if whole else itemgetter(*rows.tolist())(keys) if len(rows) > 1 else [keys[int(rows[0])]]
    sent = pa.array(keys_of, pa.binary())
    times = timestamps[rows]
    users = part["user_id"].cast(pa.binary())
    soon = (part["timestamp"].to_numpy() - times <= MAX_AHEAD_MS) | (times < 0)
    if soon.all() and users.equals(sent):
        return rows, part
    good = soon & np.array(pc.call_function("equal", [users, sent]).fill_null(False), np.bool_)
    return rows[good], part.filter(pa.array(good))
