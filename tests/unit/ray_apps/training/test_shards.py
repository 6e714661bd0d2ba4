"""Shards streamed from a snapshot hold what the whole data set holds, whoever reads them."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import WriterProperties, write_deltalake

from ray_apps.algorithms.ials_blocks import sides
from ray_apps.algorithms.interactions import Histories
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import Snapshot, open_snapshot
from ray_apps.training import events
from ray_apps.training.dataset import read_dataset
from ray_apps.training.events import Catalogue, Reader, batches
from ray_apps.training.shards import Shard, chosen_bits, narrowed, read_catalogue, read_shard
from unit.ray_apps.training import planted


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    watched = planted.tastes(users=400, items=300, events=12)
    again = planted.tastes(users=400, items=300, events=6, seed=9)  # the same users: some pairs twice, with another weight
    return open_snapshot(open_store(planted.snapshot(tmp_path, {"watch": pa.concat_tables([watched, again])})), 1)


def same(left: Histories, right: Histories) -> bool:
    return all(getattr(left, name).tobytes() == getattr(right, name).tobytes() for name in ("indptr", "indices", "weights"))


class Table:
    """Where workers that are threads meet."""

    def __init__(self, workers: int) -> None:
        self.given: list[Any] = [None] * workers
        self.barrier = threading.Barrier(workers, timeout=120)


@dataclass(frozen=True)
class Seat:
    """One worker's place at the table."""

    table: Table
    rank: int
    workers: int

    def exchange(self, thing: Any) -> list[Any]:
        self.table.given[self.rank] = thing
        self.table.barrier.wait()
        seen = list(self.table.given)
        self.table.barrier.wait()
        return seen

    def deal(self, things: Sequence[Any]) -> list[Any]:
        return [each[self.rank] for each in self.exchange(list(things))]


def together(workers: int, work: Callable[[Seat], Any]) -> list[Any]:
    """What each of so many workers makes of it."""
    table = Table(workers)
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda rank: work(Seat(table, rank, workers)), range(workers)))


def read(snapshot: Snapshot) -> Callable[[Seat], tuple[Catalogue, Shard]]:
    def work(seat: Seat) -> tuple[Catalogue, Shard]:
        catalogue = read_catalogue(snapshot, seat)
        return catalogue, read_shard(snapshot, catalogue, seat)

    return work


def cut(folder: Path, rows: pa.Table, files: int, group: int) -> Snapshot:
    """A snapshot of rows in so many files, each of row groups of so many rows."""
    uri = planted.snapshot(folder, {"watch": rows.slice(0, 0)})
    size = -(-rows.num_rows // files)
    for start in range(0, rows.num_rows, size):
        write_deltalake(
            folder / "watch", rows.slice(start, size), mode="append", writer_properties=WriterProperties(max_row_group_size=group)
        )
    manifest = folder / "manifests" / "000000000001.json"
    told = manifest.read_text().replace('"version":0', f'"version":{files}')
    manifest.write_text(told.replace('"rows":0', f'"rows":{rows.num_rows}'))
    return open_snapshot(open_store(uri), 1)


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_the_shards_of_all_workers_are_the_blocks_of_the_whole(snapshot: Snapshot, workers: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "BATCH_ROWS", 500)
    dataset = read_dataset(snapshot)
    users, items = sides(dataset.interactions)
    found_users: dict[int, Histories] = {}
    found_items: dict[int, Histories] = {}
    for catalogue, shard in together(workers, read(snapshot)):
        assert catalogue.users.to_pylist() == dataset.user_ids
        assert catalogue.items.to_pylist() == dataset.item_ids
        assert not found_users.keys() & shard.users.keys()
        found_users |= shard.users
        found_items |= shard.items
    assert found_users.keys() == users.own.keys()
    assert all(same(found_users[block], users.own[block]) for block in users.own)
    assert all(same(found_items[block], items.own[block]) for block in items.own)


@pytest.mark.parametrize(("files", "group"), [(1, 700), (5, 400), (40, 100_000)])
def test_each_worker_decodes_its_own_part_and_all_together_everything(tmp_path: Path, files: int, group: int):
    rows = planted.tastes(users=400, items=300, events=18)
    snapshot = cut(tmp_path, rows, files, group)
    decoded = [sum(batch.num_rows for batch in batches(snapshot, Reader(rank, 3))) for rank in range(3)]
    assert sum(decoded) == sum(batch.num_rows for batch in batches(snapshot)) == rows.num_rows
    assert max(decoded) < rows.num_rows / 2
    whole = read(snapshot)(Seat(Table(1), 0, 1))[1]
    shards = [shard for _, shard in together(3, read(snapshot))]
    for side in ("users", "items"):
        found = {block: entries for shard in shards for block, entries in getattr(shard, side).items()}
        assert all(same(found[block], entries) for block, entries in getattr(whole, side).items())


def test_bits_narrow_each_block_to_the_part_that_they_speak_of(snapshot: Snapshot):
    whole = read_dataset(snapshot).interactions
    part = whole.take(np.random.default_rng(3).random(len(whole)) < 0.7)
    users, items = sides(whole)
    wanted_users, wanted_items = sides(part)
    user_bits, item_bits = chosen_bits(whole, part)
    assert all(same(narrowed(users.own[block], user_bits[block]), wanted_users.own[block]) for block in users.own)
    assert all(same(narrowed(items.own[block], item_bits[block]), wanted_items.own[block]) for block in items.own)
