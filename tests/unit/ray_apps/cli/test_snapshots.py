"""`recsys snapshots` on a real folder: what people and programs read, and what is said when it cannot be known."""

import json
from pathlib import Path
from typing import Any

import pytest

from ray_apps.cli.__main__ import main
from ray_apps.stores.objects import open_store
from ray_apps.stores.snapshots import files_of, read_manifest
from ray_apps.upkeep.compaction import compact
from unit.ray_apps.upkeep.growing import Growing


@pytest.fixture
def growing(tmp_path: Path) -> Growing:
    made = Growing(open_store(f"file://{tmp_path}/store"))
    for count in (3, 4, 5):
        made.publish(count)
    return made


def recsys(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = main(["snapshots", *(str(word) for word in words)])
    said = capsys.readouterr()
    return status, said.out, said.err


def as_json(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    status, said, _ = recsys(capsys, *words, "-o", "json")
    assert status == 0
    return json.loads(said)


def test_the_newest_snapshots_are_listed_first(growing: Growing, capsys: pytest.CaptureFixture[str]) -> None:
    status, said, _ = recsys(capsys, "list", growing.store.uri)
    lines = [line.split() for line in said.splitlines()]
    assert status == 0
    assert lines[0][:2] == ["SEQUENCE", "COMMITTED"]
    assert [(line[0], line[2], line[3]) for line in lines[1:]] == [("5", "12", "0"), ("4", "7", "0"), ("3", "3", "0")]
    assert "2 older ones from 3 on" in recsys(capsys, "list", growing.store.uri, "--last", 1)[1]
    assert [each["sequence"] for each in as_json(capsys, "list", growing.store.uri)] == [5, 4, 3]


def test_a_snapshot_shows_its_tables_offsets_and_files(growing: Growing, capsys: pytest.CaptureFixture[str]) -> None:
    status, said, _ = recsys(capsys, "show", growing.store.uri, 4, "--files")
    assert status == 0
    assert "7 rows, 0 dead letters" in said
    assert ["watch", "0", "7"] in [line.split() for line in said.splitlines()]
    shown = as_json(capsys, "show", growing.store.uri, 4)
    assert shown["offsets"] == [{"topic": "watch", "partition": 0, "next_offset": 7}]
    files = files_of(growing.store, read_manifest(growing.store, 4).tables[0])
    assert [file["path"] for file in shown["files"]["watch"]] == [file.path for file in files]
    assert all(file.path in said for file in files)


def test_two_snapshots_differ_by_the_rows_added_also_across_a_compaction(growing: Growing, capsys: pytest.CaptureFixture[str]) -> None:
    compact(growing.store, "watch")
    newest = growing.publish(6).sequence
    found = as_json(capsys, "diff", growing.store.uri, 3, newest)
    assert (found["rows"], found["dead_letters"]) == (15, 0)
    assert found["added"] == [{"event_type": "watch", "topic": "watch", "partition": 0, "from_offset": 3, "to_offset": 18, "rows": 15}]
    status, said, _ = recsys(capsys, "diff", growing.store.uri, 3, newest)
    assert (status, "15 rows and 0 dead letters" in said) == (0, True)
    status, _, said = recsys(capsys, "diff", growing.store.uri, newest, 3)
    assert (status, f"diff 3 {newest}" in said) == (2, True)


@pytest.mark.parametrize("compacted", [False, True])
def test_a_snapshot_that_is_whole_is_as_the_manifest_says(growing: Growing, compacted: bool, capsys: pytest.CaptureFixture[str]) -> None:
    if compacted:
        compact(growing.store, "watch")
        growing.publish(1)
    status, said, _ = recsys(capsys, "verify", growing.store.uri)
    assert (status, "as the manifest says" in said) == (0, True)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("how", "words"), [("gone", "missing"), ("cut", "cannot be read"), ("bit", "cannot be read"), ("other", "by the log")]
)
@pytest.mark.parametrize("compacted", [False, True])
def test_a_damaged_file_is_named(growing: Growing, how: str, words: str, compacted: bool, capsys: pytest.CaptureFixture[str]) -> None:
    if compacted:
        compact(growing.store, "watch")
        growing.publish(2)
    files = files_of(growing.store, read_manifest(growing.store).tables[0])
    path = Path(growing.store.path(files[0].path))
    match how:
        case "gone":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:-10])
        case "bit":
            damage(path)
        case _:
            path.write_bytes(Path(growing.store.path(files[1].path)).read_bytes())
    status, said, _ = recsys(capsys, "verify", growing.store.uri)
    assert (status, "NOT EXACT" in said) == (1, True)
    assert any(files[0].path in line and words in line for line in said.splitlines())


@pytest.mark.parametrize("command", [["list"], ["show"], ["verify"], ["diff", "1", "2"]])
def test_a_store_without_snapshots_is_told(tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, _, said = recsys(capsys, command[0], f"file://{tmp_path}", *command[1:])
    assert (status, "has none yet; wait for the first commit, or correct the URI" in said) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_no_snapshot_has_is_told(growing: Growing, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, said = recsys(capsys, "show", growing.store.uri, 99)
    assert (status, said.startswith("recsys: snapshot 99: not in file://")) == (2, True)
    assert "whose newest is 5" in said


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("gs://bucket/x", "scheme 'gs'; use one of file, s3"),
        ("s3://bucket/x", "cannot be read"),
        ("movies", "scheme ''; use one of file, s3"),
    ],
)
def test_a_store_that_cannot_be_read_is_told_in_one_line(
    uri: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ENDPOINT_URL": "http://127.0.0.1:9", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    status, said, error = recsys(capsys, "list", uri)
    assert (status, said, error.count("\n")) == (2, "", 1)
    assert words in error
