"""Users and items that nobody knows yet: NDCG@10 against popularity, on data where they really are new.

Run it as `DATA=folder python -m bench.cold`: the folder holds MovieLens' ratings.csv and movies.csv; without DATA, users and items with
planted genres are drawn.

The last 30 % of the time are three windows; --earlier takes those from 40 % to 70 %, on which choices were made. For each, models learn
from all that came before, and are asked about users who first come within it; a user is in one window only. What such a user "says" is
taken from the first five things that they like in the window, which then are neither recommended nor counted (see `evaluation.onboarded`);
how it is with fewer and more is a table of its own. New items are those that nobody liked before the window, asked of the same users after
what they said. Warm users are all who have a history, asked for the newest tenth of their own. Limits are lists that have seen what no
model can see (`cold_limits`).
"""

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.cold_limits import OTHERS, limits
from ray_apps.algorithms import ALGORITHMS
from ray_apps.algorithms.interactions import Histories, Indices, Interactions
from ray_apps.algorithms.onboarding import HALF_LIFE_DAYS, onboarding_of
from ray_apps.algorithms.recent_popularity import recent_popularity
from ray_apps.algorithms.recommender import Recommender
from ray_apps.algorithms.welcoming import for_newcomers
from ray_apps.evaluation.confidence import bootstrap, difference, resampled_means
from ray_apps.evaluation.measuring import measure
from ray_apps.evaluation.onboarded import TOLD, Onboarded, answers, onboarded
from ray_apps.evaluation.ranking import Value, hits, ndcg
from ray_apps.evaluation.splits import Split, split_at
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import open_snapshot
from ray_apps.training.catalogue import Described
from ray_apps.training.dataset import read_dataset
from recsys_dev.figures import tell
from recsys_schemas.catalogue import CatalogueItem, CatalogueUsed
from unit.ray_apps.training import planted

WINDOWS, EARLIER = (0.7, 0.8, 0.9, 1.0), (0.4, 0.5, 0.6, 0.7)
NEWEST = 0.1
SEED = 42
K = 10
MODELS = ("Popularity", "RecentPopularity", "ALS", "EASE", "TwoTower", "Hybrid")
GIVEN = {"RecentPopularity": {"halfLifeDays": 365.0}}
BASE, OURS = "Popularity", "Hybrid"
FEWER_AND_MORE = (1, 3, TOLD, 10, 20)

Lists = dict[str, list[float]]


def films(folder: Path) -> list[CatalogueItem]:
    """The catalogue of a folder in MovieLens' layout."""
    with (folder / "movies.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        CatalogueItem(
            item_id=row["movieId"], title=row["title"], genres=[name for name in row["genres"].split("|") if name[0] != "("] or None
        )
        for row in rows
    ]


def interactions() -> tuple[str, Interactions]:
    """What is learned from, with what is known of the items, and its name."""
    given = os.environ.get("DATA")
    tables, items = ({"rate": planted.ratings(Path(given))}, films(Path(given))) if given else growing()
    with tempfile.TemporaryDirectory() as folder:
        snapshot = open_snapshot(open_store(planted.snapshot(Path(folder), tables)), 1)
        known = read_dataset(snapshot, Described(items=items, used=CatalogueUsed(uri=""))).interactions
    name = Path(given).name if given else "planted genres"
    return f"{name}: {len(known):,} interactions, {known.n_users:,} users, {known.n_items:,} items", known


def growing(users: int = 800, items: int = 600, genres: int = 12, events: int = 25) -> tuple[dict[str, pa.Table], list[CatalogueItem]]:
    """Users who come one after another and like two genres, of items that come one after another."""
    chance = np.random.default_rng(SEED)
    genre = chance.integers(genres, size=items)
    pull = 1 / (1 + chance.permutation(items)) ** 0.5
    rows: list[tuple[str, str, int]] = []
    for user in range(users):
        there = np.arange(items) < items * (0.4 + 0.6 * user / users)
        liked = np.isin(genre, chance.choice(genres, size=2, replace=False))
        odds = pull * there * np.where(liked, 20.0, 1.0)
        drawn = chance.choice(items, size=events, replace=False, p=odds / odds.sum())
        rows += [(f"u{user:05d}", f"i{item:05d}", 60_000 * (user * events + place)) for place, item in enumerate(drawn)]
    columns = {
        "event_id": [str(number) for number in range(len(rows))],
        "user_id": [row[0] for row in rows],
        "item_id": [row[1] for row in rows],
    }
    table = pa.table({**columns, "timestamp": pa.array([row[2] for row in rows], pa.int64()), "fraction": pa.array(np.ones(len(rows)))})
    return {"watch": table}, [CatalogueItem(item_id=f"i{item:05d}", genres=[f"g{genre[item]}"]) for item in range(items)]


