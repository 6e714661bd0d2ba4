"""Which group a user belongs to, by what their events say: the latest value of an added field."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds


def read_groups(tables: Mapping[str, ds.Dataset], user_ids: Sequence[str], fields: Sequence[str]) -> dict[str, list[str | None]]:
    """The latest value of each field that an event of each user carried, as text; None for a user without one.

    Of several at the same time the greatest (as text) is taken, so that no order of rows matters. A field that no table has is
    unknown of everybody.

    Args:
        tables: Event types and their rows.
        user_ids: Whose values are wanted; others are passed over.
        fields: Names of added fields.
    """
    return {name: _latest([_column(table, name) for table in tables.values() if name in table.schema.names], user_ids) for name in fields}


def _column(table: ds.Dataset, name: str) -> pa.Table:
    rows = table.to_table(columns=["user_id", "timestamp", name], filter=pc.field(name).is_valid())
    columns = (pc.cast(rows["user_id"], pa.large_string()), pc.cast(rows["timestamp"], pa.int64()), pc.cast(rows[name], pa.large_string()))
    return pa.table(dict(zip(("user", "time", "value"), columns, strict=True)))


def _latest(parts: Sequence[pa.Table], user_ids: Sequence[str]) -> list[str | None]:
    found: list[str | None] = [None] * len(user_ids)
    if not parts:
        return found
    rows = pa.concat_tables(parts)
    place = pc.index_in(rows["user"], value_set=pa.array(user_ids, pa.large_string()))
    rows = rows.append_column("place", place).filter(pc.is_valid(place))
    rows = rows.sort_by([("place", "ascending"), ("time", "ascending"), ("value", "ascending")])
    places = rows["place"].to_numpy()
    last = np.flatnonzero(np.append(places[1:] != places[:-1], [True] * bool(places.size)))
    for at, value in zip(places[last].tolist(), rows["value"].take(pa.array(last)).to_pylist(), strict=True):
        found[at] = value
    return found
