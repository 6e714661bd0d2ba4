"""Interactions to measure on: any of MovieLens' layouts, or users with planted tastes."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyarrow import csv

from ray_apps.algorithms.interactions import Histories, Interactions
from ray_apps.algorithms.tastes import LEAST_RATING, MOST_RATING
from ray_apps.evaluation.splits import Split
from unit.ray_apps.training import planted

COLUMNS = ("userId", "movieId", "rating", "timestamp")
LAYOUTS = ("ratings.csv", "ratings.dat")
"""Of ml-latest, ml-20m and ml-25m; and of ml-1m and ml-10m, with `::` between the columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratings:
    """What was rated, in any order; times in milliseconds."""

    name: str
    users: NDArray[np.integer]
    items: NDArray[np.integer]
    ratings: NDArray[np.floating]
    times: NDArray[np.int64]


def read(folder: Path | None) -> Ratings:
    """Ratings of a folder; without one, the watches of 2,000 users with planted tastes, each as good as five stars."""
    if folder is None:
        rows = planted.tastes(users=2000, items=1000, events=40)
        codes = [np.unique(rows[name].to_numpy(zero_copy_only=False), return_inverse=True)[1] for name in ("user_id", "item_id")]
        return Ratings(
            name="planted tastes", users=codes[0], items=codes[1], ratings=np.full(rows.num_rows, 5.0), times=rows["timestamp"].to_numpy()
        )
    file = next((folder / name for name in LAYOUTS if (folder / name).exists()), None)
    if file is None:
        raise SystemExit(f"DATA: {folder} has neither {' nor '.join(LAYOUTS)}; give a folder in one of MovieLens' layouts")
    if file.suffix == ".csv":
        rows = csv.read_csv(file)
    else:
        rows = csv.read_csv(BytesIO(file.read_bytes().replace(b"::", b",")), read_options=csv.ReadOptions(column_names=list(COLUMNS)))
    user, item, rating, seconds = (rows[name].to_numpy() for name in COLUMNS)
    return Ratings(name=folder.name, users=user, items=item, ratings=rating.astype(np.float64), times=seconds.astype(np.int64) * 1000)


def interactions(known: Ratings, *, everything: bool) -> Interactions:
    """One for each pair: all ratings with weight 1, as published tables have it; or what training counts as liked, with its weights."""
    liked = np.full(known.ratings.shape, fill_value=True) if everything else known.ratings >= LEAST_RATING
    users, items = (np.unique(each[liked], return_inverse=True)[1] for each in (known.users, known.items))
    weights = np.ones(users.size) if everything else known.ratings[liked] / MOST_RATING
    n_items = int(items.max()) + 1
    pairs, first = np.unique(users.astype(np.int64) * n_items + items, return_index=True)
    return Interactions(
        users=(pairs // n_items).astype(np.int32),
        items=(pairs % n_items).astype(np.int32),
        weights=weights[first].astype(np.float32),
        times=known.times[liked][first],
        n_users=int(users.max()) + 1,
        n_items=n_items,
    )


def leave_one_out(known: Interactions, seed: int) -> Split:
    """One item of each user, drawn by the seed, is held out; users with a single one are left as they are."""
    counts = np.bincount(known.users, minlength=known.n_users)
    order = np.lexsort((np.random.default_rng(seed).random(len(known)), known.users))
    held = np.zeros(len(known), dtype=np.bool_)
    held[order[np.cumsum(counts)[counts >= 2] - 1]] = True
    test: Histories = known.take(held).histories()
    users = np.flatnonzero(counts >= 2).astype(np.int32)
    return Split(held=held, train=known.take(~held), users=users, relevant=test.select(users), words="one item of each user, drawn")
