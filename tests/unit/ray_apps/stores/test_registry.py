import dataclasses
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from ray_apps.algorithms import load_model
from ray_apps.stores.artefacts import digest_of_file
from ray_apps.stores.content import Content
from ray_apps.stores.objects import Store, open_store
from ray_apps.stores.registry import ArtefactRefused, VersionContents, open_version, read_card, write_arrays, write_card
from recsys_schemas.snapshot import SnapshotManifest
from recsys_schemas.version_card import FileDigest, VersionCard, digest_of, version_folder
from unit.ray_apps.stores.remote import remote

VERSION = "movies-000001"


def contents() -> VersionContents:
    return VersionContents(
        item_ids=["a", "b", "é", "日本"],
        user_ids=["u1", "u2"],
        history_indptr=np.array([0, 2, 3]),
        history_indices=np.array([0, 3, 1], dtype=np.int32),
        history_weights=np.array([0.5, 1.0, 0.25], dtype=np.float32),
        popularity=np.array([1, 1, 0, 1]),
        model={"counts": np.array([1, 1, 0, 1], dtype=np.float32)},
    )


def card_of(files: dict[str, FileDigest], version: str = VERSION) -> VersionCard:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    manifest = SnapshotManifest(sequence=1, cluster_id="c", tables=[], offsets=[], rows=3, dead_letters=0, committed_at=now)
    return VersionCard(
        version=version,
        model="default/movies",
        digest=digest_of({name: file.sha256 for name, file in files.items()}),
        algorithm="Popularity",
        hyperparameters={},
        seed=1,
        snapshot=manifest,
        split="",
        users=2,
        items=4,
        interactions=3,
        test_users=0,
        evaluations=[],
        files=files,
        libraries={},
        created_at=now,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/store")


@pytest.fixture
def card(store: Store) -> VersionCard:
    """A version, written."""
    written = card_of(write_arrays(store, VERSION, contents()))
    write_card(store, written)
    return written


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def folder(store: Store, card: VersionCard) -> Path:
    return Path(store.path(version_folder(card.version)))


def test_a_version_is_read_as_it_was_written(store: Store, card: VersionCard, cache: Path):
    loaded = open_version(store, VERSION, card.digest, cache, load_model)
    assert list(loaded.item_ids) == ["a", "b", "é", "日本"]
    assert [loaded.item_index[item] for item in loaded.item_ids] == [0, 1, 2, 3]
    assert "c" not in loaded.item_index
    indices, weights = loaded.history("u1")
    assert (indices.tolist(), weights.tolist()) == ([0, 3], [0.5, 1.0])
    assert loaded.history("nobody")[0].size == 0
    assert loaded.model.scores(indices, weights).tolist() == [1, 1, 0, 1]
    assert loaded.popularity.tolist() == [1, 1, 0, 1]


def lately(store: Store, *counts: float) -> VersionCard:
    written = card_of(write_arrays(store, "movies-000003", dataclasses.replace(contents(), recent=np.array(counts))), "movies-000003")
    write_card(store, written)
    return written


def test_what_is_liked_these_days_is_read_as_it_was_written_and_older_versions_have_none(store: Store, card: VersionCard, cache: Path):
    assert open_version(store, VERSION, card.digest, cache, load_model).recent is None
    recent = open_version(store, "movies-000003", lately(store, 0.5, 0, 2, 1).digest, cache, load_model).recent
    assert recent is not None
    assert recent.tolist() == [0.5, 0, 2, 1]


@pytest.mark.parametrize(("counts", "words"), [((1, np.nan, 0, 1), "finite"), ((1, -1, 0, 1), "-1.0"), ((1, 1, 1), r"\(4,\) was expected")])
def test_likes_of_these_days_that_do_not_fit_are_refused(store: Store, cache: Path, counts: tuple[float, ...], words: str):
    with pytest.raises(ArtefactRefused, match=words):
        open_version(store, "movies-000003", lately(store, *counts).digest, cache, load_model)


CONTENT = Content(
    indptr=np.array([0, 1, 1, 3, 3]),
    indices=np.array([1, 0, 1], dtype=np.int32),
    weights=np.array([1.0, 0.6, 0.8], dtype=np.float32),
    features=("genre:Crime", "genre:愛"),
)


def test_what_is_known_of_the_items_is_read_as_it_was_written_and_older_versions_have_none(store: Store, card: VersionCard, cache: Path):
    assert open_version(store, VERSION, card.digest, cache, load_model).content is None
    other = "movies-000002"
    described = card_of(write_arrays(store, other, dataclasses.replace(contents(), content=CONTENT)), other)
    write_card(store, described)
    content = open_version(store, other, described.digest, cache, load_model).content
    assert content is not None
    assert content.features == CONTENT.features
    assert [content.of(item)[0].tolist() for item in range(4)] == [[1], [], [0, 1], []]
    assert described.digest != card.digest


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"indices": np.array([1, 0, 2], dtype=np.int32)}, "points outside the 2 features"),
        ({"indptr": np.array([0, 1, 3])}, "that rise from 0 to 3"),
        ({"weights": np.full(3, np.inf, dtype=np.float32)}, "not finite"),
    ],
)
def test_content_that_does_not_fit_is_refused(store: Store, cache: Path, change: dict[str, np.ndarray], words: str):
    hostile = dataclasses.replace(contents(), content=dataclasses.replace(CONTENT, **change))  # pyright: ignore[reportArgumentType]
    card = card_of(write_arrays(store, VERSION, hostile))
    write_card(store, card)
    with pytest.raises(ArtefactRefused, match=words):
        open_version(store, VERSION, card.digest, cache, load_model)


