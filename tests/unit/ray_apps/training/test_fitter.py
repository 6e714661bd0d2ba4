"""What a fit learns from, and from where: window, replay, warm start."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from ray_apps.algorithms.ials import IALS
from ray_apps.algorithms.interactions import Interactions
from ray_apps.algorithms.recommender import Fitting
from ray_apps.stores.objects import open_store
from ray_apps.stores.registry import LoadedVersion, open_version
from ray_apps.stores.snapshots import open_snapshot
from ray_apps.training.champion import Champion, as_champion
from ray_apps.training.dataset import Dataset, read_dataset
from ray_apps.training.fitter import Fitter, earlier, shortened
from ray_apps.training.job import load_model, run
from ray_apps.training.remembering import DAY_MS, Memory
from unit.ray_apps.training import planted

HALF = 60
"""Items of either time."""


def two_times(users: int = 240, seed: int = 5) -> Interactions:
    """Old users with old items until day 100, new ones with new items from day 200 on; two groups of taste in each time."""
    chance = np.random.default_rng(seed)
    old = np.arange(users) < users // 2
    group = np.arange(users) % 2
    items = np.arange(2 * HALF)
    in_time = old[:, None] == (items < HALF)[None, :]
    odds = np.where(in_time & (group[:, None] == (items % 2)[None, :]), 0.5, np.where(in_time, 0.02, 0.0))
    user, item = np.nonzero(chance.random(odds.shape) < odds)
    days = np.where(old[user], chance.integers(0, 100, user.size), chance.integers(200, 230, user.size))
    return Interactions(
        users=user.astype(np.int32),
        items=item.astype(np.int32),
        weights=np.ones(user.size, dtype=np.float32),
        times=days * DAY_MS,
        n_users=users,
        n_items=2 * HALF,
    )


def slices(model: IALS, known: Interactions) -> tuple[float, float]:
    """How much better old and new users' own group's items are scored than the other group's of their time."""
    found: list[float] = []
    for first, low in ((0, 0), (known.n_users // 2, HALF)):
        margins: list[float] = []
        for user in range(first, first + known.n_users // 2, 7):
            history, weights = known.histories().of(user)
            scores = model.scores(history, weights)
            margins.append(float(scores[low + user % 2 : low + HALF : 2].mean() - scores[low + 1 - user % 2 : low + HALF : 2].mean()))
        found.append(float(np.mean(margins)))
    return found[0], found[1]


def fitted(memory: Memory) -> tuple[float, float]:
    known = two_times()
    fitter = Fitter(seed=7, memory=memory)
    model = fitter.fit(IALS, known, {"factors": 16, "iterations": 8})
    assert isinstance(model, IALS)
    return slices(model, known)


def test_a_window_forgets_the_taste_of_old_users_and_replay_keeps_it():
    whole, windowed, replayed = fitted(Memory()), fitted(Memory(window_days=60)), fitted(Memory(window_days=60, replay_fraction=0.5))
    assert windowed[0] < 0.1 * whole[0]
    assert replayed[0] > 0.6 * whole[0]
    assert min(windowed[1], replayed[1]) > 0.8 * whole[1]


def test_replay_of_everything_is_everything_and_of_nothing_the_window():
    known = two_times()
    assert len(Memory(window_days=60, replay_fraction=1.0).of(known, 7)) == len(known)
    assert Memory(window_days=60).of(known, 7).times.min() >= 200 * DAY_MS
    assert Memory(window_days=1000).of(known, 7).users.size == len(known)


def test_what_is_replayed_depends_on_the_seed_and_on_each_pair_alone():
    known, memory = two_times(), Memory(window_days=60, replay_fraction=0.3)
    pairs = {(int(u), int(i)) for u, i in zip(memory.of(known, 7).users, memory.of(known, 7).items, strict=True)}
    fewer = known.take(np.random.default_rng(1).random(len(known)) < 0.5)
    kept = {(int(u), int(i)) for u, i in zip(memory.of(fewer, 7).users, memory.of(fewer, 7).items, strict=True)}
    assert kept == pairs & {(int(u), int(i)) for u, i in zip(fewer.users, fewer.items, strict=True)}
    other = memory.of(known, 8)
    assert {(int(u), int(i)) for u, i in zip(other.users, other.items, strict=True)} != pairs
    old = int((known.times < 200 * DAY_MS).sum())
    drawn = int((memory.of(known, 7).times < 200 * DAY_MS).sum())
    assert 0.25 * old < drawn < 0.35 * old


@dataclass(frozen=True)
class Line:
    """A champion, and the data set that came after it."""

    uri: str
    version: LoadedVersion
    dataset: Dataset


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    folder = tmp_path_factory.mktemp("line")
    uri = planted.snapshot(folder, {"watch": planted.tastes(users=200, items=100, events=20)})
    job = planted.job(uri, algorithm="IALS", baselines=["Popularity"], hyperparameters={"factors": 12, "iterations": 10})
    card = run(job)
    version = open_version(open_store(uri), job.version, card.digest, folder / "cache", load_model)
    later = planted.tastes(users=220, items=115, events=20)
    planted.snapshot(folder, {"watch": later}, sequence=2)
    planted.snapshot(folder, {"watch": later}, sequence=1)
    return Line(uri=uri, version=version, dataset=read_dataset(open_snapshot(open_store(uri), 2)))


def champion(line: Line) -> Champion:
    return as_champion(line.version, line.dataset)


def test_a_champions_vectors_stand_in_the_order_of_the_new_catalogue(line: Line):
    start = earlier(champion(line), "IALS")
    assert start is not None
    own = line.version.model.arrays()["item_factors"]  # pyright: ignore[reportAttributeAccessIssue] - a Recommender
    new = 0
    for row, item in enumerate(line.dataset.item_ids):
        position = line.version.item_ids.position(item)
        new += position is None
        assert np.array_equal(start["item_factors"][row], np.zeros(12) if position is None else own[position])
    assert new > 0
    assert earlier(champion(line), "ALS") is None


def test_a_champions_strangers_are_shown_what_its_own_file_says_of_the_items_that_it_knows(line: Line):
    assert line.version.recent is not None
    for version, own in ((line.version, line.version.recent), (replace(line.version, recent=None), line.version.popularity)):
        shown = as_champion(version, line.dataset).liked_lately()
        for row, item in enumerate(line.dataset.item_ids):
            position = version.item_ids.position(item)
            assert shown[row] == (-np.inf if position is None else own[position])


def test_a_warm_fit_takes_half_of_the_iterations(line: Line):
    told: list[tuple[int, int]] = []
    fitter = Fitter(seed=42, warm=True, fitting=Fitting(tell=lambda done, of: told.append((done, of))))
    fitter.fit(IALS, line.dataset.interactions, {"factors": 12, "iterations": 10}, champion(line))
    assert told == [(step, 5) for step in range(1, 6)]
    assert shortened({"neighbours": 10}) == {"neighbours": 10}
    assert shortened({"iterations": 1}) == {"iterations": 1}


def test_a_version_begun_from_the_champion_says_so_and_is_made_twice_alike(line: Line):
    job = planted.job(line.uri, version="movies-000002", algorithm="IALS", baselines=["Popularity"]).model_copy(
        update={
            "champion": "movies-000001",
            "warm_start": True,
            "hyperparameters": {"factors": 12, "iterations": 10},
            "snapshot_sequence": 2,
        }
    )
    card = run(job)
    again = run(job.model_copy(update={"version": "movies-000003"}))
    cold = run(job.model_copy(update={"version": "movies-000004", "warm_start": False}))
    assert (card.warm_start, again.warm_start, cold.warm_start) == ("movies-000001", "movies-000001", None)
    assert card.digest == again.digest != cold.digest


def test_a_job_with_a_window_learns_otherwise_and_keeps_whole_histories(line: Line):
    job = planted.job(line.uri, version="movies-000006", algorithm="IALS", baselines=["Popularity"]).model_copy(
        update={"window_days": 2, "hyperparameters": {"factors": 12, "iterations": 4}, "snapshot_sequence": 2}
    )
    windowed, whole = run(job), run(job.model_copy(update={"version": "movies-000007", "window_days": None}))
    same = [name for name, file in windowed.files.items() if whole.files[name] == file]
    assert "history_indices.npy" in same
    assert "model.item_factors.npy" not in same
