"""A snapshot opens the same rows in DuckDB, Polars, pyarrow and deltalake, from a folder and from S3, before and after upkeep."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.dataset as ds
import pytest
from deltalake import DeltaTable

from ray_apps.cli.__main__ import main
from ray_apps.stores.objects import Store, delta_options, open_store
from ray_apps.stores.snapshots import files_of, open_snapshot, read_manifest
from ray_apps.upkeep.compaction import compact
from ray_apps.upkeep.job import utc_now
from ray_apps.upkeep.retention import enforce
from recsys_dev.objects import ObjectStore
from recsys_schemas.snapshot import TableVersion
from unit.ray_apps.upkeep.growing import Growing

Rows = list[tuple[int, str]]


def with_deltalake(store: Store, table: TableVersion) -> Rows:
    found = DeltaTable(f"{store.uri}/{table.path}", version=table.version, storage_options=delta_options())
    return rows_of(found.to_pyarrow_dataset())


def with_pyarrow(store: Store, table: TableVersion) -> Rows:
    """Plain Parquet: the files of the version, and nothing of Delta Lake."""
    return rows_of(ds.dataset([store.path(file.path) for file in files_of(store, table)], filesystem=store.files))


def with_polars(store: Store, table: TableVersion) -> Rows:
    found = pl.scan_delta(f"{store.uri}/{table.path}", version=table.version, storage_options=delta_options() or None)
    return sorted(found.select("_offset", "event_id").collect().rows())


def with_duckdb_over_arrow(store: Store, table: TableVersion) -> Rows:
    """DuckDB asks a pyarrow dataset, which does the reading: nothing has to be installed into DuckDB, and S3 works too."""
    found = DeltaTable(f"{store.uri}/{table.path}", version=table.version, storage_options=delta_options())
    events = found.to_pyarrow_dataset()
    with duckdb.connect() as database:
        database.register("events", events)
        return sorted(database.sql("SELECT _offset, event_id FROM events").fetchall())


def with_duckdb_over_files(store: Store, table: TableVersion) -> Rows:
    """DuckDB's own reader, from a folder; for S3 it would need its extension httpfs."""
    files = [store.path(file.path) for file in files_of(store, table)]
    return sorted(duckdb.execute("SELECT _offset, event_id FROM read_parquet($1)", [files]).fetchall())


def rows_of(dataset: ds.Dataset) -> Rows:
    found = dataset.to_table(columns=["_offset", "event_id"])
    return sorted(zip(found["_offset"].to_pylist(), found["event_id"].to_pylist(), strict=True))


READERS: dict[str, Callable[[Store, TableVersion], Rows]] = {
    "deltalake": with_deltalake,
    "pyarrow": with_pyarrow,
    "polars": with_polars,
    "duckdb over arrow": with_duckdb_over_arrow,
    "duckdb over files": with_duckdb_over_files,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A store with an old snapshot and newer ones, compacted in between."""

    growing: Growing
    old: int
    new: int


@pytest.fixture(params=["file", "s3"])
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    if request.param == "file":
        uri = f"file://{tmp_path}/store"
    else:
        s3: ObjectStore = request.getfixturevalue("s3")
        for name, value in s3.env().items():
            monkeypatch.setenv(name, value)
        uri = f"{s3.make_bucket(f'readers-{abs(hash(request.node.name)) % 10**9}')}/movies"
    growing = Growing(open_store(uri))
    old = [growing.publish(4).sequence for _ in range(3)][-1]
    assert compact(growing.store, "watch").files_after == 1
    new = growing.publish(4).sequence
    return Kept(growing=growing, old=old, new=new)


@pytest.mark.parametrize("reader", READERS, ids=lambda name: name.replace(" ", "-"))
def test_every_reader_finds_the_rows_of_an_old_snapshot_and_of_the_newest(kept: Kept, reader: str) -> None:
    store = kept.growing.store
    if reader == "duckdb over files" and not store.local:
        pytest.skip("DuckDB's httpfs comes from its own server; over Arrow it reads S3 without")
    for sequence, count in ((kept.old, 12), (kept.new, 16)):
        manifest = read_manifest(store, sequence)
        expected = sorted((offset, f"e{offset}") for offset in range(count))
        assert manifest.rows == count
        assert READERS[reader](store, manifest.tables[0]) == expected
        assert rows_of(open_snapshot(store, sequence).datasets["watch"]) == expected


def test_upkeep_and_its_verification_do_the_same_on_every_store(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    growing = kept.growing
    assert compact(growing.store, "watch").files_after == 1
    growing.publish(2)
    removed = enforce(growing.store, now=utc_now() + timedelta(days=40), retention=timedelta(days=30), keep={kept.old})
    assert (removed.manifests, removed.files, removed.missing, removed.troubles) == (3, 0, [], []), "files of today are never touched"
    growing.check(kept={kept.old})
    assert main(["snapshots", "verify", growing.store.uri, str(kept.old)]) == 0
    assert "as the manifest says" in capsys.readouterr().out


def test_of_two_that_create_one_file_the_second_is_refused(kept: Kept) -> None:
    store = kept.growing.store
    store.create("watch/_delta_log/one.txt", b"first")
    with pytest.raises(FileExistsError):
        store.create("watch/_delta_log/one.txt", b"second")
    assert store.read("watch/_delta_log/one.txt") == b"first"