def test_the_arrays_of_a_version_cannot_be_changed_by_who_reads_them(store: Store, card: VersionCard, cache: Path):
    loaded = open_version(store, VERSION, card.digest, cache, load_model)
    with pytest.raises(ValueError, match="read-only"):
        loaded.popularity[0] = 9


def test_the_same_contents_give_the_same_digest(tmp_path: Path):
    digests = [card_of(write_arrays(open_store(f"file://{tmp_path}/{name}"), VERSION, contents())).digest for name in ("one", "two")]
    assert digests[0] == digests[1]


def test_a_version_without_a_card_does_not_exist(store: Store, cache: Path):
    files = write_arrays(store, VERSION, contents())
    assert read_card(store, VERSION) is None
    with pytest.raises(ArtefactRefused, match="does not exist"):
        open_version(store, VERSION, card_of(files).digest, cache, load_model)


def test_what_a_killed_writer_left_behind_does_no_harm(store: Store, card: VersionCard, folder: Path, cache: Path):
    (folder / ".popularity.npy.0123.partial").write_bytes(b"half")
    assert open_version(store, VERSION, card.digest, cache, load_model).card == card


def test_a_preflight_report_beside_the_arrays_is_no_array(store: Store, card: VersionCard, folder: Path, cache: Path):
    (folder / "preflight.json").write_text("{}")
    assert open_version(store, VERSION, card.digest, cache, load_model).card == card


def flip_one_bit(folder: Path) -> None:
    data = bytearray((folder / "popularity.npy").read_bytes())
    data[-1] ^= 1
    (folder / "popularity.npy").write_bytes(data)


def cut_the_last_byte(folder: Path) -> None:
    data = (folder / "history_weights.npy").read_bytes()
    (folder / "history_weights.npy").write_bytes(data[:-1])


def add_a_byte(folder: Path) -> None:
    with (folder / "history_weights.npy").open("ab") as file:
        file.write(b"\0")


def swap_two_files(folder: Path) -> None:
    one, two = folder / "item_offsets.npy", folder / "user_offsets.npy"
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def put_a_link(folder: Path) -> None:
    true = folder / "popularity.npy"
    elsewhere = folder.parent.parent / "elsewhere.npy"
    true.rename(elsewhere)
    true.symlink_to(elsewhere)


def put_a_pipe(folder: Path) -> None:
    (folder / "popularity.npy").unlink()
    os.mkfifo(folder / "popularity.npy")


def remove_a_file(folder: Path) -> None:
    (folder / "user_bytes.npy").unlink()


def add_a_file(folder: Path) -> None:
    (folder / "model.more.npy").write_bytes((folder / "model.counts.npy").read_bytes())


def add_a_folder(folder: Path) -> None:
    (folder / "deeper").mkdir()
    (folder / "deeper" / "popularity.npy").write_bytes((folder / "popularity.npy").read_bytes())


def link_the_folder(folder: Path) -> None:
    elsewhere = folder.parent.parent / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)


def edit_the_card(folder: Path) -> None:
    card = VersionCard.model_validate_json((folder / "card.json").read_bytes())
    (folder / "card.json").write_text(card.model_copy(update={"digest": "sha256:" + "0" * 64}).model_dump_json())


