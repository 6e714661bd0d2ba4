"""From the tables of a snapshot to interactions: one for each (user, item), in an order that no file order changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from ray_apps.algorithms.content import content_of
from ray_apps.algorithms.interactions import Content, Interactions
from ray_apps.algorithms.tastes import BOUNDS, LEAST_FRACTION, LEAST_RATING
from ray_apps.stores.snapshots import Snapshot
from ray_apps.training.catalogue import Described
from ray_apps.training.groups import read_groups
from ray_apps.training.refusals import Refusal, TrainingRefused
from recsys_schemas.catalogue import CatalogueUsed
from recsys_schemas.snapshot import SnapshotManifest

LEAST_ITEMS, LEAST_USERS = 2, 2

_STRENGTH = {"watch": "fraction", "rate": "rating"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Interactions, the ids that their indices stand for (sorted by UTF-8 bytes), and where they came from.

    `organic` says of each interaction whether none of its events followed an answer of ours (`request_id`): shape (interactions,).
    """

    interactions: Interactions
    organic: NDArray[np.bool_]
    user_ids: list[str]
    item_ids: list[str]
    manifest: SnapshotManifest
    catalogue: CatalogueUsed | None = None
    groups: Mapping[str, Sequence[str | None]] = field(default_factory=dict[str, list[str | None]])
    """By field of `TrainJob.group_by`: the latest value that an event of the user carried, in the order of `user_ids`."""


def read_dataset(snapshot: Snapshot, described: Described | None = None, group_by: Sequence[str] = ()) -> Dataset:
    """Read what users liked, what is known of the items, and the values of the fields `group_by` that the events carry.

    A watch counts from LEAST_FRACTION on, with the fraction as weight; a rating from LEAST_RATING on, with its share of five stars.
    Of several events of one user with one item the strongest weight and the latest time stay, so an event sent twice counts once.
    Items of the catalogue that nobody has liked yet are items too; items that it does not have are known by who liked them alone.

    Raises:
        TrainingRefused: there is too little to learn from.
    """
    parts = [liked(name, dataset.to_table(columns=columns_of(name, dataset))) for name, dataset in known(snapshot)]
    rows = pa.concat_tables(parts) if parts else None
    if rows is None or not rows.num_rows:
        raise _too_little(snapshot.manifest, 0, 0)
    users, user_ids = _encoded(rows["user_id"])
    items, item_ids = _encoded(rows["item_id"])
    if len(user_ids) < LEAST_USERS or len(item_ids) < LEAST_ITEMS:
        raise _too_little(snapshot.manifest, len(user_ids), len(item_ids))
    items, item_ids, content, used = _with_catalogue(items, item_ids, described)
    pair = users * len(item_ids) + items
    order = np.argsort(pair, kind="stable")
    pair = pair[order]
    starts = np.flatnonzero(np.concatenate(([True], pair[1:] != pair[:-1])))
    interactions = Interactions(
        users=(pair[starts] // len(item_ids)).astype(np.int32),
        items=(pair[starts] % len(item_ids)).astype(np.int32),
        weights=np.maximum.reduceat(rows["weight"].to_numpy().astype(np.float32)[order], starts),
        times=np.maximum.reduceat(rows["timestamp"].to_numpy()[order], starts),
        n_users=len(user_ids),
        n_items=len(item_ids),
        content=content,
    )
    organic = np.logical_and.reduceat(rows["organic"].to_numpy()[order], starts)
    return Dataset(
        interactions=interactions,
        organic=organic,
        user_ids=user_ids,
        item_ids=item_ids,
        manifest=snapshot.manifest,
        catalogue=used,
        groups=read_groups(dict(known(snapshot)), user_ids, group_by),
    )


def _with_catalogue(
    items: NDArray[np.int64], item_ids: list[str], described: Described | None
) -> tuple[NDArray[np.int64], list[str], Content | None, CatalogueUsed | None]:
    """Indices and ids with the catalogue's items put in their places, what is known of all, and what the card says of it."""
    if described is None or not described.items:
        return items, item_ids, None, described.used if described else None
    both = sorted({*item_ids, *(item.item_id for item in described.items)}, key=str.encode)
    position = {item: index for index, item in enumerate(both)}
    content = content_of(described.items, both)
    told = int(np.count_nonzero(np.diff(content.indptr)))
    used = described.used.model_copy(update={"described": told, "features": len(content.features)})
    moved = np.array([position[item] for item in item_ids], dtype=np.int64)
    return moved[items], both, content, used


def known(snapshot: Snapshot) -> list[tuple[str, ds.Dataset]]:
    """Event types that say what users liked, in order, with their rows."""
    return [(name, snapshot.datasets[name]) for name in sorted(snapshot.datasets) if name in _STRENGTH]


def _too_little(manifest: SnapshotManifest, users: int, items: int) -> TrainingRefused:
    return TrainingRefused(
        Refusal.INSUFFICIENT_DATA,
        f"snapshot {manifest.sequence}: of its {manifest.rows} events, {users} users liked {items} items; at least {LEAST_USERS} users and "
        f"{LEAST_ITEMS} items are needed (watches of {LEAST_FRACTION:.0%} or more, ratings of {LEAST_RATING} or more); send more events",
    )


def columns_of(event_type: str, dataset: ds.Dataset) -> list[str]:
    """The columns that `liked` takes, of those that are there."""
    wanted = ["user_id", "item_id", "timestamp", _STRENGTH[event_type], "request_id"]
    return [name for name in wanted if name in dataset.schema.names]


def liked(event_type: str, rows: pa.Table) -> pa.Table:
    """Columns user_id, item_id, timestamp (milliseconds), weight and organic, of the events that say that an item was liked."""
    least, most = BOUNDS[event_type]
    strength = pc.cast(rows[_STRENGTH[event_type]], pa.float64())
    asked = rows["request_id"] if "request_id" in rows.column_names else pa.nulls(rows.num_rows)
    columns = {
        "user_id": pc.cast(rows["user_id"], pa.large_string()),
        "item_id": pc.cast(rows["item_id"], pa.large_string()),
        "timestamp": pc.cast(rows["timestamp"], pa.int64()),
        "weight": pc.divide(strength, most),
        "organic": pc.is_null(asked),
    }
    return pa.table(columns).filter(pc.greater_equal(strength, least))


def _encoded(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    """Each value's position among the sorted different values, and those values."""
    encoded = column.combine_chunks().dictionary_encode()
    order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    return rank[encoded.indices.to_numpy()], encoded.dictionary.take(pa.array(order)).to_pylist()
