"""`recsys versions` on a real folder: what is told, and whether a version comes out the same when it is made again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ray_apps.algorithms import ALGORITHMS
from ray_apps.cli.__main__ import main
from ray_apps.stores.objects import Store, open_store
from ray_apps.stores.registry import read_card, write_card
from ray_apps.training import provenance
from ray_apps.training.job import run
from recsys_schemas.catalogue import CatalogueSource
from recsys_schemas.snapshot import PartitionOffset
from recsys_schemas.v1alpha1.version import GateVerdict, VersionStatus
from recsys_schemas.version_card import VersionCard
from unit.ray_apps.training import planted

FIRST, SECOND = "movies-000001", "movies-000002"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one snapshot and two versions, the second with the first as its champion."""
    folder = tmp_path_factory.mktemp("store")
    uri = planted.snapshot(folder, {"watch": planted.tastes(users=80, items=40, events=10)})
    run(planted.job(uri, hyperparameters={"factors": 8, "iterations": 3}))
    run(planted.job(uri, version=SECOND, algorithm="ItemItem", champion=FIRST, seed=7))
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "store"))


def recsys(capsys: pytest.CaptureFixture[str], folder: Path, *words: object) -> tuple[int, str, str]:
    status = main(["versions", *(str(word) for word in words), "--storage", f"file://{folder}"])
    said = capsys.readouterr()
    return status, said.out, said.err


def as_json(capsys: pytest.CaptureFixture[str], folder: Path, *words: object) -> Any:
    return json.loads(recsys(capsys, folder, *words, "-o", "json")[1])


def change(folder: Path, version: str, edit: Callable[[VersionCard], dict[str, object]]) -> None:
    """Write a card anew with other words in it."""
    store = open_store(f"file://{folder}")
    card = read_card(store, version)
    assert card is not None
    write_card(store, card.model_copy(update=edit(card)))


def test_the_newest_versions_are_listed_first(trained: Path, capsys: pytest.CaptureFixture[str]):
    status, said, _ = recsys(capsys, trained, "list")
    assert status == 0
    assert [line.split()[0] for line in said.splitlines()[1:]] == [SECOND, FIRST]
    assert f"1 older ones from {FIRST} on" in recsys(capsys, trained, "list", "--last", 1)[1]
    assert [each["version"] for each in as_json(capsys, trained, "list")] == [SECOND, FIRST]


def test_a_version_shows_data_code_libraries_hyperparameters_metrics_and_files(trained: Path, capsys: pytest.CaptureFixture[str]):
    status, said, _ = recsys(capsys, trained, "show", FIRST)
    card = read_card(open_store(f"file://{trained}"), FIRST)
    assert status == 0
    assert card is not None
    wanted = [
        card.digest,
        "factors",
        "snapshot 1 of Kafka cluster test",
        "numpy",
        *provenance.code().values(),
        "kubectl recsys versions show",
    ]
    wanted += [file.sha256 for file in card.files.values()]
    assert [word for word in wanted if word not in said] == []
    assert as_json(capsys, trained, "show", FIRST)["job"]["hyperparameters"] == {"factors": 8, "iterations": 3}


def test_the_verdicts_of_the_operator_are_shown_beside_the_card(trained: Path, capsys: pytest.CaptureFixture[str]):
    verdict = GateVerdict(name="baselines", verdict="Passed", message="ndcg@10 +0.1: must be at least 0")
    status = VersionStatus(gates=[verdict]).model_dump_json(by_alias=True, exclude_none=True)
    said = recsys(capsys, trained, "show", FIRST, "--status", status)[1]
    assert "must be at least 0" in said
    assert as_json(capsys, trained, "show", FIRST, "--status", status)["status"]["gates"][0]["verdict"] == "Passed"