def windows(known: Interactions, bounds: tuple[float, ...]) -> Iterator[Split]:
    """A split for each window between shares of all likes: all before it is learned from, and who comes within it is asked about."""
    times = np.sort(known.times)
    edges = [times[int(share * times.size)] if share < 1 else times[-1] + 1 for share in bounds]
    for begin, end in pairwise(edges):
        yield split_at(known, known.times >= begin, "a window", known.times < end)


def newest_of_each(known: Interactions) -> Split:
    """The newest tenth of each user's own, at least one; a user with one keeps it."""
    counts = np.bincount(known.users, minlength=known.n_users)
    kept = counts - np.minimum(np.maximum(1, np.floor(NEWEST * counts)), counts - 1)
    order = np.lexsort((known.items, known.times, known.users))
    held = np.empty(len(known), dtype=np.bool_)
    held[order] = np.arange(len(known)) - (np.cumsum(counts) - counts)[known.users[order]] >= kept[known.users[order]]
    return split_at(known, held, "the newest tenth of each")


def fitted(name: str, train: Interactions) -> Recommender:
    started = time.perf_counter()
    model = ALGORITHMS[name].fit(train, GIVEN.get(name, {}), SEED)
    sys.stderr.write(f"{name}: {time.perf_counter() - started:.1f} s\n")
    return model


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Newcomers of one window and what is looked for."""

    people: Onboarded
    new: NDArray[np.bool_]
    """Items that nobody liked before."""

    def judged(self, scores: NDArray[np.float32]) -> dict[str, list[float]]:
        """NDCG@10 of each user, by what is asked of the lists that these scores give, shape (users, n_items)."""
        found: dict[str, list[float]] = {"cold users": [], "cold items": [], "among cold items": []}
        for user in range(self.people.users.size):
            sought = self.people.sought.of(user)[0]
            found["cold users"].append(gain(self.people.lists(scores[user], user, K), sought))
            fresh = sought[self.new[sought]]
            if fresh.size:
                found["cold items"].append(gain(self.people.lists(scores[user], user, K), fresh))
                found["among cold items"].append(gain(self.people.lists(np.where(self.new, scores[user], -np.inf), user, K), fresh))
        return found


def gain(items: Indices, sought: Indices) -> float:
    row = Histories(indptr=np.array([0, sought.size]), indices=sought, weights=np.ones(sought.size, dtype=np.float32))
    return float(ndcg(hits(items[None, :], row), row).per_user[0])


def cold(known: Interactions, names: list[str], bounds: tuple[float, ...]) -> tuple[dict[str, Lists], dict[int, Lists]]:
    """NDCG@10 of each newcomer: by way of answering, then by what is asked; and by how much is told, then by way of answering."""
    seen: dict[str, Lists] = {}
    by_told: dict[int, Lists] = {}
    for split in windows(known, bounds):
        people = onboarded(split, known)
        popularity = split.train.popularity()
        asked = Asked(people=people, new=popularity == 0)
        content = split.train.content
        assert content is not None
        lately = recent_popularity(split.train, HALF_LIFE_DAYS)
        onboarding = onboarding_of(content, lately)
        nobody = Histories(
            indptr=np.zeros(people.users.size + 1, dtype=np.int64), indices=people.told.indices[:0], weights=people.told.weights[:0]
        )
        scores = {
            "nothing said, as served": np.broadcast_to(lately.astype(np.float32), (people.users.size, lately.size)),
            "onboarding, genres": answers(onboarding, content, people, items=False),
            "onboarding, genres and items": answers(onboarding, content, people, items=True),
        }
        for name in names:
            model = for_newcomers(fitted(name, split.train))
            scores[name] = model.scores_many(nobody)
            if not name.endswith("Popularity"):
                scores[f"{name}, told items"] = model.scores_many(people.told)
            if name in (BASE, OURS):
                for first in FEWER_AND_MORE:
                    some = onboarded(split, known, first)
                    by_told.setdefault(first, {}).setdefault(name, []).extend(gains(some, model.scores_many(some.told)))
        for first in FEWER_AND_MORE:
            some = onboarded(split, known, first)
            by_told[first].setdefault(OTHERS, []).extend(gains(some, limits(some, popularity)[OTHERS]))
        for way, given in (scores | limits(people, popularity)).items():
            for what, values in asked.judged(given).items():
                seen.setdefault(way, {}).setdefault(what, []).extend(values)
    return seen, by_told


def gains(people: Onboarded, scores: NDArray[np.float32]) -> list[float]:
    """NDCG@10 of each of them."""
    return [gain(people.lists(scores[user], user, K), people.sought.of(user)[0]) for user in range(people.users.size)]


def shown(value: Value, base: Value) -> str:
    """The mean with its 95 % interval, and how many times the base it is, with the interval of that: the same users drawn for both."""
    estimate = bootstrap(value, SEED)
    told = f"{estimate.value:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]"
    if not base.mean or value is base:
        return told
    told += f", x{value.mean / base.mean:.2f}"
    ours, theirs = resampled_means(np.stack([value.per_user, base.per_user]), SEED)
    if not theirs.all():
        return told  # a base that may be nothing has no ratio to be sure of
    low, high = np.percentile(ours / theirs, [2.5, 97.5])
    return f"{told} [{low:.2f}, {high:.2f}]"


def figures(seen: dict[str, Lists]) -> dict[str, dict[str, str]]:
    """The table: ways by what is asked, popularity being the base."""
    values = {way: {what: Value(per_user=np.array(each)) for what, each in asked.items()} for way, asked in seen.items()}
    base = values[BASE]
    return {way: {f"{what} ({v.per_user.size})": shown(v, base[what]) for what, v in asked.items()} for way, asked in values.items()}


def by_much_told(told: dict[int, Lists]) -> dict[str, dict[str, str]]:
    """The table of cold users by how many likes they told, popularity being the base of each row."""
    rows: dict[str, dict[str, str]] = {}
    for first, ways in told.items():
        values = {way: Value(per_user=np.array(each)) for way, each in ways.items()}
        rows[f"{first} told ({values[BASE].per_user.size})"] = {way: shown(value, values[BASE]) for way, value in values.items()}
    return rows


def warm(known: Interactions, names: list[str]) -> dict[str, dict[str, str]]:
    """NDCG@10 of users with a history, and the difference to the best model, paired by user."""
    split = newest_of_each(known)
    values: dict[str, Value] = {}
    for name in names:
        model = fitted(name, split.train)
        values[name] = measure(model.scores, model.scores_many, split).per_user["ndcg@10"]
    top = max(values, key=lambda name: values[name].mean)
    told: dict[str, dict[str, str]] = {}
    for name, value in values.items():
        apart = difference(value, values[top], SEED)
        words = (
            "best" if name == top else f"{apart.value:+.4f} [{apart.low:+.4f}, {apart.high:+.4f}], {apart.value / values[top].mean:+.1%}"
        )
        told[name] = {f"warm users ({value.per_user.size})": shown(value, values[BASE]), "to the best": words}
    return told


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="bench.cold", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=MODELS, default=list(MODELS), help=f"models beside {BASE} and {OURS}; by default all")
    parser.add_argument("--earlier", action="store_true", help="the windows from 40 %% to 70 %% of the time")
    asked = parser.parse_args()
    bounds = EARLIER if asked.earlier else WINDOWS
    names = [name for name in MODELS if name in (BASE, OURS, *asked.only)]
    name, known = interactions()
    sys.stdout.write(f"{name}; windows {bounds}; seed {SEED}; 95 % intervals by bootstrap over users; x: times popularity\n")
    data = name.partition(":")[0]
    with threadpool_limits(1):
        seen, told = cold(known, names, bounds)
        tell("cold", f"cold start on {data}, NDCG@10", figures(seen))
        tell("cold", f"cold users on {data} by what they told, NDCG@10", by_much_told(told))
        tell("cold", f"warm users on {data}, NDCG@10", warm(known, names))


if __name__ == "__main__":
    main()
