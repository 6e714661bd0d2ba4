"""Files from before and after a field was added, read together: the field is null in the old rows, in every reader, on every store."""

from collections.abc import Callable

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable

from properties.test_schema_evolution import claim, publish
from ray_apps.stores.objects import Store, delta_options, open_store
from ray_apps.stores.snapshots import files_of, manifest_of, open_snapshot, write_manifest
from ray_apps.upkeep.compaction import compact
from recsys_dev.objects import ObjectStore
from recsys_schemas.event_fields import AddedField
from recsys_schemas.snapshot import TableVersion

DEVICE = AddedField(name="device", type="string")
EXPECTED = [(0, None), (1, "tv"), (2, "tv")]
Rows = list[tuple[int, str | None]]


def open_version(store: Store, table: TableVersion) -> DeltaTable:
    return DeltaTable(f"{store.uri}/{table.path}", version=table.version, storage_options=delta_options())


def with_deltalake_and_pyarrow(store: Store, table: TableVersion) -> Rows:
    found = open_version(store, table).to_pyarrow_dataset().to_table(columns=["_offset", "device"])
    return sorted(zip(found["_offset"].to_pylist(), found["device"].to_pylist(), strict=True))


def with_polars(store: Store, table: TableVersion) -> Rows:
    found = pl.scan_delta(f"{store.uri}/{table.path}", version=table.version, storage_options=delta_options() or None)
    return sorted(found.select("_offset", "device").collect().rows())


def with_duckdb_over_arrow(store: Store, table: TableVersion) -> Rows:
    with duckdb.connect() as database:
        database.register("events", open_version(store, table).to_pyarrow_dataset())
        return sorted(database.sql("SELECT _offset, device FROM events").fetchall())


def with_duckdb_over_files(store: Store, table: TableVersion) -> Rows:
    files = [store.path(file.path) for file in files_of(store, table)]
    return sorted(duckdb.execute("SELECT _offset, device FROM read_parquet($1, union_by_name = true)", [files]).fetchall())


def with_open_snapshot(store: Store, _table: TableVersion) -> Rows:
    """As training does."""
    found = open_snapshot(store).rows("watch", ["_offset", "device"])
    return sorted(zip(found["_offset"].to_pylist(), found["device"].to_pylist(), strict=True))


READERS: dict[str, Callable[[Store, TableVersion], Rows]] = {
    "deltalake and pyarrow": with_deltalake_and_pyarrow,
    "polars": with_polars,
    "duckdb over arrow": with_duckdb_over_arrow,
    "duckdb over files": with_duckdb_over_files,
    "open_snapshot": with_open_snapshot,
}


@pytest.fixture(params=["file", "s3"])
def grown(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, TableVersion]:
    """One file without the field, and two with it."""
    if request.param == "file":
        store = open_store(f"file://{request.getfixturevalue('tmp_path')}/store")
    else:
        s3: ObjectStore = request.getfixturevalue("s3")
        for name, value in s3.env().items():
            monkeypatch.setenv(name, value)
        store = open_store(f"{s3.make_bucket(f'grown-{abs(hash(request.node.name)) % 10**9}')}/movies")
    publish(store, claim(store, []), [], 0)
    table = claim(store, [DEVICE])
    publish(store, table, [DEVICE], 1)
    publish(store, table, [DEVICE], 2)
    manifest = manifest_of("kafka", [table.state])
    write_manifest(store, manifest)
    return store, manifest.tables[0]


@pytest.mark.parametrize("reader", READERS, ids=lambda name: name.replace(" ", "-"))
def test_every_reader_finds_null_in_the_rows_from_before_a_field_was_added(grown: tuple[Store, TableVersion], reader: str) -> None:
    store, table = grown
    if reader == "duckdb over files" and not store.local:
        pytest.skip("DuckDB's httpfs comes from its own server; over Arrow it reads S3 without")
    assert len(files_of(store, table)) == 3
    assert READERS[reader](store, table) == EXPECTED


def test_the_rows_are_the_same_once_old_and_new_files_are_one(grown: tuple[Store, TableVersion]) -> None:
    store, _ = grown
    assert compact(store, "watch").files_after == 1
    table = claim(store, [DEVICE])
    write_manifest(store, manifest_of("kafka", [table.state]))
    for read in (with_deltalake_and_pyarrow, with_polars, with_open_snapshot):
        assert read(store, manifest_of("kafka", [table.state]).tables[0]) == EXPECTED