def break_the_card(folder: Path) -> None:
    (folder / "card.json").write_text('{"version": "movies-000001"}')


def rename_the_card(folder: Path) -> None:
    card = VersionCard.model_validate_json((folder / "card.json").read_bytes())
    (folder / "card.json").write_text(card.model_copy(update={"version": "movies-000009"}).model_dump_json())


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (flip_one_bit, "popularity.npy: SHA-256"),
        (cut_the_last_byte, "history_weights.npy: 139 bytes; the card says 140"),
        (add_a_byte, "history_weights.npy: 141 bytes; the card says 140"),
        (swap_two_files, "item_offsets.npy: "),
        (put_a_link, "popularity.npy: cannot be opened \\(a symbolic link\\)"),
        (put_a_pipe, "popularity.npy: "),
        (remove_a_file, "user_bytes.npy: the card names it, but it is missing"),
        (add_a_file, "model.more.npy: is there, but the card does not name it"),
        (add_a_folder, "deeper: is there, but the card does not name it"),
        (link_the_folder, "the folder is a symbolic link"),
        (edit_the_card, "was pinned, the card says sha256:000"),
        (break_the_card, "card.json is no version card"),
        (rename_the_card, "card.json is that of movies-000009"),
    ],
)
def test_a_version_that_was_tampered_with_is_refused(
    store: Store, card: VersionCard, cache: Path, tamper: Callable[[Path], None], words: str
):
    tamper(Path(store.path(version_folder(card.version))))
    with pytest.raises(ArtefactRefused, match=words):
        open_version(store, VERSION, card.digest, cache, load_model)


def test_bytes_that_are_whole_but_not_those_that_were_pinned_are_refused(store: Store, card: VersionCard, cache: Path):
    with pytest.raises(ArtefactRefused, match=f"digest sha256:1 was pinned, the card says {card.digest}"):
        open_version(store, VERSION, "sha256:1", cache, load_model)


@pytest.mark.parametrize(
    "name", ["../secrets.npy", "/etc/passwd.npy", "a/b.npy", ".hidden.npy", "UPPER.npy", "pickle.pkl", "a.b.c.npy", ""]
)
def test_a_card_that_names_a_file_outside_its_folder_is_refused(store: Store, card: VersionCard, cache: Path, name: str):
    files = dict(card.files) | {name: card.files["popularity.npy"]}
    write_card(store, card_of(files))
    with pytest.raises(ArtefactRefused, match="is not a name that a version's array may have"):
        open_version(store, VERSION, card_of(files).digest, cache, load_model)


@pytest.mark.parametrize("version", ["../movies", "a/b", "", ".", "Movies", "-a", "a" * 300])
def test_a_version_name_that_is_a_path_is_refused(store: Store, version: str):
    with pytest.raises(ArtefactRefused, match="is no version name"):
        read_card(store, version)


def test_an_array_of_objects_is_refused_even_when_its_hash_is_right(store: Store, card: VersionCard, folder: Path, cache: Path):
    np.save(folder / "model.counts.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    forged = card_of(dict(card.files) | {"model.counts.npy": digest_of_file(folder / "model.counts.npy")})
    write_card(store, forged)
    with pytest.raises(ArtefactRefused, match=r"model\.counts\.npy: is no plain array"):
        open_version(store, VERSION, forged.digest, cache, load_model)


def test_a_version_of_a_remote_store_is_copied_once_and_verified(store: Store, card: VersionCard, cache: Path):
    open_version(remote(store.root), VERSION, card.digest, cache, load_model)
    copies = {path: path.stat().st_ino for path in cache.rglob("*.npy")}
    assert len(copies) == len(card.files)
    open_version(remote(store.root), VERSION, card.digest, cache, load_model)
    assert {path: path.stat().st_ino for path in cache.rglob("*.npy")} == copies


def test_a_damaged_copy_is_made_anew(store: Store, card: VersionCard, cache: Path):
    open_version(remote(store.root), VERSION, card.digest, cache, load_model)
    flip_one_bit(next(cache.iterdir()))
    assert open_version(remote(store.root), VERSION, card.digest, cache, load_model).popularity.tolist() == [1, 1, 0, 1]


def test_a_remote_store_that_is_tampered_with_is_refused(store: Store, card: VersionCard, folder: Path, cache: Path):
    flip_one_bit(folder)
    with pytest.raises(ArtefactRefused, match="SHA-256"):
        open_version(remote(store.root), VERSION, card.digest, cache, load_model)
