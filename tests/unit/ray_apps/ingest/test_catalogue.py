"""The catalogue: rows are items or are refused with their line, and events of unknown items may be put aside."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from properties.stored import Stored
from ray_apps.ingest.catalogue import LOOK_EVERY_S, CatalogueFile, main
from ray_apps.ingest.columns import table_schema
from ray_apps.ingest.files import write_rows
from ray_apps.ingest.grounds import Grounds
from ray_apps.ingest.judging import Judging
from ray_apps.ingest.tables import Covered, EventTable
from ray_apps.stores.catalogue import CatalogueError, read_catalogue
from ray_apps.stores.objects import Store, open_store
from ray_apps.stores.snapshots import manifest_of, write_manifest
from recsys_schemas.catalogue import CATALOGUE_REPORT, CatalogueReport, CatalogueToRead
from recsys_schemas.events import DeadLetterReason

GOOD = 'item_id,title,genres,text,year\ni1,"Heat, the film",Crime|Drama,Two men.,1995\ni2,Alien,,,1979\ni3,,,,\n'


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def put(content: str | bytes, name: str = "items.csv") -> str:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return f"file://{tmp_path}/{name}"

    return put


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/store")


def test_a_csv_is_read_and_its_completeness_told(write: Callable[..., str]) -> None:
    found = read_catalogue(write(GOOD))
    report = found.report
    assert found.items == {"i1", "i2", "i3"}
    assert (report.items, report.refused, report.with_title, report.with_genres, report.with_text) == (3, 0, 2, 1, 1)


def test_rows_that_are_no_items_are_refused_with_their_lines_and_reasons(write: Callable[..., str]) -> None:
    bad = GOOD + f'i1,again,,,\n,nameless,,,\n"i\n4",broken,,,\ni5,too,few\ni6,{"x" * 1025},,,\n'
    report = read_catalogue(write(bad)).report
    assert (report.items, report.refused) == (3, 5)
    assert [row.line for row in report.refused_first] == [5, 6, 7, 9, 10]
    words = ("'i1' is there before", "item_id: Field required", "item_id: ", "3 cells, and the header has 5", "title: ")
    assert all(word in row.reason for word, row in zip(words, report.refused_first, strict=True))


def test_a_parquet_file_is_read_as_a_csv_is(tmp_path: Path) -> None:
    rows = {"item_id": ["a", "b", None], "title": ["A", None, "C"], "genres": [["x"], [], None], "other": [1, 2, 3]}
    pq.write_table(pa.table(rows), tmp_path / "items.parquet")
    report = read_catalogue(f"file://{tmp_path}/items.parquet").report
    assert (report.items, report.refused, report.with_title, report.with_genres, report.with_text) == (2, 1, 1, 1, 0)
    assert report.refused_first[0].line == 3


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("items.txt", "x", "ends in neither .csv nor .parquet"),
        ("items.csv", None, "is not there; put a .csv"),
        ("items.csv", "", "has no column item_id, seen nothing"),
        ("items.csv", "id,title\n1,A\n", "has no column item_id, seen id, title"),
        ("items.csv", b"item_id\na\n\xff\n", "is not UTF-8 at line 3"),
        ("items.csv", 'item_id\n"a\n', "is no CSV at line 2"),
        ("items.parquet", "item_id\n", "is no Parquet file"),
    ],
)
def test_a_catalogue_that_cannot_be_read_is_named_with_the_mend(
    write: Callable[..., str], tmp_path: Path, name: str, content: str | bytes | None, words: str
) -> None:
    uri = f"file://{tmp_path}/{name}" if content is None else write(content, name)
    with pytest.raises(CatalogueError, match=r"^spec\.data\.catalogue\.uri: 'file://.*") as refused:
        read_catalogue(uri)
    assert words in str(refused.value)


def following(store: Store, uri: str, unknown: Literal["Keep", "DeadLetter"]) -> CatalogueFile:
    return CatalogueFile(CatalogueToRead(uri=uri, on_unknown_item=unknown), store)


def reasons(catalogue: CatalogueFile, *items: str) -> list[DeadLetterReason]:
    values = [{"event_id": f"e{at}", "user_id": "u", "item_id": item, "timestamp": 1} for at, item in enumerate(items)]
    records = [Stored(("w", 0, at), json.dumps(value).encode()) for at, value in enumerate(values)]
    return [letter.reason for letter in Judging({"w": "watch"}, Grounds(catalogue=catalogue)).chunk(records, {}).letters]


def test_events_of_unknown_items_are_put_aside_when_asked_to_and_kept_otherwise(write: Callable[..., str], store: Store) -> None:
    uri = write(GOOD)
    assert reasons(following(store, uri, "DeadLetter"), "i1", "i9", "i2") == [DeadLetterReason.UNKNOWN_ITEM]
    assert reasons(following(store, uri, "Keep"), "i1", "i9", "i2") == []


def test_a_catalogue_that_changed_is_read_again_and_one_that_broke_leaves_the_items_as_they_were(
    write: Callable[..., str], store: Store
) -> None:
    uri = write(GOOD)
    catalogue = following(store, uri, "DeadLetter")
    write(GOOD + "i9,New,,,\n")
    now = catalogue._look_at
    catalogue.follow(now - 1)
    assert reasons(catalogue, "i9") == [DeadLetterReason.UNKNOWN_ITEM]
    catalogue.follow(now)
    assert reasons(catalogue, "i9") == []
    write("nonsense")
    catalogue.follow(now + LOOK_EVERY_S)
    assert reasons(catalogue, "i9") == []
    assert "has no column item_id" in CatalogueReport.model_validate_json(store.read(CATALOGUE_REPORT)).problem
    write(GOOD)
    catalogue.follow(now + 2 * LOOK_EVERY_S)
    assert CatalogueReport.model_validate_json(store.read(CATALOGUE_REPORT)).items == 3


def test_without_a_catalogue_ingest_waits_only_when_unknown_items_are_to_be_put_aside(tmp_path: Path, store: Store) -> None:
    uri = f"file://{tmp_path}/none.csv"
    with pytest.raises(CatalogueError, match=r"is not there; put a \.csv"):
        following(store, uri, "DeadLetter")
    assert reasons(following(store, uri, "Keep"), "i9") == []
    assert "is not there" in CatalogueReport.model_validate_json(store.read(CATALOGUE_REPORT)).problem


def test_the_command_names_items_of_events_that_the_catalogue_does_not_have(
    write: Callable[..., str], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    table = EventTable.claim(store, "watch", consumer="c", topics=["w"], dead_letter_topic="dead", cluster_id="k")
    rows = [
        {"event_id": f"e{at}", "user_id": "u", "item_id": item, "timestamp": 1, "fraction": 1.0}
        | {"_topic": "w", "_partition": 0, "_offset": at, "_timestamp": 1, "_payload_crc32": 1}
        for at, item in enumerate(["i1", "i9", "i8", "i9"])
    ]
    file = write_rows(store, "watch", [pa.RecordBatch.from_pylist(rows, schema=table_schema("watch"))], 1.7e9)
    table.publish(file, Covered(offsets={("w", 0): 4}, dead_letters=0, newest_ms=1))
    write_manifest(store, manifest_of("k", [table.state]))
    uri = write(GOOD)
    assert main(["--uri", uri]) == 0
    assert main(["--uri", uri, "--storage", store.uri]) == 1
    report = CatalogueReport.model_validate_json(capsys.readouterr().out.split("\n}\n")[1] + "}")
    assert (report.missing, report.missing_first) == (2, ["i8", "i9"])
    assert main(["--uri", f"{uri}.gz"]) == 2
    assert os.linesep in capsys.readouterr().err
