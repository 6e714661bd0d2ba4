"""From the tables of a snapshot to interactions: one for each (user, item), in an order that no file order changes."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from ray_apps.algorithms.interactions import Interactions
from ray_apps.stores.snapshots import Snapshot
from ray_apps.training.refusals import Refusal, TrainingRefused
from recsys_schemas.snapshot import SnapshotManifest

LEAST_FRACTION = 0.1
"""Less of an item watched than this says nothing of a taste."""
LEAST_RATING = 3.5
"""Stars from which a rating says that the user liked the item; lower ones are left out."""
MOST_RATING = 5.0
LEAST_ITEMS, LEAST_USERS = 2, 2

_STRENGTH = {"watch": "fraction", "rate": "rating"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Interactions, the ids that their indices stand for (sorted by UTF-8 bytes), and where they came from."""

    interactions: Interactions
    user_ids: list[str]
    item_ids: list[str]
    manifest: SnapshotManifest


def read_dataset(snapshot: Snapshot) -> Dataset:
    """Read what users liked.

    A watch counts from LEAST_FRACTION on, with the fraction as weight; a rating from LEAST_RATING on, with its share of five stars.
    Of several events of one user with one item the strongest weight and the latest time stay, so an event sent twice counts once.

    Raises:
        TrainingRefused: there is too little to learn from.
    """
    parts = [
        _liked(name, dataset.to_table(columns=["user_id", "item_id", "timestamp", _STRENGTH[name]])) for name, dataset in _known(snapshot)
    ]
    rows = pa.concat_tables(parts) if parts else None
    if rows is None or not rows.num_rows:
        raise _too_little(snapshot.manifest, 0, 0)
    users, user_ids = _encoded(rows["user_id"])
    items, item_ids = _encoded(rows["item_id"])
    if len(user_ids) < LEAST_USERS or len(item_ids) < LEAST_ITEMS:
        raise _too_little(snapshot.manifest, len(user_ids), len(item_ids))
    weights = rows["weight"].to_numpy().astype(np.float32)
    interactions = _one_each(users, items, weights, rows["timestamp"].to_numpy(), (len(user_ids), len(item_ids)))
    return Dataset(interactions=interactions, user_ids=user_ids, item_ids=item_ids, manifest=snapshot.manifest)


def _known(snapshot: Snapshot) -> list[tuple[str, ds.Dataset]]:
    return [(name, snapshot.datasets[name]) for name in sorted(snapshot.datasets) if name in _STRENGTH]


def _too_little(manifest: SnapshotManifest, users: int, items: int) -> TrainingRefused:
    return TrainingRefused(
        Refusal.INSUFFICIENT_DATA,
        f"snapshot {manifest.sequence}: of its {manifest.rows} events, {users} users liked {items} items; at least {LEAST_USERS} users and "
        f"{LEAST_ITEMS} items are needed (watches of {LEAST_FRACTION:.0%} or more, ratings of {LEAST_RATING} or more); send more events",
    )


def _liked(event_type: str, rows: pa.Table) -> pa.Table:
    """Columns user_id, item_id, timestamp (milliseconds) and weight, of the events that say that an item was liked."""
    least, most = (LEAST_FRACTION, 1.0) if event_type == "watch" else (LEAST_RATING, MOST_RATING)
    strength = pc.cast(rows[_STRENGTH[event_type]], pa.float64())
    liked = pc.greater_equal(strength, least)
    columns = {
        "user_id": pc.cast(rows["user_id"], pa.large_string()),
        "item_id": pc.cast(rows["item_id"], pa.large_string()),
        "timestamp": pc.cast(rows["timestamp"], pa.int64()),
        "weight": pc.divide(strength, most),
    }
    return pa.table(columns).filter(liked)


def _encoded(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """Each value's position among the sorted different values, and those values."""
    encoded = column.combine_chunks().dictionary_encode()
    order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    return rank[encoded.indices.to_numpy()], encoded.dictionary.take(pa.array(order)).to_pylist()


def _one_each(
    users: NDArray[np.int64], items: NDArray[np.int64], weights: NDArray[np.float32], times: NDArray[np.int64], shape: tuple[int, int]
) -> Interactions:
    """The strongest weight and the latest time of each (user, item), sorted by user, then item."""
    pair = users * shape[1] + items
    order = np.argsort(pair, kind="stable")
    pair = pair[order]
    starts = np.flatnonzero(np.concatenate(([True], pair[1:] != pair[:-1])))
    return Interactions(
        users=(pair[starts] // shape[1]).astype(np.int32),
        items=(pair[starts] % shape[1]).astype(np.int32),
        weights=np.maximum.reduceat(weights[order], starts),
        times=np.maximum.reduceat(times[order], starts),
        n_users=shape[0],
        n_items=shape[1],
    )
