"""The store as the operator reads it: a real folder, and a store that does not answer."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from recsys_operator.world.errors import RefusedError, UnavailableError
from recsys_operator.world.registry import Left, Registry
from recsys_schemas.artifact import Artifact
from recsys_schemas.snapshot import SnapshotManifest
from recsys_schemas.upkeep import UPKEEP_REPORT, UpkeepReport
from recsys_schemas.version_card import PreflightReport, RunProgress, VersionCard

NAME = "movies-000001"
MANIFEST = SnapshotManifest(
    sequence=3, cluster_id="c", tables=[], offsets=[], rows=10, dead_letters=0, committed_at=datetime(2026, 9, 1, tzinfo=UTC)
)
CARD = VersionCard(
    version=NAME,
    model="default/movies",
    digest="sha256:01",
    algorithm="ALS",
    hyperparameters={},
    seed=42,
    snapshot=MANIFEST,
    split="by time",
    users=1,
    items=1,
    interactions=1,
    test_users=1,
    evaluations=[],
    files={},
    libraries={},
    created_at=datetime(2026, 9, 1, tzinfo=UTC),
)
REPORT = PreflightReport(version=NAME, digest="sha256:01", passed=True, checks={}, requests=1, p99_ms=1)


def write(path: Path, value: Artifact) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value.model_dump_json())


def left(registry: Registry, uri: str) -> Left:
    return asyncio.run(registry.left([(uri, NAME)]))[NAME]


def test_a_folder_that_is_not_there_holds_nothing_yet(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/not yet"
    assert asyncio.run(Registry().manifest(uri)) is None
    assert asyncio.run(Registry().versions(uri)) == ()
    assert left(Registry(), uri) == Left()


def test_what_the_runs_have_left_is_read_as_it_comes(tmp_path: Path) -> None:
    uri, registry = f"file://{tmp_path}", Registry()
    assert left(registry, uri) == Left()
    write(tmp_path / "versions" / NAME / "card.json", CARD)
    assert left(registry, uri) == Left(card=CARD)
    write(tmp_path / "versions" / NAME / "preflight.json", REPORT)
    write(tmp_path / "manifests" / "latest.json", MANIFEST)
    assert left(registry, uri) == Left(card=CARD, preflight=REPORT)
    assert asyncio.run(registry.manifest(uri)) == MANIFEST
    assert asyncio.run(registry.versions(uri)) == (NAME,)


def test_the_manifest_is_read_anew_and_a_card_once(tmp_path: Path) -> None:
    uri, registry = f"file://{tmp_path}", Registry()
    write(tmp_path / "versions" / NAME / "card.json", CARD)
    write(tmp_path / "manifests" / "latest.json", MANIFEST)
    assert (left(registry, uri).card, asyncio.run(registry.manifest(uri))) == (CARD, MANIFEST)
    (tmp_path / "versions" / NAME / "card.json").unlink()
    newer = MANIFEST.model_copy(update={"sequence": 4})
    write(tmp_path / "manifests" / "latest.json", newer)
    assert (left(registry, uri).card, asyncio.run(registry.manifest(uri))) == (CARD, newer)


def test_how_far_a_run_is_is_read_anew_while_it_runs_and_not_asked_of_others(tmp_path: Path) -> None:
    uri, registry = f"file://{tmp_path}", Registry()
    for step in (1, 2):
        told = RunProgress(version=NAME, step=step, of=4, told_at=datetime(2026, 9, 1, tzinfo=UTC))
        write(tmp_path / "runs" / NAME / "progress.json", told)
        assert asyncio.run(registry.left([(uri, NAME)], running={NAME}))[NAME].progress == told
    assert left(registry, uri).progress is None
    write(tmp_path / "versions" / NAME / "card.json", CARD)
    assert asyncio.run(registry.left([(uri, NAME)], running={NAME}))[NAME].progress is None


def test_a_file_of_another_release_is_named_with_its_field(tmp_path: Path) -> None:
    path = tmp_path / "manifests" / "latest.json"
    path.parent.mkdir()
    path.write_text('{"sequence": 1}')
    with pytest.raises(RefusedError, match=r"manifests/latest\.json: cluster_id: Field required: not a SnapshotManifest"):
        asyncio.run(Registry().manifest(f"file://{tmp_path}"))


def test_a_folder_that_is_not_there_yet_is_no_fault(tmp_path: Path) -> None:
    assert asyncio.run(Registry().manifest(f"file://{tmp_path}/later/still")) is None


def test_a_folder_below_a_file_is_refused_with_the_file(tmp_path: Path) -> None:
    tmp_path.joinpath("taken").write_text("")
    uri = f"file://{tmp_path}/taken/store"
    for read in (Registry().manifest, Registry().versions):
        with pytest.raises(
            RefusedError, match=r"spec\.data\.snapshot\.storageURI: file:.*/taken/store cannot be a folder, for .*/taken is a file"
        ):
            asyncio.run(read(uri))


def test_a_store_that_does_not_answer_is_named_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ENDPOINT_URL": "http://127.0.0.1:1",
        "ACCESS_KEY_ID": "a",
        "SECRET_ACCESS_KEY": "b",
        "REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with pytest.raises(UnavailableError, match=r"storageURI s3://recsys/movies: manifests/latest\.json cannot be read: .*AWS_\*"):
        asyncio.run(Registry().manifest("s3://recsys/movies"))


def test_what_upkeep_has_left_is_read_anew_each_time(tmp_path: Path) -> None:
    uri, registry = f"file://{tmp_path}", Registry()
    assert asyncio.run(registry.upkeep(uri)) is None
    for number in (0, 1):
        report = UpkeepReport(
            run=number,
            began_at=MANIFEST.committed_at,
            ended_at=MANIFEST.committed_at,
            sequence=3,
            tables=[],
            manifests_removed=0,
            files_removed=0,
            bytes_removed=0,
            log_entries_removed=0,
            runs_removed=0,
        )
        write(tmp_path / UPKEEP_REPORT, report)
        assert asyncio.run(registry.upkeep(uri)) == report