def test_two_versions_differ_by_what_was_asked_and_what_came_out(trained: Path, folder: Path, capsys: pytest.CaptureFixture[str]):
    changed = {each["what"]: (each["then"], each["now"]) for each in as_json(capsys, trained, "diff", FIRST, SECOND)}
    assert changed["algorithm"] == ("ALS", "ItemItem")
    assert changed["seed"] == ("42", "7")
    assert changed["hyperparameter factors"] == ("8", None)
    assert "file model.item_factors.npy" in changed
    assert "file popularity.npy" not in changed
    assert recsys(capsys, trained, "diff", FIRST, FIRST)[1] == "nothing differs\n"
    offset = PartitionOffset(topic="watch", partition=0, next_offset=9)
    change(folder, SECOND, lambda card: {"snapshot": card.snapshot.model_copy(update={"offsets": [offset]})})
    assert {"what": "next offset of watch-0", "then": None, "now": "9"} in as_json(capsys, folder, "diff", FIRST, SECOND)


@pytest.mark.parametrize("version", [FIRST, SECOND])
def test_a_version_comes_out_the_same_from_its_card_alone(trained: Path, capsys: pytest.CaptureFixture[str], version: str):
    before = sorted(path for path in trained.rglob("*"))
    status, said, _ = recsys(capsys, trained, "reproduce", version, "--metrics")
    assert (status, said.splitlines()[-1]) == (0, "the same, byte for byte")
    assert "metrics   equal" in said
    assert "warning" not in said
    assert sorted(path for path in trained.rglob("*")) == before, "the registry is only read"


def test_it_comes_out_the_same_in_another_place(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    moved = Path(shutil.copytree(trained, tmp_path / "moved"))
    kept = tmp_path / "kept"
    assert recsys(capsys, moved, "reproduce", FIRST, "--keep", kept)[0] == 0
    files = {path.name: path.read_bytes() for path in (kept / "versions" / FIRST).iterdir()}
    assert files == {name: (trained / "versions" / FIRST / name).read_bytes() for name in files}


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_a_version_of_any_algorithm_comes_out_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str], algorithm: str):
    described = (f"item-{number:04d},T{number},{'Drama' if number % 2 else 'Space'}" for number in range(24))
    (tmp_path / "items.csv").write_text("\n".join(["item_id,title,genres", *described]))
    uri = planted.snapshot(tmp_path / "store", {"watch": planted.tastes(users=60, items=24, events=8)})
    run(planted.job(uri, algorithm=algorithm, baselines=[], catalogue=CatalogueSource(uri=f"file://{tmp_path}/items.csv")))
    status, said, _ = recsys(capsys, tmp_path / "store", "reproduce", FIRST)
    assert (status, said.splitlines()[-1]) == (0, "the same, byte for byte"), said


def test_another_library_is_told_though_the_bytes_are_the_same(folder: Path, capsys: pytest.CaptureFixture[str]):
    change(folder, FIRST, lambda card: {"libraries": card.libraries | {"numpy": "1.0.0"}, "code": card.code | {"training": "sha256:0"}})
    status, said, _ = recsys(capsys, folder, "reproduce", FIRST)
    assert status == 0
    assert "library numpy" in said
    assert "1.0.0" in said
    assert "code of ray_apps training" in said
    assert "the bytes are the same all the same" in said


def test_a_card_with_another_seed_is_caught(folder: Path, capsys: pytest.CaptureFixture[str]):
    def reseeded(card: VersionCard) -> dict[str, object]:
        assert card.job is not None
        return {"seed": 43, "job": card.job.model_copy(update={"seed": 43})}

    change(folder, FIRST, reseeded)
    status, said, _ = recsys(capsys, folder, "reproduce", FIRST)
    assert (status, said.splitlines()[-1]) == (1, "NOT THE SAME")
    assert "model.item_factors.npy" in said
    assert "item_offsets.npy" not in said
    assert "seed, algorithm or hyperparameters are not those" in said


def test_a_card_whose_job_and_facts_disagree_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]):
    change(folder, FIRST, lambda _: {"seed": 43})
    status, _, said = recsys(capsys, folder, "reproduce", FIRST)
    assert status == 2
    assert "seed" in said


