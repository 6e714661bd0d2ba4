"""Compaction on a real folder, beside a writer: the same rows in fewer files, older snapshots as they were."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Field
from deltalake.schema import PrimitiveType

from ray_apps.ingest.commits import DataFile
from ray_apps.ingest.tables import EventTable
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import (
    TableFile,
    files_of,
    latest_manifest,
    open_snapshot,
    open_table_version,
    read_manifest,
    sequences,
)
from ray_apps.upkeep import compaction
from ray_apps.upkeep.compaction import choose, compact
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


def meanwhile(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Once, between reading the small files and committing the exchange, something else happens."""
    rewritten, turns = compaction.rewrite, iter([True])

    def between(*arguments: Any) -> DataFile:
        made = rewritten(*arguments)
        if next(turns, False):
            do()
        return made

    monkeypatch.setattr(compaction, "rewrite", between)


def test_a_compaction_while_the_writer_commits_passes_it(growing: Growing, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(4):
        growing.publish()
    meanwhile(monkeypatch, lambda: (growing.publish(), growing.publish()))
    assert compact(growing.store, "watch").files_after == 3
    growing.publish()
    growing.check()


def test_a_compaction_that_lost_its_files_to_another_one_begins_anew(growing: Growing, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(4):
        growing.publish()
    meanwhile(monkeypatch, lambda: compact(growing.store, "watch"))
    assert compact(growing.store, "watch").files_after == 1
    growing.claim()
    assert growing.table.state.rows == growing.offset
    growing.publish()
    growing.check()


def test_deltalake_s_own_compaction_would_leave_every_row_twice_here(growing: Growing) -> None:
    for _ in range(4):
        growing.publish()
    first, second = (DeltaTable(f"{growing.store.uri}/watch") for _ in range(2))
    first.optimize.compact()
    second.optimize.compact()
    found = DeltaTable(f"{growing.store.uri}/watch").to_pyarrow_table().num_rows
    assert found == 2 * growing.offset, "it sees the other one now: compaction.py may go back to it"


def test_a_compaction_during_which_a_column_was_added_begins_anew(growing: Growing, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        growing.publish()
    grown = Field("colour", PrimitiveType("string"))
    meanwhile(monkeypatch, lambda: DeltaTable(f"{growing.store.uri}/watch").alter.add_columns([grown]))
    assert compact(growing.store, "watch").files_after == 1
    assert (
        "colour" in open_table_version(growing.store, "watch", DeltaTable(f"{growing.store.uri}/watch").version()).to_table().column_names
    )


def test_bins_are_filled_with_neighbours_and_large_files_are_left(growing: Growing) -> None:
    sizes = {"a": 40, "b": 40, "c": 200, "d": 40, "e": 70, "f": 10, "g%20h": 5}
    files = [TableFile(path=path, size=size, rows=1) for path, size in sizes.items()]
    assert [[file.path for file in group] for group in choose(files, 100)] == [["a", "b"], ["e", "f"]]
    for _ in range(4):
        growing.publish(50)
    size = files_of(growing.store, read_manifest(growing.store).tables[0])[0].size
    assert compact(growing.store, "watch", target_bytes=size * 2 + 500).files_after == 2
    growing.check()


def test_nothing_is_committed_where_nothing_is_small(growing: Growing) -> None:
    growing.publish()
    version = growing.table.state.version
    assert compact(growing.store, "watch").version == version


def test_what_is_put_together_is_smaller_than_its_parts(growing: Growing) -> None:
    for _ in range(30):
        growing.publish(2)
    before = sum(file.size for file in files_of(growing.store, read_manifest(growing.store).tables[0]))
    compact(growing.store, "watch")
    growing.publish(1)
    compacted, _ = sorted(files_of(growing.store, read_manifest(growing.store).tables[0]), key=lambda file: -file.rows)
    assert compacted.size * 5 < before
    assert pq.ParquetFile(growing.store.path(compacted.path)).num_row_groups == 1


def test_a_file_that_no_compaction_committed_is_in_no_snapshot(growing: Growing) -> None:
    growing.publish()
    Path(growing.store.path("watch/part-0000-killed.zstd.parquet")).write_bytes(b"half")
    growing.publish()
    growing.check()
    assert len(sequences(growing.store)) == 2
    assert (
        open_snapshot(growing.store).manifest.rows
        == EventTable.claim(
            growing.store, "watch", consumer=WHO, topics=["watch"], dead_letter_topic="dead", cluster_id="kafka-a"
        ).state.rows
    )
