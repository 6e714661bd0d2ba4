"""Answers that were logged, joined with what they earned: what off-policy estimates stand on.

The table `responses` holds answers as `ResponseEvent` has them, with the list as a list of structs. An answer earned a reward at a
place when an event that says that its user liked the item carries its `request_id`, and came within the attribution time. Answers that
were younger than that when the snapshot was made could still be rewarded: they are left out.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from ray_apps.evaluation.off_policy import LoggedAnswers
from ray_apps.stores.snapshots import Snapshot
from ray_apps.training.events import prompted
from recsys_schemas.event_fields import RESPONSES

TABLE = RESPONSES
MOST_ANSWERS = 100_000
"""Of more, the newest are read (and those of the same moment as the last of them)."""
_COLUMNS = ("request_id", "user_id", "timestamp", "items")


def read_answers(snapshot: Snapshot, user_ids: Sequence[str], item_ids: Sequence[str], attribution_ms: float) -> LoggedAnswers | None:
    """The newest answers of a snapshot, one round for each place whose propensity was recorded.

    An answer that was logged twice counts once. Memory: MOST_ANSWERS answers, and the events since the oldest of them that name one.

    Args:
        snapshot: With a table `responses`, or without.
        user_ids: Users of the catalogue; others get numbers beyond it.
        item_ids: Items of the catalogue; others are -1.
        attribution_ms: An event rewards an answer that is at most so much older.

    Returns:
        The rounds; None where the snapshot has no such table, or an empty one.
    """
    dataset = snapshot.datasets.get(TABLE)
    if dataset is None or any(name not in dataset.schema.names for name in _COLUMNS):
        return None
    answers = _newest(dataset, _known_until(snapshot) - attribution_ms)
    if not answers.num_rows:
        return None
    rewarded = _in_time(answers, prompted(snapshot, int(pc.min(answers["timestamp"]).as_py() - attribution_ms)), attribution_ms)
    parents, places, listed = _places(answers)
    recorded = ~np.isnan(listed["propensity"])
    parents, places, items = parents[recorded], places[recorded], _positions(listed["item_id"], item_ids)[recorded]
    request = pc.index_in(rewarded["request_id"], value_set=answers["request_id"].combine_chunks())
    earned = _keys(_filled(request), _positions(rewarded["item_id"], item_ids), len(item_ids))
    return LoggedAnswers(
        users=_users(answers["user_id"], user_ids)[parents],
        items=items,
        places=places,
        propensities=listed["propensity"][recorded],
        rewards=np.isin(_keys(parents, items, len(item_ids)), earned[earned >= 0]).astype(np.float64),
        times=answers["timestamp"].to_numpy()[parents],
    )


def _known_until(snapshot: Snapshot) -> float:
    """Broker time of the newest record, milliseconds: what was done by then is in the snapshot."""
    manifest = snapshot.manifest
    return (manifest.newest_event_at or manifest.committed_at).timestamp() * 1000


def _newest(dataset: ds.Dataset, until: float) -> pa.Table:
    """The newest answers that are not younger than a time, each once, by time and request: columns as in the table."""
    times = np.sort(dataset.to_table(columns=["timestamp"], filter=pc.field("timestamp") <= until)["timestamp"].to_numpy())
    since = int(times[-min(MOST_ANSWERS, times.size)]) if times.size else 0
    rows = dataset.to_table(columns=list(_COLUMNS), filter=(pc.field("timestamp") >= since) & (pc.field("timestamp") <= until))
    rows = rows.set_column(0, "request_id", pc.cast(rows["request_id"], pa.large_string()))
    rows = rows.set_column(1, "user_id", pc.cast(rows["user_id"], pa.large_string()))
    rows = rows.take(pc.sort_indices(rows, [("request_id", "ascending"), ("timestamp", "ascending")]))
    requests = rows["request_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    return rows.take(pa.array(np.flatnonzero(np.append([True] * bool(requests.size), requests[1:] != requests[:-1]))))


def _in_time(answers: pa.Table, events: pa.Table, attribution_ms: float) -> pa.Table:
    """The events that came within the attribution time of the answer that they name; an event's clock may be a little behind."""
    of = pc.index_in(events["request_id"], value_set=answers["request_id"].combine_chunks())
    late = pc.subtract(events["timestamp"], answers["timestamp"].take(of))
    return events.filter(pc.fill_null(pc.less_equal(late, int(attribution_ms)), fill_value=False))


def _places(answers: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, NDArray[np.float64] | pa.Array]]:
    """Which answer each place belongs to, its number from 0, and its item and propensity (NaN where none was recorded)."""
    lists = answers["items"].combine_chunks()
    parents = pc.list_parent_indices(lists).to_numpy().astype(np.int64)
    flat = pc.list_flatten(lists)
    starts = np.flatnonzero(np.append([True] * bool(parents.size), parents[1:] != parents[:-1]))
    places = np.arange(parents.size) - np.repeat(starts, np.diff(np.append(starts, parents.size)))
    names = {flat.type.field(number).name for number in range(flat.type.num_fields)}
    told = pc.struct_field(flat, "propensity") if "propensity" in names else pa.nulls(len(flat), pa.float64())
    propensity = pc.cast(told, pa.float64()).to_numpy(zero_copy_only=False)
    propensity = np.where((propensity > 0) & (propensity <= 1), propensity, np.nan)
    return parents, places, {"item_id": pc.struct_field(flat, "item_id"), "propensity": propensity}


def _filled(positions: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    return pc.fill_null(positions, -1).to_numpy().astype(np.int64)


def _positions(column: pa.Array | pa.ChunkedArray, ids: Sequence[str]) -> NDArray[np.int64]:
    """Where each value stands among the ids, -1 where it does not."""
    return _filled(pc.index_in(pc.cast(column, pa.large_string()), value_set=pa.array(ids, pa.large_string())))


def _users(column: pa.ChunkedArray, user_ids: Sequence[str]) -> NDArray[np.int64]:
    places = _positions(column, user_ids)
    strangers = pc.unique(column.filter(pa.array(places < 0)))
    return np.where(places < 0, len(user_ids) + _positions(column, strangers.to_pylist()), places)


def _keys(answers: NDArray[np.int64], items: NDArray[np.int64], n_items: int) -> NDArray[np.int64]:
    """One number for each pair, -1 where one of the two is unknown."""
    return np.where((answers < 0) | (items < 0), -1, answers * n_items + items)
