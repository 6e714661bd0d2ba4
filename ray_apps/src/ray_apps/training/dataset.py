"""From the tables of a snapshot to interactions: one for each (user, item), in an order that no file order changes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ray_apps.algorithms.columns import Room
from ray_apps.algorithms.content import content_of
from ray_apps.algorithms.interactions import Content, Interactions
from ray_apps.algorithms.tastes import LEAST_FRACTION, LEAST_RATING
from ray_apps.evaluation.off_policy import LoggedAnswers
from ray_apps.stores.facets import Facets, facets_of
from ray_apps.stores.profile import profile_of
from ray_apps.stores.snapshots import Snapshot
from ray_apps.training.answers import read_answers
from ray_apps.training.catalogue import Described
from ray_apps.training.events import Catalogue, batches, catalogue_of, index_of, known
from ray_apps.training.groups import read_groups
from ray_apps.training.ordering import EVENT, Events, in_order
from ray_apps.training.refusals import Refusal, TrainingRefused
from recsys_schemas.catalogue import CatalogueUsed
from recsys_schemas.snapshot import EventProfile, SnapshotManifest

LEAST_ITEMS, LEAST_USERS = 2, 2


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
    facets: Facets | None = None
    """What may be asked of the items by name; None without a catalogue."""
    profile: EventProfile | None = None
    """Of the newest events of the snapshot."""
    groups: Mapping[str, Sequence[str | None]] = field(default_factory=dict[str, list[str | None]])
    """By field of `TrainJob.group_by`: the latest value that an event of the user carried, in the order of `user_ids`."""
    answers: LoggedAnswers | None = None
    """Answers that were logged, with what they earned; None where the snapshot has none."""


def read_dataset(  # noqa: PLR0913, PLR0917 — what a job says of its data
    snapshot: Snapshot,
    described: Described | None = None,
    group_by: Sequence[str] = (),
    attribution_s: float = 300.0,
    half_life: float | None = None,
    room: Room | None = None,
) -> Dataset:
    """Read what users liked, what is known of the items, the values of the fields `group_by` that the events carry, and logged answers.

    A watch counts from LEAST_FRACTION on, with the fraction as weight; a rating from LEAST_RATING on, with its share of five stars.
    Of several events of one user with one item the strongest weight and the latest time stay, so an event sent twice counts once.
    Items of the catalogue that nobody has liked yet are items too; items that it does not have are known by who liked them alone.
    With a `room` all that is as long as the events lies on disk.

    Raises:
        TrainingRefused: there is too little to learn from.
    """
    ids = catalogue_of(snapshot)
    user_ids, item_ids = ids.users.to_pylist(), ids.items.to_pylist()
    if len(user_ids) < LEAST_USERS or len(item_ids) < LEAST_ITEMS:
        raise _too_little(snapshot.manifest, len(user_ids), len(item_ids))
    place_of, item_ids, content, used = _with_catalogue(item_ids, described)
    entries = in_order(_indexed(snapshot, ids, place_of), len(user_ids), snapshot.manifest.rows, room)
    interactions = Interactions(
        users=entries.users,
        items=entries.items,
        weights=entries.weights,
        times=entries.times,
        n_users=len(user_ids),
        n_items=len(item_ids),
        content=content,
        half_life=half_life,
        room=room,
    )
    return Dataset(
        interactions=interactions,
        organic=entries.organic,
        user_ids=user_ids,
        item_ids=item_ids,
        manifest=snapshot.manifest,
        catalogue=used,
        facets=facets_of(described.items, item_ids) if described and described.items else None,
        profile=profile_of(snapshot),
        groups=read_groups(dict(known(snapshot)), user_ids, group_by),
        answers=read_answers(snapshot, user_ids, item_ids, attribution_s * 1000),
    )


def _indexed(snapshot: Snapshot, ids: Catalogue, place_of: NDArray[np.int32]) -> Iterator[Events]:
    """Events as numbers, a batch at a time."""
    for rows in batches(snapshot):
        events = np.empty(rows.num_rows, dtype=EVENT)
        events["user"] = index_of(rows["user_id"], ids.users)
        events["item"] = place_of[index_of(rows["item_id"], ids.items)]
        events["weight"] = rows["weight"].to_numpy()
        events["time"] = rows["timestamp"].to_numpy()
        events["organic"] = rows["organic"].to_numpy()
        yield events


def _with_catalogue(
    item_ids: list[str], described: Described | None
) -> tuple[NDArray[np.int32], list[str], Content | None, CatalogueUsed | None]:
    """Where each item stands, all ids with the catalogue's in their places, what is known of the items, and what the card says."""
    if described is None or not described.items:
        return np.arange(len(item_ids), dtype=np.int32), item_ids, None, described.used if described else None
    both = sorted({*item_ids, *(item.item_id for item in described.items)}, key=str.encode)
    position = {item: index for index, item in enumerate(both)}
    content = content_of(described.items, both)
    told = int(np.count_nonzero(np.diff(content.indptr)))
    used = described.used.model_copy(update={"described": told, "features": len(content.features)})
    return np.array([position[item] for item in item_ids], dtype=np.int32), both, content, used


def _too_little(manifest: SnapshotManifest, users: int, items: int) -> TrainingRefused:
    return TrainingRefused(
        Refusal.INSUFFICIENT_DATA,
        f"snapshot {manifest.sequence}: of its {manifest.rows} events, {users} users liked {items} items; at least {LEAST_USERS} users and "
        f"{LEAST_ITEMS} items are needed (watches of {LEAST_FRACTION:.0%} or more, ratings of {LEAST_RATING} or more); send more events",
    )
