"""Records become chunks: rows in columns, and letters for what is no event. Values only, no I/O.

The values of all partitions of an event type are read at once (see `Bulk`); what stands before an event matters within its partition only.
"""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from isal.isal_zlib import crc32
from pydantic import BaseModel

from ray_apps.ingest.bulk import Bulk
from ray_apps.ingest.columns import event_columns, id_column
from ray_apps.ingest.grounds import Grounds
from ray_apps.ingest.quality import Fault, Judge, dead_letter, repeated, unknown_item, without
from ray_apps.ingest.runs import Record, Run, runs_of
from ray_apps.stores.snapshots import RECORD_COLUMNS, TopicPartition
from recsys_schemas.events import DeadLetter


@dataclass(slots=True, kw_only=True)
class Chunk:
    """Judged records, as they came from one poll."""

    rows: dict[str, pa.RecordBatch]
    """Rows by event type, columns as in the event type's table."""
    letters: list[DeadLetter]
    next_offsets: dict[TopicPartition, int]
    newest_ms: dict[str, int]
    """Newest record timestamp by event type, refused records included."""
    records: int
    size: int
    """Bytes of the raw values."""


class _Known(NamedTuple):
    """What is known of a run before its values are read."""

    run: Run
    values: Sequence[bytes | None]
    letters: list[DeadLetter]


class _Read(NamedTuple):
    """The events of a run, each with its record, and letters so far."""

    run: Run
    events: pa.RecordBatch
    letters: list[DeadLetter]


class Judging:
    """Judges records of several topics, each by its event type."""

    def __init__(self, event_types: Mapping[str, str], grounds: Grounds | None = None) -> None:
        """Take the event type of each topic, and what the verdicts depend on beside the records."""
        self._grounds = grounds or Grounds()
        self._tables = {event_type: _Table(event_type, self._grounds.events[event_type]) for event_type in event_types.values()}
        self._topics = {topic: self._tables[event_type] for topic, event_type in event_types.items()}

    def chunk(self, records: Sequence[Record], positions: Mapping[TopicPartition, int]) -> Chunk:
        """Judge records in the order in which they were read; rows of one partition stay in order.

        Raises:
            OutOfOrderError: a record stands before the position of its partition.
        """
        runs = runs_of(records, positions)
        ends = {partition: int(run.offsets[-1]) + 1 for partition, run in runs.items()}
        by_table: dict[str, dict[TopicPartition, Run]] = {}
        for place, run in runs.items():
            by_table.setdefault(self._topics[place[0]].event_type, {})[place] = run
        read: dict[TopicPartition, _Read] = {}
        for event_type, some in by_table.items():
            read |= self._tables[event_type].read(some, self._grounds)
        letters: list[DeadLetter] = []
        rows: dict[str, list[pa.RecordBatch]] = {}
        for place in runs:
            table = self._topics[place[0]]
            batch = table.judge(place, read[place], self._grounds)
            letters += read[place].letters
            if batch is not None:
                rows.setdefault(table.event_type, []).append(batch)
        newest = {event_type: max(int(run.timestamps.max()) for run in some.values()) for event_type, some in by_table.items()}
        size = sum(sum(map(len, filter(None, run.values))) for run in runs.values())
        made = {event_type: pa.concat_batches(batches) for event_type, batches in rows.items()}
        newest = {event_type: at for event_type, at in newest.items() if at >= 0}
        self._grounds.duplicates.forget(ends)
        return Chunk(rows=made, letters=letters, next_offsets=ends, newest_ms=newest, records=len(records), size=size)


class _Table:
    """Records of one event type."""

    def __init__(self, event_type: str, event: type[BaseModel]) -> None:
        self.event_type = event_type
        self._bulk = Bulk(Judge(event))
        self._schema = pa.schema([*event_columns(event), *RECORD_COLUMNS])
        self._id = id_column(event)
        self._of_an_item = "item_id" in event.model_fields

    def read(self, runs: Mapping[TopicPartition, Run], grounds: Grounds) -> dict[TopicPartition, _Read]:
        """Read the values of several partitions, all at once."""
        known = {place: _known(place, run, grounds) for place, run in runs.items()}
        keys = list(chain.from_iterable(each.run.keys for each in known.values()))
        values = list(chain.from_iterable(each.values for each in known.values()))
        events, faults = self._bulk.read(keys, values, np.concatenate([each.run.timestamps for each in known.values()]))
        broken = sorted(faults)
        found: dict[TopicPartition, _Read] = {}
        begin = row = 0
        for place, (run, _, letters) in known.items():
            end = begin + len(run.values)
            here = {index - begin: faults[index] for index in broken[bisect_left(broken, begin) : bisect_left(broken, end)]}
            rows = len(run.values) - len(here)
            found[place] = _Read(run.without(here), events.slice(row, rows), letters + _letters(place, run, here))
            begin, row = end, row + rows
        return found

    def judge(self, where: TopicPartition, read: _Read, grounds: Grounds) -> pa.RecordBatch | None:
        """Rows of the events that nothing else speaks against, None when there is none; letters of the others are added to those."""
        run, events = read.run, read.events
        if grounds.items is not None and self._of_an_item:
            items = events["item_id"]
            strange = set(items.unique().to_pylist()) - grounds.items
            unknown = {index: unknown_item(each) for index, each in enumerate(items.to_pylist()) if each in strange} if strange else {}
            read.letters.extend(_letters(where, run, unknown))
            events, run = _rows_without(events, unknown), run.without(unknown)
        ids = events[self._id]
        again = grounds.duplicates.repeats(where, ids, run.offsets)
        repeats = {index: repeated(self._id, ids[index].as_py(), first) for index, first in again.items()}
        read.letters.extend(_letters(where, run, repeats))
        events, run = _rows_without(events, repeats), run.without(repeats)
        return self._rows(*where, run, events) if events.num_rows else None

    def _rows(self, topic: str, partition: int, run: Run, events: pa.RecordBatch) -> pa.RecordBatch:
        count = events.num_rows
        columns = [
            *events.columns,
            pa.repeat(pa.scalar(topic, RECORD_COLUMNS.field(0).type), count),
            pa.repeat(pa.scalar(partition, RECORD_COLUMNS.field(1).type), count),
            pa.array(run.offsets),
            pa.array(run.timestamps),
            pa.array(np.fromiter(map(crc32, run.values), np.int64, count)),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)


def _known(where: TopicPartition, run: Run, grounds: Grounds) -> _Known:
    """Records of a run that are to be read, their values out of their frames, and letters of the others."""
    aside = grounds.aside
    written = {index: aside[*where, at] for index, at in enumerate(run.offsets.tolist()) if (*where, at) in aside} if aside else {}
    letters = list(written.values())
    run = run.without(written)
    if grounds.framing is None:
        return _Known(run, run.values, letters)
    values, unframed = grounds.framing.values(run.values)
    return _Known(run.without(unframed), without(values, unframed), letters + _letters(where, run, unframed))


def _letters(where: TopicPartition, run: Run, faults: Mapping[int, Fault]) -> list[DeadLetter]:
    """Letters of the records of a run that have a fault."""
    if not faults:
        return []
    offsets, times = run.offsets.tolist(), run.timestamps.tolist()
    return [dead_letter((*where, offsets[index], times[index]), run.values[index], fault) for index, fault in faults.items()]


def _rows_without(events: pa.RecordBatch, places: Collection[int]) -> pa.RecordBatch:
    if not places:
        return events
    wanted = np.ones(events.num_rows, np.bool_)
    wanted[list(places)] = False
    return events.filter(pa.array(wanted))
