"""Compaction on a real folder, beside a writer: the same rows in fewer files, older snapshots as they were."""

from pathlib import Path

import pytest
from deltalake import DeltaTable

from ray_apps.ingest.tables import EventTable
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import files_of, latest_manifest, open_snapshot, read_manifest, sequences
from ray_apps.upkeep.compaction import compact
from unit.ray_apps.upkeep.growing import WHO, Growing


@pytest.fixture
def growing(tmp_path: Path) -> Growing:
    return Growing(open_store(f"file://{tmp_path}/store"))


def test_many_small_files_become_one_and_the_rows_stay(growing: Growing) -> None:
    for _ in range(12):
        growing.publish()
    done = compact(growing.store, "watch")
    assert (done.files_before, done.files_after) == (12, 1)
    growing.publish()
    growing.check()
    assert len(files_of(growing.store, read_manifest(growing.store).tables[0])) == 2


def test_a_snapshot_from_before_keeps_its_own_files(growing: Growing) -> None:
    before = [growing.publish() for _ in range(3)][-1]
    files = files_of(growing.store, before.tables[0])
    compact(growing.store, "watch")
    assert files_of(growing.store, before.tables[0]) == files
    growing.check()


def test_the_writer_is_neither_fenced_nor_does_its_next_number_meet_an_older_one(growing: Growing) -> None:
    numbers = list[int]()
    for _ in range(4):
        numbers += [growing.publish().sequence, growing.publish().sequence]
        compact(growing.store, "watch")
    growing.claim()
    numbers.append(growing.publish().sequence)
    assert numbers == sorted(set(numbers))
    assert latest_manifest(growing.store) == read_manifest(growing.store, numbers[-1])
    growing.check()


def test_a_manifest_that_was_never_written_is_derived_after_a_compaction_too(growing: Growing) -> None:
    growing.publish()
    lost = growing.publish(manifest=False)
    compact(growing.store, "watch")
    growing.claim()
    assert growing.table.state.rows == lost.rows
    assert growing.publish().sequence > lost.sequence
    growing.check()


def test_a_compaction_while_the_writer_commits_passes_it(growing: Growing, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(4):
        growing.publish()
    opened = DeltaTable.get_add_actions
    turns = iter([True])

    def commit_in_between(table: DeltaTable, **more: bool) -> object:
        found = opened(table, **more)
        if next(turns, False):
            growing.publish()
        return found

    monkeypatch.setattr(DeltaTable, "get_add_actions", commit_in_between)
    done = compact(growing.store, "watch")
    monkeypatch.undo()
    assert done.files_after == 2
    growing.publish()
    growing.check()


def test_nothing_is_committed_where_nothing_is_small(growing: Growing) -> None:
    growing.publish()
    version = growing.table.state.version
    assert compact(growing.store, "watch").version == version


def test_a_compaction_that_lost_its_files_to_another_one_is_tried_again(growing: Growing, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(4):
        growing.publish()
    opened = DeltaTable.get_add_actions
    turns = iter([False, True])

    def compact_in_between(table: DeltaTable, **more: bool) -> object:
        found = opened(table, **more)
        if next(turns, False):
            compact(growing.store, "watch")
        return found

    monkeypatch.setattr(DeltaTable, "get_add_actions", compact_in_between)
    assert compact(growing.store, "watch").files_after == 1
    monkeypatch.undo()
    growing.check()


def test_a_file_that_no_compaction_committed_is_in_no_snapshot(growing: Growing) -> None:
    growing.publish()
    Path(growing.store.path("watch/part-0000-killed.zstd.parquet")).write_bytes(b"half")
    growing.publish()
    growing.check()
    assert len(sequences(growing.store)) == 2
    assert open_snapshot(growing.store).manifest.rows == EventTable.claim(
        growing.store, "watch", consumer=WHO, topics=["watch"], cluster_id="kafka-a"
    ).state.rows
