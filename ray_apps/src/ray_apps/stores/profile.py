"""Which items the newest events of a snapshot speak of, in a few numbers."""

import zlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from ray_apps.stores.snapshots import Snapshot
from recsys_schemas.snapshot import PROFILE_BUCKETS, PROFILE_EVENTS, EventProfile

_COLUMNS = ["item_id", "timestamp"]


def profile_of(snapshot: Snapshot) -> EventProfile | None:
    """Count the newest events by their items, reading the newest files only; None when there are no events.

    Two snapshots of the same events have the same profile, however their files are cut: what shares the time of the last event counted
    is counted too.
    """
    # Logged answers name several items in one row: they are no events of an item.
    tables = [table for _, table in sorted(snapshot.datasets.items()) if set(_COLUMNS) <= set(table.schema.names)]
    parts = [rows for table in tables for rows in _newest(table)]
    rows = pa.concat_tables(parts) if parts else None
    if rows is None or not rows.num_rows:
        return None
    times = rows["timestamp"].to_numpy()
    oldest = np.partition(times, max(0, times.size - PROFILE_EVENTS))[max(0, times.size - PROFILE_EVENTS)]
    counted = pc.value_counts(rows["item_id"].filter(pa.array(times >= oldest)))
    buckets = [0] * PROFILE_BUCKETS
    for item, count in zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True):
        buckets[zlib.crc32(item.encode()) % PROFILE_BUCKETS] += count
    return EventProfile(sequence=snapshot.manifest.sequence, events=sum(buckets), buckets=buckets)


def _newest(dataset: ds.Dataset) -> Iterator[pa.Table]:
    """Items and times of at least the PROFILE_EVENTS newest events, from the files that may hold them."""
    fragments = sorted(
        ((*_span(fragment), fragment) for fragment in dataset.get_fragments()), key=lambda each: (each[1], each[0]), reverse=True
    )
    times: list[np.ndarray] = []
    for _, latest, fragment in fragments:
        known = np.concatenate(times) if times else np.empty(0, dtype=np.int64)
        if known.size >= PROFILE_EVENTS and latest < np.partition(known, known.size - PROFILE_EVENTS)[known.size - PROFILE_EVENTS]:
            return
        rows = fragment.to_table(columns=_COLUMNS)
        rows = pa.table({"item_id": pc.cast(rows["item_id"], pa.large_string()), "timestamp": pc.cast(rows["timestamp"], pa.int64())})
        times.append(rows["timestamp"].to_numpy())
        yield rows


def _span(fragment: ds.Fragment) -> tuple[int, int]:
    """The least and the greatest time in a file, by its own statistics; everything, when it has none."""
    if not isinstance(fragment, ds.ParquetFileFragment):
        return 0, np.iinfo(np.int64).max
    metadata = fragment.metadata
    place = metadata.schema.names.index("timestamp")
    found = [metadata.row_group(group).column(place).statistics for group in range(metadata.num_row_groups)]
    if not found or any(each is None or not each.has_min_max for each in found):
        return 0, np.iinfo(np.int64).max
    return min(int(each.min) for each in found), max(int(each.max) for each in found)
