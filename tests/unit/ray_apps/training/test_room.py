"""Columns on a worker's disk, looked at by pieces: the version is that of columns in memory, looked at as wholes."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ray_apps.algorithms import ALGORITHMS, columns
from ray_apps.algorithms.columns import Room, counted, nth_greatest, whole_rows
from ray_apps.algorithms.interactions import Histories, Interactions
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import open_snapshot
from ray_apps.training.dataset import read_dataset
from ray_apps.training.job import run
from ray_apps.training.shards import chosen_bits
from recsys_schemas.train_job import TrainJob
from recsys_schemas.version_card import VersionCard
from unit.ray_apps.training import planted

PIECE = 997
CLOCKED = {"train_seconds", "inference_ms_per_user"}
CUT: Callable[[NDArray[np.int64]], Iterator[slice]] = whole_rows


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(columns, "PIECE", PIECE)


def watched(folder: Path) -> str:
    """Two snapshots: the second has more users, more items, and some pairs once more, with another weight."""
    more = pa.concat_tables([planted.tastes(users=300, items=120), planted.tastes(users=330, items=140, events=8, seed=9)])
    planted.snapshot(folder, {"watch": planted.tastes(users=300, items=120)}, sequence=1)
    return planted.snapshot(folder, {"watch": more}, sequence=2)


def asked(uri: str, number: int, **changes: object) -> TrainJob:
    hyperparameters = {"factors": 8, "iterations": 3}
    job = planted.job(uri, f"movies-{number:06d}", algorithm="IALS", baselines=["Popularity", "RecentPopularity"])
    return job.model_copy(update={"hyperparameters": hyperparameters, "snapshot_sequence": number, **changes})


def line(folder: Path, room: Room | None) -> list[VersionCard]:
    """A version, and its successor, which remembers a part, fades likes and is compared with it."""
    uri = watched(folder)
    first = run(asked(uri, 1), room=room)
    changes = {"champion": first.version, "window_days": 6, "replay_fraction": 0.5, "history_half_life": 10.0}
    return [first, run(asked(uri, 2, **changes), room=room)]


def told(card: VersionCard) -> Any:
    """What a card says of a version and its worth; not what the clock said, nor where it lies."""
    whole = card.model_dump(mode="json", exclude={"created_at", "job", "worker"})
    whole["evaluations"] = [{name: value for name, value in each.items() if name not in CLOCKED} for each in whole["evaluations"]]
    return whole


@pytest.mark.usefixtures("small_pieces")
def test_a_version_made_by_pieces_on_disk_is_that_made_in_memory_and_so_is_its_card(tmp_path: Path):
    (tmp_path / "room").mkdir()
    on_disk = line(tmp_path / "disk", Room(tmp_path / "room"))
    assert list((tmp_path / "room").iterdir()) == [], "columns have no names: nothing is left when a worker is killed"
    columns.PIECE = 1 << 20
    in_memory = line(tmp_path / "memory", None)
    assert [told(card) for card in on_disk] == [told(card) for card in in_memory]
    assert on_disk[1].evaluations[-1].role == "champion"


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("name", sorted(set(ALGORITHMS) - {"Hybrid", "TwoTower"}))  # these want a catalogue
def test_every_algorithm_learns_the_same_from_columns_on_disk(name: str, tmp_path: Path):
    snapshot = open_snapshot(open_store(watched(tmp_path)), 2)
    fitted = [ALGORITHMS[name].fit(read_dataset(snapshot, room=room).interactions, {}, 7).arrays() for room in (Room(tmp_path), None)]
    assert fitted[0].keys() == fitted[1].keys()
    assert all(np.array_equal(fitted[0][key], fitted[1][key]) for key in fitted[1])


def cut_users(bounds: NDArray[np.int64]) -> Iterator[slice]:
    """The broken twin: the last user of a piece is left to nobody."""
    for rows in CUT(bounds):
        yield slice(rows.start, max(rows.stop - 1, rows.start + 1))


@pytest.mark.usefixtures("small_pieces")
def test_what_is_made_by_user_is_what_would_be_made_of_all_and_a_cut_user_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    snapshot = open_snapshot(open_store(watched(tmp_path)), 2)
    known = replace(read_dataset(snapshot, room=Room(tmp_path)).interactions, half_life=5.0)
    whole = Histories(indptr=known.histories().indptr, indices=known.items, weights=faded_as_a_whole(known))
    assert np.array_equal(known.told().weights, whole.weights)
    assert counted(known.users, known.n_users).sum() == len(known)
    monkeypatch.setattr("ray_apps.algorithms.interactions.whole_rows", cut_users)
    assert not np.array_equal(known.told().weights, whole.weights)


def faded_as_a_whole(known: Interactions) -> NDArray[np.float32]:
    """By the definition: half for each so many likes that came after it."""
    weights = np.array(known.weights)
    for user in range(known.n_users):
        own = np.flatnonzero(known.users == user)
        order = own[np.lexsort((known.items[own], known.times[own]))]
        later = np.arange(own.size)[::-1]
        weights[order] = np.maximum(weights[order] * np.exp2(-later / 5.0), 1e-6).astype(np.float32)
    return weights


@pytest.mark.usefixtures("small_pieces")
def test_workers_are_told_the_same_bits_wherever_the_columns_lie(tmp_path: Path):
    snapshot = open_snapshot(open_store(watched(tmp_path)), 2)
    on_disk = read_dataset(snapshot, room=Room(tmp_path)).interactions
    chosen = np.random.default_rng(1).random(len(on_disk)) < 0.7
    by_pieces = chosen_bits(on_disk, on_disk.take(chosen))
    columns.PIECE = 1 << 20
    in_memory = read_dataset(snapshot).interactions
    as_wholes = chosen_bits(in_memory, in_memory.take(chosen))
    for ours, theirs in zip(by_pieces, as_wholes, strict=True):
        assert [bits.tobytes() for bits in ours] == [bits.tobytes() for bits in theirs]
    assert sum(int(np.unpackbits(bits).sum()) for bits in by_pieces[0]) == int(chosen.sum())


@given(st.lists(st.tuples(st.integers(-(2**61), 2**61) | st.integers(0, 3), st.booleans()), min_size=1), st.data())
def test_the_nth_greatest_is_that_of_a_sorted_list(entries: list[tuple[int, bool]], data: st.DataObject):
    values, chosen = (np.array(column) for column in zip(*entries, strict=True))
    if not chosen.any():
        chosen[0] = True
    count = data.draw(st.integers(1, int(chosen.sum())))
    assert nth_greatest(values.astype(np.int64), count, chosen) == sorted(values[chosen].tolist(), reverse=True)[count - 1]


def test_the_disk_is_given_back_with_the_last_column(tmp_path: Path):
    column = columns.made(columns.pieces(10), np.int64, lambda part: np.arange(part.start, part.stop), Room(tmp_path))
    assert column.tolist() == list(range(10))
    assert kept(tmp_path) == 1
    del column
    assert kept(tmp_path) == 0


def kept(folder: Path) -> int:
    """How many files without a name this process has in a folder, mapped or open."""
    mapped = {line.split()[4] for line in Path("/proc/self/maps").read_text().splitlines() if f" {folder}/" in line}
    return len(mapped)
