"""One run of upkeep as the operator starts it: a report in the store, an exit status, and nothing left of old runs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ray_apps.stores.objects import open_store
from ray_apps.upkeep.__main__ import EXIT_BAD_JOB, EXIT_STORAGE, main
from ray_apps.upkeep.job import remove_runs
from recsys_schemas.snapshot import SnapshotManifest
from recsys_schemas.train_job import ModelIdentity, UpkeepJob
from recsys_schemas.upkeep import UPKEEP_REPORT, UpkeepReport
from recsys_schemas.version_card import CARD_FILE, VersionCard, version_folder
from unit.ray_apps.upkeep.growing import Growing


@pytest.fixture
def growing(tmp_path: Path) -> Growing:
    return Growing(open_store(f"file://{tmp_path}/store"))


def job(uri: str, **more: object) -> str:
    model = ModelIdentity(namespace="demo", name="movies", uid="0123456789")
    return UpkeepJob.model_validate({"model": model, "storage_uri": uri, "run": 3, "retention_days": 30, **more}).model_dump_json()


def report(growing: Growing) -> UpkeepReport:
    return UpkeepReport.model_validate_json(growing.store.read(UPKEEP_REPORT))


def test_a_run_compacts_and_reports_and_another_one_finds_nothing_to_do(growing: Growing) -> None:
    for _ in range(6):
        growing.publish()
    assert main(["--job", job(growing.store.uri)]) == 0
    first = report(growing)
    assert (first.run, first.tables[0].files_before, first.tables[0].files_after) == (3, 6, 1)
    assert first.sequence == 2 + 6 + 1  # made and claimed, six commits, compacted
    assert main(["--job", job(growing.store.uri, run=4)]) == 0
    again = report(growing)
    assert (again.run, again.sequence, again.tables[0].files_before) == (4, first.sequence, 1)
    assert growing.publish().sequence == first.sequence + 1
    growing.check()


def test_what_was_to_be_kept_and_is_gone_is_in_the_report(growing: Growing) -> None:
    kept = growing.publish().sequence
    assert main(["--job", job(growing.store.uri, keep_sequences=[kept, 77])]) == 0
    assert (report(growing).missing_sequences, report(growing).oldest_sequence) == ([77], kept)


def test_a_store_that_cannot_be_used_ends_the_run_with_its_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--job", job(f"file://{tmp_path}/empty")]) == EXIT_STORAGE
    assert "has none yet" in capsys.readouterr().err
    assert main(["--job", "{}"]) == EXIT_BAD_JOB


def card(version: str, made: datetime) -> bytes:
    newest = SnapshotManifest(sequence=1, cluster_id="c", tables=[], offsets=[], rows=0, dead_letters=0, committed_at=made)
    whole = VersionCard(
        version=version,
        model="demo/movies",
        digest="sha256:00",
        algorithm="Popularity",
        hyperparameters={},
        seed=1,
        snapshot=newest,
        split="time",
        users=1,
        items=1,
        interactions=1,
        test_users=1,
        evaluations=[],
        files={},
        libraries={},
        created_at=made,
    )
    return whole.model_dump_json().encode()


def test_the_state_of_training_runs_goes_a_day_after_their_version_was_made(growing: Growing) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    for version, hours in (("movies-000001", 25), ("movies-000002", 23), ("movies-000003", None)):
        growing.store.write(f"runs/{version}/checkpoint_1/state.json", b"{}")
        if hours is not None:
            growing.store.write(f"{version_folder(version)}/{CARD_FILE}", card(version, now - timedelta(hours=hours)))
    assert remove_runs(growing.store, now) == 1
    assert growing.store.names("runs") == [f"runs/movies-00000{number}/checkpoint_1/state.json" for number in (2, 3)]
    assert remove_runs(growing.store, now) == 0
