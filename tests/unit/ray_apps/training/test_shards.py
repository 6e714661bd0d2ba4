"""Shards streamed from a snapshot hold what the whole data set holds, whoever reads them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ray_apps.algorithms.ials_blocks import sides
from ray_apps.algorithms.interactions import Histories
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import Snapshot, open_snapshot
from ray_apps.training import events
from ray_apps.training.dataset import read_dataset
from ray_apps.training.events import catalogue_of
from ray_apps.training.shards import chosen_bits, narrowed, read_shard
from unit.ray_apps.training import planted


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    watched = planted.tastes(users=400, items=300, events=12)
    again = planted.tastes(users=400, items=300, events=6, seed=9)  # the same users: some pairs twice, with another weight
    return open_snapshot(open_store(planted.snapshot(tmp_path, {"watch": pa.concat_tables([watched, again])})), 1)


def same(left: Histories, right: Histories) -> bool:
    return all(getattr(left, name).tobytes() == getattr(right, name).tobytes() for name in ("indptr", "indices", "weights"))


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_the_shards_of_all_workers_are_the_blocks_of_the_whole(snapshot: Snapshot, workers: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "BATCH_ROWS", 500)
    dataset = read_dataset(snapshot)
    users, items = sides(dataset.interactions)
    catalogue = catalogue_of(snapshot)
    assert catalogue.users.to_pylist() == dataset.user_ids
    assert catalogue.items.to_pylist() == dataset.item_ids
    found_users: dict[int, Histories] = {}
    found_items: dict[int, Histories] = {}
    for rank in range(workers):
        shard = read_shard(snapshot, catalogue, rank, workers)
        assert not found_users.keys() & shard.users.keys()
        found_users |= shard.users
        found_items |= shard.items
    assert found_users.keys() == users.own.keys()
    assert all(same(found_users[block], users.own[block]) for block in users.own)
    assert all(same(found_items[block], items.own[block]) for block in items.own)


def test_bits_narrow_each_block_to_the_part_that_they_speak_of(snapshot: Snapshot):
    whole = read_dataset(snapshot).interactions
    part = whole.take(np.random.default_rng(3).random(len(whole)) < 0.7)
    users, items = sides(whole)
    wanted_users, wanted_items = sides(part)
    user_bits, item_bits = chosen_bits(whole, part)
    assert all(same(narrowed(users.own[block], user_bits[block]), wanted_users.own[block]) for block in users.own)
    assert all(same(narrowed(items.own[block], item_bits[block]), wanted_items.own[block]) for block in items.own)