def test_arrays_that_are_not_of_this_snapshot_are_caught(folder: Path, capsys: pytest.CaptureFixture[str]):
    other = planted.snapshot(folder.parent / "other", {"watch": planted.tastes(users=80, items=40, events=10, seed=5)})
    card = run(planted.job(other, hyperparameters={"factors": 8, "iterations": 3}))
    change(folder, FIRST, lambda _: {"files": card.files, "digest": card.digest})
    status, said, _ = recsys(capsys, folder, "reproduce", FIRST)
    assert status == 1
    assert "what was read from the snapshot differs" in said


def remove_the_manifest(store: Store) -> None:
    store.remove("manifests/000000000001.json")


def remove_the_table(store: Store) -> None:
    shutil.rmtree(store.path("watch"))


def remove_its_files(store: Store) -> None:
    for path in Path(store.path("watch")).glob("*.parquet"):
        path.unlink()


@pytest.mark.parametrize("gone", [remove_the_manifest, remove_the_table, remove_its_files])
def test_a_snapshot_that_is_gone_is_said_with_the_mend(folder: Path, capsys: pytest.CaptureFixture[str], gone: Callable[[Store], None]):
    gone(open_store(f"file://{folder}"))
    status, _, said = recsys(capsys, folder, "reproduce", FIRST)
    assert status == 2
    assert f"{FIRST}: snapshot 1, on which it was trained, cannot be opened" in said
    assert "from a backup" in said


def test_another_snapshot_under_the_same_number_is_not_taken_for_it(folder: Path, capsys: pytest.CaptureFixture[str]):
    planted.snapshot(folder, {"watch": planted.tastes(users=90, items=40, events=10)})
    status, _, said = recsys(capsys, folder, "reproduce", FIRST)
    assert status == 2
    assert "is not the one of the card (900 rows, by the card 800)" in said


def test_a_version_that_is_not_there_is_said(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    status, _, said = recsys(capsys, trained, "show", "movies-000009")
    assert (status, f"it has {FIRST} to {SECOND}" in said) == (2, True)
    status, _, said = recsys(capsys, tmp_path, "reproduce", FIRST)
    assert (status, "it has none; correct --storage" in said) == (2, True)


def test_a_card_of_an_older_release_can_still_be_made_again(folder: Path, capsys: pytest.CaptureFixture[str]):
    change(folder, SECOND, lambda _: {"job": None, "code": {}, "machine": {}})
    status, said, _ = recsys(capsys, folder, "reproduce", SECOND)
    assert (status, said.splitlines()[-1]) == (0, "the same, byte for byte")
    assert "warning" not in said


def test_it_comes_out_the_same_though_its_catalogue_has_changed_since(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    catalogue = tmp_path / "items.csv"
    catalogue.write_text("item_id,title,genres\nitem-0001,A Robot,Drama|Space\nitem-0999,New,Space\n")
    uri = planted.snapshot(tmp_path / "store", {"watch": planted.tastes(users=40, items=20, events=8)})
    asked = CatalogueSource(uri=f"file://{catalogue}")
    card = run(planted.job(uri, algorithm="ItemItem", baselines=[], catalogue=asked))
    catalogue.write_text("item_id,title,genres\nitem-0001,Another,Comedy\n")
    status, said, _ = recsys(capsys, tmp_path / "store", "reproduce", FIRST)
    assert (status, said.splitlines()[-1]) == (0, "the same, byte for byte")
    assert card.catalogue is not None
    (tmp_path / "store" / str(card.catalogue.kept)).unlink()
    status, _, said = recsys(capsys, tmp_path / "store", "reproduce", FIRST)
    assert (status, "catalogue" in said) == (2, True)


def test_a_changed_source_file_is_another_code(tmp_path: Path):
    (tmp_path / "a.py").write_text("x = 1\n")
    before = provenance.digest_of_sources(tmp_path)
    (tmp_path / "notes.txt").write_text("no code")
    assert provenance.digest_of_sources(tmp_path) == before
    (tmp_path / "a.py").write_text("x = 2\n")
    assert provenance.digest_of_sources(tmp_path) != before
